"""Exact attention over lists of key tiles.

>>> tiles = tamis.TileLists.from_dense_mask(mask, query_block=128, key_block=64)      # mask: bool [heads, q_len, k_len]
>>> out = tamis.sparse_attention(q, k, v, tiles)
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from . import _ffi
from ._arguments import int32, integer, real
from ._arrays import ArrayLike, Tensor, pointer, read, result
from ._lib import Handle, library
from .attention import attention_options, output
from .context import Context, pointer_of
from .errors import InvalidArgumentError


@dataclass(frozen=True)
class TileLists:
    """Which key tiles each query block attends, as compressed sparse rows.

    Row ``r = (b * heads + h) * n_blocks + i`` is query block i (queries ``[i * query_block, (i + 1) * query_block)``) of list
    head h of batch element b, ``n_blocks = ceil(q_len / query_block)``; its tiles are ``index[row_ptr[r]:row_ptr[r + 1]]``,
    strictly ascending. Tile j is keys ``[j * key_block, (j + 1) * key_block)``.
    """

    #: int64 [rows + 1], from 0 on.
    row_ptr: np.ndarray
    #: int32 [row_ptr[-1]].
    index: np.ndarray
    #: Lists per batch element: 1 (shared by all heads), the number of KV heads, or of query heads.
    heads: int = 1
    query_block: int = 128
    #: 1: a tile is a token.
    key_block: int = 64

    def __post_init__(self) -> None:
        for name, dtype in (("row_ptr", np.int64), ("index", np.int32)):
            array = np.asarray(getattr(self, name))
            if array.ndim != 1 or array.dtype.kind not in "iu" and array.size:
                raise InvalidArgumentError(f"{name} is {array.dtype}{list(array.shape)}, expected integers [n]")
            if array.size and not np.iinfo(dtype).min <= int(array.min()) <= int(array.max()) <= np.iinfo(dtype).max:
                raise InvalidArgumentError(
                    f"{name} reaches from {array.min()} to {array.max()}, which does not fit {dtype.__name__}")
            object.__setattr__(self, name, np.ascontiguousarray(array, dtype))
        if self.row_ptr.size == 0:
            raise InvalidArgumentError("row_ptr is empty, expected rows + 1 offsets")
        if self.index.size != self.row_ptr[-1]:
            raise InvalidArgumentError(f"index has {self.index.size} tiles, expected row_ptr[-1], {self.row_ptr[-1]}")
        for name in ("heads", "query_block", "key_block"):
            value = int32(getattr(self, name), name)
            if value < 1:
                raise InvalidArgumentError(f"{name} is {value}, expected at least 1")
            object.__setattr__(self, name, value)

    @property
    def n_rows(self) -> int:
        return self.row_ptr.size - 1

    @classmethod
    def from_dense_mask(cls, mask: ArrayLike, query_block: int = 128, key_block: int = 64) -> TileLists:
        """The tiles that hold a True of a mask: bool [q_len, k_len] (one list for all heads), [heads, q_len, k_len] or
        [batch, heads, q_len, k_len]. A key that is False in a tile with a True is attended. Raises InvalidArgumentError.
        """
        array = np.asarray(mask)
        if array.ndim not in (2, 3, 4) or array.dtype != np.bool_ or 0 in array.shape:
            raise InvalidArgumentError(
                f"mask is {array.dtype}{list(array.shape)}, expected bool [(batch,) (heads,) q_len, k_len] with nothing empty")
        bq, bk = int32(query_block, "query_block"), int32(key_block, "key_block")
        for name, value in (("query_block", bq), ("key_block", bk)):
            if value < 1:
                raise InvalidArgumentError(f"{name} is {value}, expected at least 1")
        heads = array.shape[-3] if array.ndim > 2 else 1
        rows = np.logical_or.reduceat(array.reshape(-1, *array.shape[-2:]), np.arange(0, array.shape[-2], bq), axis=1)
        tiles = np.logical_or.reduceat(rows, np.arange(0, array.shape[-1], bk), axis=2).reshape(-1, -(-array.shape[-1] // bk))
        row_ptr = np.concatenate([[0], np.cumsum(tiles.sum(1))])
        return cls(row_ptr, np.nonzero(tiles)[1], heads, bq, bk)

    def to_mask(self, k_len: int) -> np.ndarray:
        """bool [n_rows, k_len]: the keys of each row's tiles."""
        k_len = integer(k_len, "k_len")
        n_tiles = -(-k_len // self.key_block)
        if k_len < 1 or self.index.size and not 0 <= self.index.min() <= self.index.max() < n_tiles:
            raise InvalidArgumentError(f"k_len is {k_len}, expected room for the tiles, of {self.key_block} keys each")
        tiles = np.zeros((self.n_rows, n_tiles), bool)
        tiles[np.repeat(np.arange(self.n_rows), np.diff(self.row_ptr)), self.index] = True
        return np.repeat(tiles, self.key_block, axis=1)[:, :k_len]

    def _c(self) -> _ffi.tamis_tiles:
        """The struct; valid while this object lives."""
        return _ffi.tamis_tiles(
            ctypes.sizeof(_ffi.tamis_tiles), self.heads, self.query_block, self.key_block, pointer(self.row_ptr, c_int64),
            pointer(self.index, c_int32), self.n_rows)


@dataclass
class SparseStats:
    """What calls did; :func:`sparse_prefill` adds to it."""

    #: Calls that walked lists, and calls that took the dense path.
    calls_sparse: int = 0
    calls_dense: int = 0
    #: Over query heads and query blocks, batch included; legal: with a key that some query of the block may see.
    tiles_listed: int = 0
    tiles_legal: int = 0
    #: (query, key) pairs, legal and listed.
    pairs_attended: int = 0
    pairs_legal: int = 0
    #: Nanoseconds of the selection and of the attention.
    select_ns: int = 0
    attend_ns: int = 0

    @property
    def density(self) -> float:
        """Tiles listed of tiles legal; 1 before any call."""
        return self.tiles_listed / self.tiles_legal if self.tiles_legal else 1.0

    def add(self, other: SparseStats) -> None:
        """Adds the sums of another."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @classmethod
    def _of(cls, stats: _ffi.tamis_sparse_stats) -> SparseStats:
        return cls(**{name: getattr(stats, name) for name in cls.__dataclass_fields__})


class SparseMask:
    """A selection of tiles, and what it was made from; of lists the caller made, or of a method.

    tiles: copied and checked; q_len, k_len, batch: of the tensors it is for. Raises InvalidArgumentError, OutOfMemoryError.
    """

    def __init__(self, tiles: TileLists, q_len: int, k_len: int, batch: int = 1) -> None:
        made = ctypes.POINTER(_ffi.tamis_sparse_mask)()
        library().tamis_sparse_mask_create(
            ctypes.byref(tiles._c()), integer(batch, "batch"), integer(q_len, "q_len"), integer(k_len, "k_len"),
            ctypes.byref(made))
        self._handle = _handle(made)

    @classmethod
    def _of(cls, pointer: Any) -> SparseMask:
        """Owner of a tamis_sparse_mask * that C made."""
        mask = cls.__new__(cls)
        mask._handle = _handle(pointer)
        return mask

    @property
    def tiles(self) -> TileLists:
        """The lists: read-only arrays over memory that they keep alive."""
        tiles = _ffi.tamis_tiles(ctypes.sizeof(_ffi.tamis_tiles))
        library().tamis_sparse_mask_tiles(self._handle.pointer, ctypes.byref(tiles))
        row_ptr = self._view(tiles.row_ptr, c_int64, tiles.n_rows + 1)
        return TileLists(
            row_ptr, self._view(tiles.index, c_int32, int(row_ptr[-1])), tiles.heads, tiles.query_block, tiles.key_block)

    @property
    def boundaries(self) -> np.ndarray | None:
        """int64, ascending from 0 to k_len: the chunk boundaries of a DHSA selection; None for other methods."""
        start, n = ctypes.POINTER(c_int64)(), c_int64()
        library().tamis_sparse_mask_boundaries(self._handle.pointer, ctypes.byref(start), ctypes.byref(n))
        return self._view(start, c_int64, n.value) if n.value else None

    def stats(
        self, q_heads: int, *, causal: bool = True, q_offset: int | None = None, window: int | None = None
    ) -> SparseStats:
        """Counts of the mask for that many query heads, a multiple of its own heads, under a rule of :func:`attention`."""
        options, _ = attention_options(None, causal=causal, q_offset=q_offset, window=window)
        stats = _ffi.tamis_sparse_stats(ctypes.sizeof(_ffi.tamis_sparse_stats))
        library().tamis_sparse_mask_stats(
            self._handle.pointer, ctypes.byref(options), int32(q_heads, "q_heads"), ctypes.byref(stats))
        return SparseStats._of(stats)

    def _view(self, start: Any, kind: Any, n: int) -> np.ndarray:
        if n == 0:
            return np.empty(0, kind)
        memory = (kind * n).from_address(ctypes.cast(start, ctypes.c_void_p).value)
        memory.owner = self._handle
        array = np.frombuffer(memory, kind)
        array.flags.writeable = False
        return array

    def close(self) -> None:
        """Frees the mask; arrays of `tiles` must not be used after it. Called by the garbage collector too."""
        self._handle.close()

    def __repr__(self) -> str:
        if not self._handle.alive:
            return "tamis.SparseMask(closed)"
        t = self.tiles
        return f"tamis.SparseMask({t.n_rows} rows, {t.index.size} tiles of {t.query_block} x {t.key_block}, {t.heads} heads)"


def _handle(made: Any) -> Handle:
    return Handle(made, "tamis_sparse_mask_destroy", "SparseMask")


def sparse_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, tiles: Union[TileLists, SparseMask, None], *, causal: bool = True,
    q_offset: int | None = None, window: int | None = None, scale: float | None = None, softcap: float | None = None,
    key0_bias: ArrayLike | None = None, pv_threshold: float = 0.0, return_lse: bool = False, out: ArrayLike | None = None,
    ctx: Context | None = None,
) -> Any:
    """Exact attention over lists of key tiles.

    ::

        o_i = sum_j p_ij v_j,   p_i = softmax over the legal keys j of the tiles listed for query i's block

    Cost is proportional to the tiles listed. A list of all tiles gives the bits of :func:`attention`.

    Parameters
    ----------
    q, k, v, causal, q_offset, window, scale, softcap, key0_bias, return_lse, out, ctx
        As :func:`attention`.
    tiles
        :class:`TileLists` or :class:`SparseMask` of 1, kv_heads or q_heads lists per batch element; None: dense.
    pv_threshold
        0: off. L > 0: the values of a run of keys may be skipped where every probability in it is below exp(-L) of the running
        maximum (SpargeAttn, arXiv 2502.18137, section 3.5); their probabilities stay in the sum.

    Returns
    -------
    out, or (out, lse)
        numpy arrays; torch tensors if q is one. A query with no legal listed key gives 0 and lse -inf.

    Raises InvalidArgumentError (a list that is not ascending, a tile out of range, counts that do not match the tensors),
    UnsupportedError (dtype or head_dim), OutOfMemoryError, DeviceError.
    """
    tq, tk, tv = read(q, "q"), read(k, "k"), read(v, "v")
    if tiles is not None and not isinstance(tiles, (TileLists, SparseMask)):
        raise InvalidArgumentError(f"tiles is {tiles!r}, expected TileLists, a SparseMask or None")
    lists = tiles.tiles if isinstance(tiles, SparseMask) else tiles
    options, bias = attention_options(
        tq, causal=causal, q_offset=q_offset, window=window, scale=scale, softcap=softcap, key0_bias=key0_bias)
    to, o = output(out, q, tq.shape, tq.dtype)
    tl = Tensor.empty(tq.shape[:-1]) if return_lse else None
    library().tamis_sparse_attention(
        pointer_of(ctx), ctypes.byref(options), None if lists is None else ctypes.byref(lists._c()),
        real(pv_threshold, "pv_threshold"), ctypes.byref(tq.c()), ctypes.byref(tk.c()), ctypes.byref(tv.c()),
        ctypes.byref(to.c()), None if tl is None else ctypes.byref(tl.c()))
    del bias  # lives as long as the call
    return o() if tl is None else (o(), result(tl, q))
