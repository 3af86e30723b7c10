"""Attention over keys and values at hand: whole prompts, and transformers' own caches."""

from __future__ import annotations

from typing import Any

import torch

from ...attention import attention
from .config import LayerState
from .masks import MaskRule, Part
from .tensors import rows, view


def attend_tensors(
    state: LayerState, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: MaskRule, scale: float | None,
    softcap: float | None,
) -> tuple[torch.Tensor, str, float]:
    """Attention over keys and values at hand: the output [batch, q_len, heads, head_dim], the method that ran, its density."""
    batch, heads, q_len, head_dim = query.shape
    key, value = rows(key), rows(value)
    out = torch.empty((batch, q_len, heads, head_dim), dtype=query.dtype)
    o = out.transpose(1, 2)
    config = state.config
    sparse = (
        config.prefill != "dense" and q_len > 1 and rule.causal and not state.dense and (rule.window is None or config.sparse_sliding))
    if sparse:
        return out, *sparse_prefill(state, query, key, value, rule, scale, softcap, o)
    for part, at in parts(rule, batch, q_len):
        if part.n_rows == 0:
            o[at] = 0
            continue
        if part.n_rows < q_len:
            o[at][..., : part.row, :] = 0
            o[at][..., part.row + part.n_rows :, :] = 0
        taken = slice(part.row, part.row + part.n_rows)
        attention(
            view(query[at][..., taken, :], "query"), view(key[at][..., part.start : part.end, :], "key"),
            view(value[at][..., part.start : part.end, :], "value"), causal=rule.causal, window=window_of(rule, part),
            scale=scale, softcap=softcap, key0_bias=state.bias if part.origin else None,
            out=view(o[at][..., taken, :], "out"), ctx=config.ctx)
    return out, "dense", 1.0


def parts(rule: MaskRule, batch: int, q_len: int) -> list[tuple[Part, Any]]:
    """The parts of a rule with their place in the batch: the whole batch at once where all are alike."""
    if len(rule.parts) == 1:
        return [(rule.parts[0], slice(None))]
    return [(part, b) for b, part in enumerate(rule.parts)]


def window_of(rule: MaskRule, part: Part) -> int | None:
    """The rule's window where it hides a key of this part."""
    return rule.window if rule.window is not None and part.end - part.start > rule.window else None


def sparse_prefill(
    state: LayerState, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rule: MaskRule, scale: float | None,
    softcap: float | None, out: torch.Tensor,
) -> tuple[str, float]:
    raise NotImplementedError
