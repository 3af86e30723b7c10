"""Attention over keys and values at hand: whole prompts, and transformers' own caches."""

from __future__ import annotations

from typing import Any

import torch

from ...attention import attention
from ...errors import UnsupportedError
from ...sinks import ActState, act_attention
from ...sparse_attention import SparseMask, SparseStats, sparse_attention
from ...sparse_prefill import sparse_prefill
from .config import SPARSE_PREFILL, LayerState
from .masks import MaskRule, Part
from .tensors import cut, rows, view


def attend_tensors(
    state: LayerState, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: MaskRule, scale: float | None,
    softcap: float | None, element: int = 0, act_states: dict[Any, Any] | None = None,
) -> tuple[torch.Tensor, str, float]:
    """The output [batch, q_len, heads, head_dim], the method that ran, its density.

    element: place in the model's batch of the first batch element, by which layers share.
    act_states: ACT's statistics of the texts; None: those of the model.
    """
    batch, heads, q_len, head_dim = query.shape
    key, value = rows(key), rows(value)
    out = torch.empty((batch, q_len, heads, head_dim), dtype=query.dtype)
    o = out.transpose(1, 2)
    config = state.config
    sparse = (
        config.prefill in SPARSE_PREFILL and q_len > 1 and rule.causal and not state.dense and state.act is None
        and (rule.window is None or config.sparse_sliding))
    ran = Tally()
    # DHSA finds the chunks of one text at a time, and ACT its sinks.
    for part, at in _parts(rule, batch, apart=state.act is not None or sparse and config.prefill == "dhsa"):
        row, stop = part.row, part.row + part.n_rows
        if part.n_rows < q_len:
            cut(o, at, 0, row).zero_()
            cut(o, at, stop, q_len).zero_()
        if part.n_rows == 0:
            continue
        tensors = (
            view(cut(query, at, row, stop), "query"), view(cut(key, at, part.start, part.end), "key"),
            view(cut(value, at, part.start, part.end), "value"))
        options = {
            "window": window_of(rule, part), "scale": scale, "softcap": softcap,
            "key0_bias": state.bias if part.origin else None,
            "out": view(cut(o, at, row, stop), "out"), "ctx": config.ctx}
        density = 1.0
        if sparse:
            density = _attend_sparsely(state, tensors, options, rule.window is not None, element + (at or 0))
        elif state.act is not None:
            states = state.model.act_states if act_states is None else act_states
            _calibrate(state, states, tensors, options, rule.causal, element + (at or 0))
        else:
            attention(*tensors, causal=rule.causal, **options)
        ran.add(part, density, batch if at is None else 1)
    return out, config.prefill if ran.sparse else "dense" if state.act is None else "act", ran.density


class Tally:
    """Density over parts, weighted by their legal pairs."""

    def __init__(self) -> None:
        self.kept = self.legal = 0.0
        self.sparse = False

    def add(self, part: Part, density: float, times: int = 1) -> None:
        n, keys = part.n_rows, part.end - part.start
        pairs = times * (n * keys - n * (n - 1) / 2)
        self.kept, self.legal = self.kept + density * pairs, self.legal + pairs
        self.sparse |= density < 1

    @property
    def density(self) -> float:
        return self.kept / self.legal if self.legal else 1.0


def _attend_sparsely(state: LayerState, tensors: Any, options: dict[str, Any], sliding: bool, element: int) -> float:
    """One part by the config's sparse method, with what earlier layers left; gives its density."""
    config, shared = state.config, state.model.shared
    kind = ("mask", sliding, element)
    if config.share_masks and kind in shared:
        mask, density, threshold = shared[kind]
        if mask is None:
            attention(*tensors, **options)
        else:
            sparse_attention(*tensors, mask, pv_threshold=threshold, **options)
        return float(density)
    own = dict(state.model.sparse_options)
    chunks = config.prefill == "dhsa"
    if chunks:
        boundaries = shared.get(("boundaries", element)) if config.share_boundaries else None
        if boundaries is not None:
            own["boundaries"] = boundaries
        elif (predictor := state.model.predictor) is not None:
            own["predictor"] = predictor
    stats = SparseStats()
    wanted = chunks or config.share_masks
    answer = sparse_prefill(*tensors, config.prefill, return_mask=wanted, stats=stats, **own, **options)
    mask: SparseMask | None = answer[1] if wanted else None
    density = stats.tiles_listed / stats.tiles_legal if stats.calls_sparse and stats.tiles_legal else 1.0
    if chunks and mask is not None and (found := mask.boundaries) is not None:
        shared[("boundaries", element)] = found
    if config.share_masks:
        shared[kind] = mask, density, own.get("pv_threshold") or (50.0 if config.prefill == "sparge" else 0.0)
    return density


def _calibrate(
    state: LayerState, states: dict[Any, Any], tensors: Any, options: dict[str, Any], causal: bool, element: int
) -> None:
    """One text with ACT, whose column statistics go on from call to call."""
    if not causal:
        raise UnsupportedError("attention_mask is bidirectional, but ACT (TamisConfig.act) is for causal attention")
    n, total = tensors[0].shape[-2], tensors[1].shape[-2]
    key = state.layer, element
    if n == total:
        states[key] = ActState(state.heads, ctx=state.config.ctx)
    elif key not in states:
        raise UnsupportedError(
            "ACT (TamisConfig.act) needs the statistics of a text from its first token on: its cache was filled by "
            "another config, or cropped or reordered (beams)")
    act_attention(*tensors, heads=state.act, state=states[key], **state.config.act_options, **options)


def _parts(rule: MaskRule, batch: int, apart: bool = False) -> list[tuple[Part, int | None]]:
    """The parts of a rule with their place in the batch: None, the whole batch at once, where all are alike."""
    if len(rule.parts) == 1 and not apart:
        return [(rule.parts[0], None)]
    return [(rule.part(b), b) for b in range(batch)]


def window_of(rule: MaskRule, part: Part) -> int | None:
    """The rule's window where it hides a key of this part."""
    return rule.window if rule.window is not None and part.end - part.start > rule.window else None
