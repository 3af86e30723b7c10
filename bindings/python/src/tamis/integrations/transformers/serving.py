"""Attention of one layer over a TamisCache: new keys and values go in, and a method decides which of those there are read."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import InvalidArgumentError
from ...retrieval import Selector
from .cache import Store, TamisCache, TamisLayer, Text
from .chunks import chunk_index, read_back
from .config import CACHED_PREFILL, SPARSE_PREFILL, LayerState
from .masks import MaskRule, Part
from .positions import turn_back
from .prefill import Tally, attend_tensors, window_of
from .tensors import cut, rows, view


def attend_cached(
    state: LayerState, layer: TamisLayer, query: torch.Tensor, rule: MaskRule, scale: float | None, softcap: float | None,
    position_ids: torch.Tensor | None,
) -> tuple[torch.Tensor, str, str, float, int]:
    """The output [batch, q_len, heads, head_dim]; "prefill" or "decode"; the method that ran; its density; the keys."""
    cache = layer.cache
    key, value = layer.take()
    batch, heads, q_len, head_dim = query.shape
    past = layer.length - q_len
    at, place = cache.places[layer.index]
    store = cache.stores[at]
    config = state.config
    decode = q_len == 1 or 0 < past and q_len <= config.decode_up_to
    phase = "decode" if decode else "prefill"
    method = getattr(config, phase)
    slides = rule.window is not None and (decode or method not in SPARSE_PREFILL or not config.sparse_sliding)
    if state.dense or slides:
        method = "dense"
    if state.act is not None:
        method = "act"
    parts = [rule.part(b) for b in range(batch)]
    for b, part in enumerate(parts):
        _admit(cache.texts[b], layer, part, past, position_ids, b, q_len)

    if method not in CACHED_PREFILL and not past and (method == "act" or not decode):
        # The whole prompt is at hand.
        for b, part in enumerate(parts):
            _append(cache, store, at, place, b, part, key, value)
        out, ran, density = attend_tensors(state, query, key, value, rule, scale, softcap, 0, cache.act_states)
        _keep_boundaries(state, cache, layer)
        return out, phase, ran, density, layer.length

    positions = "natural" if store.rope is None or config.positions == "natural" else "compact"
    out = torch.empty((batch, q_len, heads, head_dim), dtype=query.dtype)
    o = out.transpose(1, 2)
    ran = Tally()
    for b, part in enumerate(parts):
        n, row, stop = part.n_rows, part.row, part.row + part.n_rows
        if n < q_len:
            cut(o, b, 0, row).zero_()
            cut(o, b, stop, q_len).zero_()
        if n == 0:
            continue
        rotated = cut(query, b, row, stop)
        to = cut(o, b, row, stop)
        q = _append(cache, store, at, place, b, part, key, value, rotated)
        text = cache.texts[b]
        sequence = text.sequences[at]
        total = layer.length - text.pad
        seen = Part(0, total, 0, n)
        if method == "act" or method in SPARSE_PREFILL and not decode:
            # The keys before these are read back.
            k, v = read_back(store, text, sequence, place, 0, config.ctx)
            one = MaskRule(True, rule.window, (seen,))
            done, _, density = attend_tensors(
                state, rotated[None], k[None], v[None], one, scale, softcap, b, cache.act_states)
            to.copy_(done[0].transpose(0, 1))
        elif method == "dhsa" and n == 1 and total > config.decode_budget:
            tokens = chunk_index(state, cache, layer.index, b).select(view(rotated, "query"), config.decode_budget)
            # Chunks are scored by rotated keys, so tokens keep their places.
            selector = _selector(state, cache, store, place, "tokenselect", "natural", None, scale, softcap)
            selector.attend_tokens(sequence, view(q, "query"), tokens, place, out=view(to, "out"))
            density = len(tokens) / total
        else:
            kind = "dense" if method == "dhsa" else method
            selector = _selector(state, cache, store, place, kind, positions, window_of(rule, seen), scale, softcap)
            before = selector._stats.tokens_attended
            selector.attend(sequence, view(q, "query"), place, out=view(to, "out"))
            legal = n * total - n * (n - 1) // 2
            density = 1.0 if kind == "dense" else (selector._stats.tokens_attended - before) / legal
        ran.add(seen, density)
    return out, phase, method if ran.sparse or method in (*CACHED_PREFILL, "act") else "dense", ran.density, layer.length


def _admit(
    text: Text, layer: TamisLayer, part: Part, past: int, position_ids: torch.Tensor | None, b: int, q_len: int
) -> None:
    """Checks that a mask's part continues a text that is all there, and notes where it starts."""
    start = min(part.start, layer.length)
    if layer.index == 0 and past <= text.pad:
        text.pad = start
    elif start != text.pad:
        raise InvalidArgumentError(
            f"attention_mask hides tokens [{text.pad}, {start}) of text {b}, which the TamisCache holds: "
            "padding stands before a text and "
            "stays the same from call to call")
    if part.n_rows and part.row + part.n_rows != q_len:
        raise InvalidArgumentError(
            f"attention_mask ends with {q_len - part.row - part.n_rows} padding tokens in text {b}: a TamisCache takes "
            "padding before a "
            "text only (padding_side='left')")
    if layer.index == 0 and part.n_rows:
        known = max(0, past - text.pad)
        # Without position_ids transformers counts padding as well.
        ids = None if position_ids is None else position_ids[b if position_ids.shape[0] > 1 else 0]
        first = past + part.row if ids is None else int(ids[part.row])
        last = first + part.n_rows - 1 if ids is None else int(ids[-1])
        if known == 0:
            text.first_position = first
        if first != text.first_position + known or last - first != part.n_rows - 1:
            raise InvalidArgumentError(
                f"position_ids of text {b} run from {first} to {last}, expected {text.first_position + known} and on, "
                "one by one: a TamisCache "
                "takes the tokens of a text in order")


def _append(
    cache: TamisCache, store: Store, at: int, place: int, b: int, part: Part, key: torch.Tensor, value: torch.Tensor,
    query: torch.Tensor | None = None,
) -> Any:
    """Appends a text's new keys and values; gives the query as the store's attention takes it."""
    n = part.n_rows
    if n == 0:
        return query
    k, v = cut(key, b, part.row, part.row + n), cut(value, b, part.row, part.row + n)
    text = cache.texts[b]
    if store.rope is not None:
        first = text.first_position + cache.layers[store.layers[place]].length - text.pad - n
        ctx = cache._made_with["ctx"]
        if query is None:
            k = turn_back(k, store.rope, first, ctx)
        else:
            # Queries and keys in one go.
            both = turn_back(torch.cat((query, k)), store.rope, first, ctx)
            query, k = both[: query.shape[0]], both[query.shape[0] :]
    text.sequences[at].append(view(rows(k), "key"), view(rows(v), "value"), place)
    return query


def _selector(
    state: LayerState, cache: TamisCache, store: Store, place: int, kind: str, positions: str, window: int | None,
    scale: float | None, softcap: float | None,
) -> Selector:
    """The layer's selector for a method, made once for a cache."""
    method = state.method(kind, positions, window, scale, softcap)
    assert store.kv is not None
    return cache.selector((state.layer, method), lambda: Selector(store.kv, method, q_heads=state.heads))


def _keep_boundaries(state: LayerState, cache: TamisCache, layer: TamisLayer) -> None:
    """DHSA decode goes on from the chunks that DHSA prefill found."""
    for b, text in enumerate(cache.texts):
        found = state.model.shared.get(("boundaries", b))
        if found is not None:
            text.boundaries[layer.index] = found
