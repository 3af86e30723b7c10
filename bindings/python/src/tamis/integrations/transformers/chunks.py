"""DHSA at decode: the chunks of each cached text."""

from __future__ import annotations

from typing import Any

import torch

from ...dhsa import ChunkIndex, boundaries_from_logits
from ...kv import Sequence
from ...ops import rope
from .cache import Store, TamisCache, Text
from .config import LayerState


def read_back(
    store: Store, text: Text, sequence: Sequence, place: int, start: int, ctx: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys, rotated as the model has them, and values of a text's tokens from `start` on: float32 [kv_heads, n, head_dim]."""
    key, value = sequence.read(start, layer=place)
    if store.rope is not None:
        rope(key, store.rope, first=text.first_position + start, out=key, ctx=ctx)
    return torch.from_numpy(key), torch.from_numpy(value)


def chunk_index(state: LayerState, cache: TamisCache, layer: int, b: int) -> ChunkIndex:
    """The chunks of one layer of a text, up to its last token."""
    at, place = cache.places[layer]
    store, text = cache.stores[at], cache.texts[b]
    sequence = text.sequences[at]
    ctx = state.config.ctx
    index = text.chunks.get(layer)
    known = 0 if index is None else len(index)
    key, _ = read_back(store, text, sequence, place, known, ctx)
    if index is None:
        ends = {name: n for name in ("sinks", "local") if (n := getattr(state.config, name)) is not None}
        index = ChunkIndex(kv_heads=key.shape[0], head_dim=key.shape[2], ctx=ctx, **ends)
        boundaries = _boundaries(state, text, layer, key)
        if boundaries is not None:
            prompt = int(boundaries[-1])
            index.append(key[:, :prompt].contiguous(), boundaries)
            key = key[:, prompt:]
        # Stored only now: an index that failed half way is not used.
        text.chunks[layer] = index
    if key.shape[1]:
        index.append(key.contiguous())
    return index


def _boundaries(state: LayerState, text: Text, layer: int, key: torch.Tensor) -> Any:
    """The chunks of what is cached: those of DHSA prefill, or the predictor's; None: chunks of one length."""
    found = text.boundaries.get(layer)
    if found is not None and found[-1] <= key.shape[1]:
        return found
    predictor = state.model.predictor
    if predictor is None:
        return None
    shared = text.boundaries.get(-1) if state.config.share_boundaries else None
    if shared is not None and shared[-1] <= key.shape[1]:
        return shared
    text.boundaries[-1] = boundaries_from_logits(predictor.run(key), instruction_tokens=0)
    return text.boundaries[-1]
