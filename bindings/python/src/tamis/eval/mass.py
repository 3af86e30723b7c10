"""How much of dense attention a selection keeps, row by row, and how much the best selection of the same size would keep.

Retained mass of a row: the sum of its dense probabilities over the keys that it attends. Both attentions give their
log-sum-exp, so it is exp(lse_sparse - lse_dense), exactly and for every row, without a probability ever being stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..attention import attention
from ..context import Context
from ..sparse_attention import SparseMask, TileLists
from .methods import EvalMethod, PromptAttention


@dataclass
class Comparison:
    """A method against dense attention on the tensors of one layer."""

    #: Mean over rows and heads of the retained mass.
    retained: float
    #: The same of the per-block oracle with as many tiles in every block; None: not computed.
    oracle: float | None
    #: The retained mass over the blocks that the oracle saw: all, or those it was asked for.
    retained_of_oracle_blocks: float | None
    #: ||o_sparse - o_dense|| / ||o_dense|| (Frobenius norm over the layer).
    output_error: float
    #: Tiles listed of tiles legal, of all tiles of the square, and (query, key) pairs attended of pairs legal.
    density: float
    share_of_all_tiles: float
    share_of_pairs: float
    mask: SparseMask


def compare(
    method: EvalMethod, q: Any, k: Any, v: Any, *, prompt: PromptAttention | None = None, dense: tuple[Any, Any] | None = None,
    oracle: bool = True, oracle_blocks: np.ndarray | None = None, ctx: Context | None = None, **rule: Any,
) -> Comparison:
    """Compares a method with dense attention.

    q [heads, n, head_dim], k and v [kv_heads, n, head_dim]; rotated; float32 for the oracle. prompt: of `method`, when layers
    share. dense: (out, lse) of :func:`tamis.attention` where they are known. oracle_blocks: query blocks that the oracle sees;
    None: all. rule: window, scale, softcap as :func:`tamis.attention`.
    """
    prompt = method.prompt(ctx) if prompt is None else prompt
    dense_out, dense_lse = attention(q, k, v, return_lse=True, ctx=ctx, **rule) if dense is None else dense
    if method.dense:
        # All tiles, through the lists: what the mask of "dense" is.
        mask = prompt.select(q, k, **rule)
        out, lse = dense_out, dense_lse
    else:
        mask = prompt.select(q, k, **rule)
        out, lse = prompt.attend(q, k, v, mask, return_lse=True, **rule)
    rows = row_mass(lse, dense_lse)
    stats = mask.stats(q.shape[0], window=rule.get("window"))
    tiles = mask.tiles
    n = q.shape[1]
    all_tiles = q.shape[0] * -(-n // tiles.query_block) * -(-k.shape[1] // tiles.key_block)
    best = kept = None
    if oracle:
        best, kept = oracle_mass(tiles, rows, q, k, np.asarray(dense_lse), blocks=oracle_blocks, **rule)
    difference = (np.asarray(out, np.float32) - np.asarray(dense_out, np.float32)).astype(np.float64)
    return Comparison(
        retained=float(rows.mean(dtype=np.float64)), oracle=best, retained_of_oracle_blocks=kept,
        output_error=float(np.linalg.norm(difference) / np.linalg.norm(np.asarray(dense_out, np.float64))),
        density=stats.tiles_listed / stats.tiles_legal, share_of_all_tiles=stats.tiles_listed / all_tiles,
        share_of_pairs=stats.pairs_attended / stats.pairs_legal, mask=mask)


def row_mass(lse_sparse: Any, lse_dense: Any) -> np.ndarray:
    """Retained mass of each row, float64 [heads, n]; a row that attends nothing keeps 0. Rounding may put it 1e-6 above 1."""
    sparse, dense = np.asarray(lse_sparse, np.float64), np.asarray(lse_dense, np.float64)
    with np.errstate(invalid="ignore"):
        mass = np.exp(sparse - dense)
    return np.where(np.isneginf(sparse), 0.0, mass)


def tile_mass(
    q: np.ndarray, k: np.ndarray, lse: np.ndarray, query_block: int, key_block: int, *, blocks: Any = None,
    scale: float | None = None, softcap: float | None = None, window: int | None = None,
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Dense probabilities summed over key tiles and averaged over the rows of a query block.

    q [heads, n, head_dim], k [kv_heads, n, head_dim], lse [heads, n] of dense causal attention. Yields (head, block,
    float64 [tiles]); the masses of a block add up to 1. One block's scores are in memory at a time.
    """
    heads, n, d = q.shape
    group = heads // k.shape[0]
    scale = d**-0.5 if scale is None else scale
    blocks = range(-(-n // query_block)) if blocks is None else blocks
    for h in range(heads):
        keys = np.asarray(k[h // group], np.float32)
        for b in blocks:
            rows = np.arange(b * query_block, min((b + 1) * query_block, n))
            seen = int(rows[-1]) + 1
            z = np.asarray(q[h, rows], np.float32) @ keys[:seen].T * np.float32(scale)
            if softcap:
                z = np.float32(softcap) * np.tanh(z / np.float32(softcap))
            distance = rows[:, None] - np.arange(seen)
            legal = distance >= 0
            if window:
                legal &= distance < window
            p = np.where(legal, np.exp(z - np.asarray(lse[h, rows], np.float32)[:, None]), np.float32(0))
            sums = np.add.reduceat(p.mean(0, dtype=np.float64), np.arange(0, seen, key_block))
            mass = np.zeros(-(-k.shape[1] // key_block))
            mass[: sums.size] = sums
            yield h, b, mass


def oracle_mass(
    tiles: TileLists, rows: np.ndarray, q: np.ndarray, k: np.ndarray, lse: np.ndarray, *, blocks: Any = None, **rule: Any
) -> tuple[float, float]:
    """Mass that the best tiles of every (query head, query block) keep, as many as the method listed there; and the mass that
    `rows` [heads, n] keep over the same blocks. Both are means over rows.

    The oracle has a list of its own for every query head, also where the method shares one.
    """
    heads, n = rows.shape
    n_blocks = -(-n // tiles.query_block)
    counts = np.diff(tiles.row_ptr).reshape(tiles.heads, n_blocks)
    best = kept = weight = 0.0
    for h, b, mass in tile_mass(q, k, lse, tiles.query_block, tiles.key_block, blocks=blocks, **rule):
        count = int(counts[h * tiles.heads // heads, b])
        own = slice(b * tiles.query_block, min((b + 1) * tiles.query_block, n))
        size = own.stop - own.start
        best += size * float(np.sort(mass)[::-1][:count].sum())
        kept += float(rows[h, own].sum())
        weight += size
    return best / weight, kept / weight
