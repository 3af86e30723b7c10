"""Masks as rules: which keys a query may see, said in a few numbers instead of a [batch, 1, q_len, k_len] table.

transformers builds masks through `AttentionMaskInterface`. The function registered here recognises what a decoder asks for
(causal,
sliding window, padding at either end) and answers with a `RuleMask`, whatever the length. Every other mask is made as a table
and
read: a table that is one of these rules after all is served by the library, and any other goes to torch's attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function, sdpa_mask

from ...errors import InvalidArgumentError


@dataclass(frozen=True)
class Part:
    """What one batch element attends: queries [row, row + n_rows) over keys [start, end). The last of them stands at the last
    key.

    origin: key `start` is the first token of the text (not the edge of a sliding cache).
    """

    start: int
    end: int
    row: int
    n_rows: int
    origin: bool = True


@dataclass(frozen=True)
class MaskRule:
    """Query i of a part sees the part's keys up to its own (`causal`) and within `window`; without `causal`, all of them.
    Queries
    outside the part are padding and get 0."""

    causal: bool
    window: int | None
    #: One for each batch element, or one for all.
    parts: tuple[Part, ...]

    def part(self, element: int) -> Part:
        return self.parts[0] if len(self.parts) == 1 else self.parts[element]


class RuleMask(torch.Tensor):
    """A MaskRule where transformers expects a 4-dimensional mask. It holds no table: arithmetic on it is an error."""

    rule: MaskRule

    @classmethod
    def of(cls, rule: MaskRule, batch: int, q_len: int, k_len: int) -> RuleMask:
        mask = torch.ones((), dtype=torch.bool).expand(batch, 1, q_len, k_len).as_subclass(cls)
        mask.rule = rule
        return mask

    def contiguous(self, *_: Any, **__: Any) -> RuleMask:  # type: ignore[override]
        return self

    def to(self, *_: Any, **__: Any) -> RuleMask:  # type: ignore[override]
        return self

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _READS:
            return super().__torch_function__(func, types, args, kwargs or {})
        raise InvalidArgumentError(
            f"{getattr(func, '__name__', func)} of a mask that attn_implementation='tamis' made: it is a rule, not a table of "
            "booleans; a model that computes with its masks needs another attn_implementation")


_READS = {"__get__", "size", "dim", "as_subclass", "__len__", "numel", "is_floating_point", "stride", "__repr__"}


def make_mask(
    batch_size: int, q_length: int, kv_length: int, q_offset: int = 0, kv_offset: int = 0,
    mask_function: Callable[..., Any] = causal_mask_function, attention_mask: torch.Tensor | None = None,
    local_size: int | None = None, allow_is_causal_skip: bool = True, use_vmap: bool = False,
    device: Any = "cpu", **kwargs: Any,
) -> torch.Tensor:
    """The mask function of ``attn_implementation="tamis"`` (transformers.masking_utils.AttentionMaskInterface)."""
    q_offset, kv_offset = int(q_offset), int(kv_offset)
    size = (batch_size, q_length, kv_length)
    causal, window = True, None
    known = False
    if mask_function is causal_mask_function:
        known = True
    elif mask_function is bidirectional_mask_function:
        known, causal = True, False
    elif local_size is not None and allow_is_causal_skip and not use_vmap:
        # Nothing was overlaid on the local pattern: a sliding window or chunks of that size, and a few points tell which.
        window = int(local_size)
        known = _slides(mask_function, window, *size, q_offset, kv_offset)
    lead = _leading_padding(attention_mask, batch_size)
    if known:
        parts = _parts(attention_mask, lead, causal, size, q_offset, kv_offset)
        if parts is not None:
            return RuleMask.of(MaskRule(causal, window, parts), *size)
    table = sdpa_mask(
        batch_size=batch_size, q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset,
        mask_function=mask_function, attention_mask=attention_mask, local_size=local_size, allow_is_causal_skip=False,
        use_vmap=use_vmap, device=device, **{**kwargs, "allow_is_bidirectional_skip": False})
    rule = read_table(table, lambda b, start: kv_offset + start == lead[b % len(lead)])
    return table if rule is None else RuleMask.of(rule, *size)


def _slides(
    mask_function: Callable[..., Any], window: int, batch: int, q_len: int, k_len: int, q_offset: int, kv_offset: int
) -> bool:
    """Is the pattern a causal sliding window? Asked at its edges, for every query of every batch element."""
    q = torch.arange(q_offset, q_offset + q_len).expand(batch, -1)
    b = torch.arange(batch)[:, None].expand(-1, q_len)
    first = torch.clamp(q - window + 1, min=kv_offset)

    def seen(keys: torch.Tensor) -> torch.Tensor:
        inside = (keys >= kv_offset) & (keys < kv_offset + k_len)
        return mask_function(b, torch.zeros_like(b), q, torch.where(inside, keys, q)) & inside

    return bool((seen(first) & seen(q)).all()) and not bool((seen(first - 1) | seen(q + 1)).any())


def _leading_padding(attention_mask: torch.Tensor | None, batch: int) -> list[int]:
    """How many padding tokens stand before each text."""
    if attention_mask is None:
        return [0]
    real = attention_mask.to(torch.bool)
    lead = torch.where(real.any(-1), real.to(torch.int8).argmax(-1), real.shape[-1])
    return [int(n) for n in lead]


def _parts(
    attention_mask: torch.Tensor | None, lead: list[int], causal: bool, size: tuple[int, int, int],
    q_offset: int, kv_offset: int,
) -> tuple[Part, ...] | None:
    """The parts of a known pattern under a padding mask [batch, tokens]; None when padding lies inside a text."""
    batch, q_len, k_len = size
    # Positions from here on count from the first key at hand.
    offset = q_offset - kv_offset
    reach = min(k_len, offset + q_len) if causal else k_len
    if attention_mask is None:
        spans = [(0, reach)]
    else:
        real = attention_mask.to(torch.bool)[:, kv_offset : kv_offset + reach]
        if bool(real.all()) and real.shape[1] == reach:
            spans = [(0, reach)]
        else:
            spans = []
            for row in real:
                at = row.nonzero().flatten()
                start, end = (int(at[0]), int(at[-1]) + 1) if len(at) else (reach, reach)
                if end - start != len(at):
                    return None
                spans.append((start, end))
            if len(set(spans)) == 1 and len(set(lead)) == 1:
                spans = spans[:1]
    parts = []
    for b, (start, end) in enumerate(spans):
        row, stop = (max(0, start - offset), min(q_len, end - offset)) if causal else (0, q_len if end > start else 0)
        parts.append(Part(start, end, row, max(0, stop - row), kv_offset + start == lead[b % len(lead)]))
    return tuple(parts)


def read_table(table: torch.Tensor, origin: Callable[[int, int], bool] = lambda b, start: True) -> MaskRule | None:
    """The rule of a mask [batch, 1 or heads, q_len, k_len], booleans (True is seen) or addends (0, or the dtype's lowest);
    None when
    it is no rule. O(batch * q_len * k_len), once for a mask."""
    if table.dtype == torch.bool:
        seen = table
    elif table.dtype.is_floating_point:
        seen = table == 0
        if not bool((seen | (table <= torch.finfo(table.dtype).min / 2)).all()):
            return None
    else:
        return None
    if seen.shape[1] > 1 and not bool((seen == seen[:, :1]).all()):
        return None
    seen = seen[:, 0]
    q_len, k_len = seen.shape[-2:]
    counts = seen.sum(-1)
    first = seen.to(torch.int8).argmax(-1)
    last = k_len - 1 - seen.flip(-1).to(torch.int8).argmax(-1)
    found = []
    for b in range(seen.shape[0]):
        one = _read_rows(counts[b], first[b], last[b], q_len, lambda start: origin(b, start))
        if one is None:
            return None
        found.append(one)
    parts = tuple(part for *_, part in found)
    causals = {causal for causal, _, part in found if part.n_rows}
    windows = {window for _, window, _ in found} - {None}
    if len(causals) > 1 or len(windows) > 1:
        return None
    causal, window = causals.pop() if causals else True, windows.pop() if windows else None
    # A window that cut one element must have had nothing to cut in those that show none.
    if window is not None and any(own is None and part.end - part.start > window for _, own, part in found):
        return None
    return MaskRule(causal, window, parts[:1] if len(set(parts)) == 1 else parts)


def _read_rows(
    counts: torch.Tensor, first: torch.Tensor, last: torch.Tensor, q_len: int, origin: Callable[[int], bool]
) -> tuple[bool, int | None, Part] | None:
    """One batch element: the rows' numbers of keys and their first and last keys."""
    rows = counts.nonzero().flatten()
    if len(rows) == 0:
        return True, None, Part(0, 0, 0, 0)
    row, n = int(rows[0]), len(rows)
    counts, first, last = counts[rows], first[rows], last[rows]
    start, end = int(first.min()), int(last[-1]) + 1
    if int(rows[-1]) - row + 1 != n or bool((last - first + 1 != counts).any()):
        return None
    if n > 1 and bool((last == end - 1).all()):
        return (False, None, Part(start, end, row, n, origin(start))) if bool((first == start).all()) else None
    position = torch.arange(end - n, end)
    if bool((last != position).any()):
        return None
    window = None
    cut = first > start
    if bool(cut.any()):
        window = int((position - first)[cut][0]) + 1
        if bool((first != torch.clamp(position - window + 1, min=start)).any()):
            return None
    return True, window, Part(start, end, row, n, origin(start))
