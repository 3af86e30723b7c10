"""Dynamic sparse prefill: which keys each block of queries of a prompt needs, and exact attention over those.

>>> out = tamis.sparse_prefill(q, k, v, "dhsa_topk", density=0.125)               # q [32, n, 128], k and v [8, n, 128]
>>> mask = tamis.sparse_select(q, k, "xattention", coverage=0.9)                  # the tiles alone
>>> out = tamis.sparse_attention(q, k, v, mask)

Every method scores key tiles and spends a budget on them; one kernel attends. Without a causal mask: ``xattention``, ``sparge``
and ``dense`` only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Union

from . import _ffi
from ._arguments import choice, int32, integer, real
from ._arrays import ArrayLike, Tensor, floats, pointer, read, result
from ._lib import library
from ._progress import Progress, ProgressCallback
from .attention import attention_options, output
from .context import Context, pointer_of
from .dhsa import POOLINGS, BoundaryPredictor, boundary_list, boundary_options
from .errors import InvalidArgumentError
from .sparse_attention import SparseMask, SparseStats

_METHODS = {
    "dense": _ffi.TAMIS_SPARSE_DENSE, "dhsa": _ffi.TAMIS_SPARSE_DHSA, "dhsa_topk": _ffi.TAMIS_SPARSE_DHSA_TOPK,
    "dhsa_a": _ffi.TAMIS_SPARSE_DHSA_A, "dhsa_vs": _ffi.TAMIS_SPARSE_DHSA_VS, "dhsa_vsb": _ffi.TAMIS_SPARSE_DHSA_VSB,
    "block": _ffi.TAMIS_SPARSE_BLOCK, "a_shape": _ffi.TAMIS_SPARSE_A_SHAPE,
    "vertical_slash": _ffi.TAMIS_SPARSE_VERTICAL_SLASH, "block_topk": _ffi.TAMIS_SPARSE_BLOCK_TOPK,
    "minference": _ffi.TAMIS_SPARSE_MINFERENCE, "flexprefill": _ffi.TAMIS_SPARSE_FLEXPREFILL,
    "xattention": _ffi.TAMIS_SPARSE_XATTENTION, "sparge": _ffi.TAMIS_SPARSE_SPARGE,
    "compat_dhsa": _ffi.TAMIS_SPARSE_COMPAT_DHSA, "compat_dhsa_topk": _ffi.TAMIS_SPARSE_COMPAT_DHSA_TOPK,
    "compat_dhsa_vsb": _ffi.TAMIS_SPARSE_COMPAT_DHSA_VSB,
}
_SCORES = {"lse8": _ffi.TAMIS_BLOCK_SCORE_LSE8, "mean": _ffi.TAMIS_BLOCK_SCORE_MEAN}
_GRANULARITIES = {"tiles": _ffi.TAMIS_GRANULARITY_TILES, "tokens": _ffi.TAMIS_GRANULARITY_TOKENS}


@dataclass(frozen=True)
class SparseOptions:
    """A method and its numbers. None is the method's own default, given here; a field that a method does not name is ignored.

    method
        - "dense": every legal tile.
        - "dhsa": DHSA v1 (arXiv 2510.24606 v1): chunks between learned boundaries, the tokens of the best; one list for all
          heads, or `head_lists`.
        - "dhsa_topk": DHSA v2 (arXiv 2510.24606 v2): the first tile and the block's own, then the best before them.
        - "dhsa_a": the same with the first and the last tile forced only.
        - "dhsa_vs", "dhsa_vsb": v2 vertical-slash, from the last queries' attention or from block means.
        - "block": DHSA's baseline: means over block and heads; one list for all heads.
        - "a_shape", "vertical_slash", "block_topk", "minference": MInference (arXiv 2407.02490): first and last keys; the best
          columns and diagonals; the best blocks; a pattern for each head.
        - "flexprefill": FlexPrefill (arXiv 2502.20766). "xattention": XAttention (arXiv 2503.16428). "sparge": SpargeAttn
          (arXiv 2502.18137).
        - "compat_dhsa", "compat_dhsa_topk", "compat_dhsa_vsb": the official code as written, for comparison.
    """

    method: str = "dhsa_topk"
    #: Queries of a block; a multiple of 8 (dhsa: any). 128; vertical_slash, block_topk, minference: 64.
    query_block: int | None = None
    #: Keys of a tile; a multiple of 8. 64; dhsa: 32; flexprefill, xattention: 128. Token lists have 1.
    key_block: int | None = None
    #: One list per KV head, the union of those of its query heads.
    share_group: bool = False
    #: dhsa: first tokens listed, 128, at most a quarter of the budget. a_shape: 128. sparge: 1 keeps the first tile. 0: none.
    sinks: int | None = None
    #: sparse_prefill is dense for fewer keys: 4096.
    dense_below: int | None = None
    #: dhsa*, block: share of the tiles that a block may list: 0.125.
    density: float | None = None
    #: flexprefill: gamma, 0.9. xattention: tau, 0.9. sparge: cdf; None: top_share instead.
    coverage: float | None = None
    #: dhsa, block: tokens of a query block; None: density. -1: all.
    budget: int | None = None
    #: dhsa: last tokens listed, 128 and at least the query block. a_shape: 3968.
    local: int | None = None
    #: dhsa: the last queries, attended densely: 64. 0: none.
    instruction_tokens: int | None = None
    #: dhsa: a BoundaryPredictor, which finds the chunks.
    predictor: BoundaryPredictor | None = None
    #: dhsa: the chunks, integers ascending from 0 to k_len; None without predictor: chunks of key_block.
    boundaries: Any = None
    #: dhsa: arguments of boundaries_from_logits, as a dict.
    boundary_options: dict[str, Any] | None = None
    #: dhsa: "tiles", or "tokens", the reference.
    granularity: str = "tiles"
    #: dhsa: "sqrt" or "mean".
    pooling: str = "sqrt"
    #: dhsa: a list for each query head, by its own queries and keys, instead of one by their means: more mass at the same density.
    head_lists: bool = False
    #: dhsa_topk, dhsa_a: "lse8", the log-mean-exp of 4 x 2 sub-blocks, or "mean".
    score: str = "lse8"
    #: dhsa_topk: budgets of blocks lie between these multiples of the density; None: all alike.
    row_min: float | None = None
    row_max: float | None = None
    #: dhsa_vs: share of the budget that goes to columns: 0.5.
    vertical_ratio: float | None = None
    #: Last queries that are scored. dhsa_vs: evenly spaced rows of the last block, 64 or the block. vertical_slash, minference: the last 64.
    #: flexprefill: the last 128.
    sampled_rows: int | None = None
    #: vertical_slash: columns, 1000, and diagonals, 6096.
    vertical: int | None = None
    slash: int | None = None
    #: block_topk: 100.
    max_blocks: int | None = None
    #: minference: one of ("a_shape", sinks, local), ("vertical_slash", vertical, slash), ("block_topk", max_blocks) for each
    #: query head; None: vertical-slash 1000, 6096 for all.
    patterns: Sequence[tuple[Any, ...]] | None = None
    #: flexprefill: tau, 0.1. sparge: simthreshd1, -0.1, with coverage 0.6.
    similarity: float | None = None
    #: flexprefill: tokens, 1024 and no limit.
    min_budget: int | None = None
    max_budget: int | None = None
    #: xattention: 8; divides query_block and key_block.
    stride: int | None = None
    #: sparge: share of the tiles: 0.5.
    top_share: float | None = None
    #: sparge: whether similarity is that of keys less their mean.
    smooth_keys: bool = True
    #: Of sparse_attention; sparge 50, else 0. 0: off.
    pv_threshold: float | None = None
    #: xattention, sparge: a coverage for each query head instead of the one.
    head_coverage: ArrayLike | None = None


#: Fields that go to C as they are, with 0 as "the method's own": an explicit 0 must be refused here.
_POSITIVE = {
    "query_block": int32, "key_block": int32, "density": real, "coverage": real, "local": integer, "row_max": real,
    "vertical_ratio": real, "sampled_rows": int32, "vertical": int32, "slash": int32, "max_blocks": int32,
    "min_budget": integer, "max_budget": integer, "stride": int32, "top_share": real, "budget": integer,
}


def sparse_select(
    q: ArrayLike, k: ArrayLike, method: Union[str, SparseOptions] = "dhsa_topk", *, causal: bool = True,
    q_offset: int | None = None, window: int | None = None, scale: float | None = None, softcap: float | None = None,
    progress: Progress = False, ctx: Context | None = None, **options: Any,
) -> SparseMask:
    """The key tiles that a method chooses for a prompt.

    Parameters
    ----------
    q, k, causal, q_offset, window, scale, softcap, ctx
        As :func:`attention`: [(batch,) q_heads, q_len, head_dim] and [(batch,) kv_heads, k_len, head_dim], rotated.
    method
        Name of a method, or :class:`SparseOptions`.
    progress
        Function of the share done; returning False cancels.
    options
        Fields of :class:`SparseOptions`.

    NaN scores count as -inf. Returns a :class:`SparseMask`.
    Raises InvalidArgumentError, UnsupportedError (causal=False with a causal method), OutOfMemoryError, CancelledError.
    """
    tq, tk = read(q, "q"), read(k, "k")
    c, kept = _c_options(_options(method, options), tq)
    rule, bias = attention_options(tq, causal=causal, q_offset=q_offset, window=window, scale=scale, softcap=softcap)
    made = ctypes.POINTER(_ffi.tamis_sparse_mask)()
    with ProgressCallback(progress, "selection", bar=False) as callback:
        c.progress = callback
        library().tamis_sparse_select(
            pointer_of(ctx), ctypes.byref(c), ctypes.byref(rule), ctypes.byref(tq.c()), ctypes.byref(tk.c()),
            ctypes.byref(made))
    del bias, kept  # live as long as the call
    return SparseMask._of(made)


def sparse_prefill(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, method: Union[str, SparseOptions] = "dhsa_topk", *, causal: bool = True,
    q_offset: int | None = None, window: int | None = None, scale: float | None = None, softcap: float | None = None,
    key0_bias: ArrayLike | None = None, return_lse: bool = False, return_mask: bool = False, stats: SparseStats | None = None,
    out: ArrayLike | None = None, progress: Progress = False, ctx: Context | None = None, **options: Any,
) -> Any:
    """Attention of a prompt over the tiles that a method chooses: :func:`sparse_select` and :func:`sparse_attention` in one
    call; dense below `dense_below` keys.

    Parameters
    ----------
    q, k, v, causal, q_offset, window, scale, softcap, key0_bias, return_lse, out, ctx
        As :func:`attention`.
    method, progress, options
        As :func:`sparse_select`.
    return_mask
        Also return the :class:`SparseMask`, for the next layers; None where the call was dense.
    stats
        A :class:`SparseStats` to add to.

    Returns
    -------
    out, and after it lse and mask if they are asked for
        numpy arrays; torch tensors if q is one. A query with no legal listed key gives 0 and lse -inf.

    Raises InvalidArgumentError, UnsupportedError, OutOfMemoryError, DeviceError, CancelledError.
    """
    tq, tk, tv = read(q, "q"), read(k, "k"), read(v, "v")
    if stats is not None and not isinstance(stats, SparseStats):
        raise InvalidArgumentError(f"stats is {stats!r}, expected a SparseStats or None")
    c, kept = _c_options(_options(method, options), tq)
    rule, bias = attention_options(
        tq, causal=causal, q_offset=q_offset, window=window, scale=scale, softcap=softcap, key0_bias=key0_bias)
    to, o = output(out, q, tq.shape, tq.dtype)
    tl = Tensor.empty(tq.shape[:-1]) if return_lse else None
    made = ctypes.POINTER(_ffi.tamis_sparse_mask)()
    done = _ffi.tamis_sparse_stats(ctypes.sizeof(_ffi.tamis_sparse_stats))
    with ProgressCallback(progress, "sparse prefill", bar=False) as callback:
        c.progress = callback
        library().tamis_sparse_prefill(
            pointer_of(ctx), ctypes.byref(c), ctypes.byref(rule), ctypes.byref(tq.c()), ctypes.byref(tk.c()),
            ctypes.byref(tv.c()), ctypes.byref(to.c()), None if tl is None else ctypes.byref(tl.c()),
            ctypes.byref(made) if return_mask else None, ctypes.byref(done))
    del bias, kept  # live as long as the call
    if stats is not None:
        stats.add(SparseStats._of(done))
    results = [o()]
    if tl is not None:
        results.append(result(tl, q))
    if return_mask:
        results.append(SparseMask._of(made) if made else None)
    return results[0] if len(results) == 1 else tuple(results)


def _options(method: Union[str, SparseOptions], given: dict[str, Any]) -> SparseOptions:
    names = {f.name for f in fields(SparseOptions)} - {"method"}
    unknown = sorted(set(given) - names)
    if unknown:
        raise InvalidArgumentError(f"{unknown[0]} is no option, expected one of {', '.join(sorted(names))}")
    return replace(method, **given) if isinstance(method, SparseOptions) else SparseOptions(method, **given)


def _c_options(options: SparseOptions, tq: Tensor) -> tuple[_ffi.tamis_sparse_options, list[Any]]:
    """The C options, and what must live until they are read."""
    c = _ffi.tamis_sparse_options()
    library().tamis_sparse_options_init(ctypes.byref(c))
    heads = tq.shape[-3] if tq.ndim >= 3 else 0
    kept: list[Any] = []
    c.method = choice(options.method, _METHODS, "method")
    for name, convert in _POSITIVE.items():
        value = getattr(options, name)
        if value is not None:
            number = convert(value, name)
            if number == 0:
                raise InvalidArgumentError(f"{name} is {value}, expected more than 0, or None for the method's own")
            setattr(c, name, number)
    c.share_group = int(bool(options.share_group))
    c.head_lists = int(bool(options.head_lists))
    if options.sinks is not None:
        c.sinks = int32(options.sinks, "sinks") or -1
    if options.dense_below is not None:
        c.dense_below = integer(options.dense_below, "dense_below")
    if options.instruction_tokens is not None:
        c.instruction_tokens = integer(options.instruction_tokens, "instruction_tokens") or -1
    if options.row_min is not None:
        c.row_min = real(options.row_min, "row_min")
    if options.similarity is not None:
        c.similarity = real(options.similarity, "similarity")
        if c.similarity < -1:
            raise InvalidArgumentError(f"similarity is {options.similarity}, expected at least -1")
    c.smooth_keys = 1 if options.smooth_keys else -1
    if options.pv_threshold is not None:
        c.pv_threshold = real(options.pv_threshold, "pv_threshold") or -1
    c.score = choice(options.score, _SCORES, "score")
    c.granularity = choice(options.granularity, _GRANULARITIES, "granularity")
    c.pooling = choice(options.pooling, POOLINGS, "pooling")
    if options.patterns is not None:
        c.patterns = _patterns(options.patterns, heads)
        kept.append(c.patterns)
    if options.head_coverage is not None:
        shares = floats(options.head_coverage, "head_coverage", heads)
        c.head_coverage = pointer(shares, ctypes.c_float)
        kept.append(shares)
    _chunks(options, c, kept)
    return c, kept


def _patterns(patterns: Sequence[tuple[Any, ...]], heads: int) -> Any:
    if len(patterns) != heads:
        raise InvalidArgumentError(f"patterns has {len(patterns)} entries, expected {heads}, the heads of q")
    array = (_ffi.tamis_head_pattern * heads)()
    kinds = {name: _METHODS[name] for name in ("a_shape", "vertical_slash", "block_topk")}
    for h, pattern in enumerate(patterns):
        name, *numbers = pattern
        if len(numbers) != (1 if name == "block_topk" else 2):
            raise InvalidArgumentError(
                f"patterns[{h}] is {pattern!r}, expected a name and two numbers (block_topk: one)")
        array[h].method = choice(name, kinds, f"patterns[{h}]")
        array[h].first = int32(numbers[0], f"patterns[{h}]")
        array[h].second = int32(numbers[1], f"patterns[{h}]") if len(numbers) > 1 else 0
    return ctypes.cast(array, ctypes.POINTER(_ffi.tamis_head_pattern))


def _chunks(options: SparseOptions, c: _ffi.tamis_sparse_options, kept: list[Any]) -> None:
    """What names the chunks of "dhsa"."""
    if options.predictor is not None:
        if not isinstance(options.predictor, BoundaryPredictor):
            raise InvalidArgumentError(f"predictor is {options.predictor!r}, expected a BoundaryPredictor")
        c.predictor = options.predictor._handle.pointer
    if options.boundaries is not None:
        boundaries = boundary_list(options.boundaries)
        c.boundaries, c.n_boundaries = pointer(boundaries, ctypes.c_int64), boundaries.size
        kept.append(boundaries)
    if options.boundary_options is not None:
        rule = boundary_options(**options.boundary_options)
        c.boundary_options = ctypes.pointer(rule)
        kept.append(rule)
