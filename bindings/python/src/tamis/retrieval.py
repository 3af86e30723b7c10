"""Which cached tokens does a query need, and attention over them.

Every method is one sentence: score tokens, spend a budget, use the selection. For a cached sequence of N tokens the selection
is ``[0, n_sink) ++ selected ++ [N - n_recent, N)``; a method is a rule for ``selected``. While ``n_sink + top_k + n_recent >= N``
it is dense attention with natural positions, bit for bit.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as Floats
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from . import _ffi
from ._arguments import choice, int32, integer, number
from ._arrays import ArrayLike, Tensor, floats, pointer, read, result
from ._lib import Handle, library
from .attention import output
from .errors import InvalidArgumentError
from .kv import KVCache, Sequence

_VOTES = {"soft": _ffi.TAMIS_VOTE_SOFT, "topk": _ffi.TAMIS_VOTE_TOPK, "heads": _ffi.TAMIS_VOTE_HEADS}
_HEAD_MAPS = {"group": _ffi.TAMIS_HEADS_GROUP, "modulo": _ffi.TAMIS_HEADS_MODULO}
_POSITIONS = {"compact": _ffi.TAMIS_POSITIONS_COMPACT, "natural": _ffi.TAMIS_POSITIONS_NATURAL}


@dataclass(frozen=True)
class DenseAttention:
    """All tokens.

    window: sliding window of that many keys; None: none. scale: None is 1 / sqrt(head_dim). softcap: None is none.
    key0_bias: [q_heads], added to the logit of token 0.
    """

    window: int | None = None
    scale: float | None = None
    softcap: float | None = None
    key0_bias: Floats[float] | None = None


@dataclass(frozen=True)
class StreamingLLM:
    """Sinks and the recent window only (StreamingLLM, arXiv 2309.17453; the paper uses 4 sinks).

    chunk: a longer run of queries is cut into chunks of this many; n_recent is at least chunk.
    positions: "compact": the attended list is renumbered 0, 1, 2, ..; "natural": tokens stand where they stood in the text.
    """

    n_sink: int = 128
    n_recent: int = 512
    chunk: int = 512
    positions: str = "compact"
    scale: float | None = None
    softcap: float | None = None
    key0_bias: Floats[float] | None = None


@dataclass(frozen=True)
class TokenSelect:
    """The top-k tokens by the soft vote of all heads (TokenSelect, arXiv 2411.02886), one selection per layer.

    top_k, n_sink, n_recent
        The budget, in tokens.
    chunk
        A longer run of queries is cut into chunks of this many; each shares one selection. n_recent is at least chunk.
    similarity
        Decode only: while the cosine between this query and the one that made the cached selection is at least this, the
        selection is reused (Algorithm 1). None, or above 1: off.
    vote
        "soft": sum over heads of the softmax over tokens (eq. 7, 8); ablations: "topk", the sum of raw dot products;
        "heads", the number of heads whose own top-k holds the token.
    head_map
        "group": query head h scores KV head h // (q_heads // kv_heads), as attention does; "modulo": h % kv_heads, as the
        official kernel does.
    pool
        Odd: max-pool of the votes over that many neighbouring tokens; 0: off.
    positions
        "compact": the attended list is renumbered 0, 1, 2, .., so a model never sees a position beyond the budget; "natural".
    scale, softcap, key0_bias
        Of attention, as in :class:`DenseAttention`; scoring has no scale.
    """

    top_k: int = 2048
    n_sink: int = 128
    n_recent: int = 512
    chunk: int = 512
    similarity: float | None = 0.9
    vote: str = "soft"
    head_map: str = "group"
    pool: int = 0
    positions: str = "compact"
    scale: float | None = None
    softcap: float | None = None
    key0_bias: Floats[float] | None = None


Method = Union[DenseAttention, StreamingLLM, TokenSelect]


@dataclass(frozen=True)
class Stats:
    """What the calls of a selector did since its creation or :meth:`Selector.reset_stats`."""

    #: Query tokens served.
    queries: int
    #: Sum over query tokens of the keys in their list.
    tokens_attended: int
    #: Keys scored, once per chunk.
    tokens_scored: int
    #: Bytes of keys and values read, scoring included, each row once per chunk.
    kv_bytes_read: int
    #: Chunks that took the dense path.
    chunks_dense: int
    #: Chunks that scored and selected.
    selections: int
    #: Decode steps that reused a cached selection.
    cache_hits: int


class Selector:
    """A method with its budget, bound to a cache; it holds the selection cache of every (sequence, layer) it has served.

    q_heads: None is the cache's kv_heads; else a multiple of it.
    Raises InvalidArgumentError (a budget below 0, n_recent < chunk, even pool, mismatched heads), OutOfMemoryError.
    """

    def __init__(self, cache: KVCache, method: Method | None = None, *, q_heads: int | None = None) -> None:
        self.cache = cache
        self.method: Method = TokenSelect() if method is None else method
        lib = library()
        options = _ffi.tamis_selector_options()
        lib.tamis_selector_options_init(ctypes.byref(options))
        heads = cache.options.kv_heads if q_heads is None else int32(q_heads, "q_heads")
        options.q_heads = heads
        bias = _fill(options, self.method, heads)
        pointer_ = ctypes.POINTER(_ffi.tamis_selector)()
        lib.tamis_selector_create(cache._handle.pointer, ctypes.byref(options), ctypes.byref(pointer_))
        del bias  # copied by C
        self._handle = Handle(pointer_, "tamis_selector_destroy", "Selector", keep=cache._handle.keep)
        self.q_heads = heads
        self.reset_stats()

    def attend(
        self, sequence: Sequence, q: ArrayLike, layer: int = 0, *, out: ArrayLike | None = None, return_lse: bool = False
    ) -> Any:
        """Attention of the last c tokens of a sequence over the tokens the method selects for them. Append their keys and
        values first: query i stands at token N - c + i. Long runs are cut into chunks.

        Parameters
        ----------
        q
            [q_heads, c, head_dim], float32, float16 or bfloat16; un-rotated when the cache has a rope.
        out
            Array of q's shape to write into; None: a new one of q's dtype.
        return_lse
            Also return the log-sum-exp, float32 [q_heads, c].

        Returns out or (out, lse): numpy arrays; torch tensors if q is one.
        Raises InvalidArgumentError, NotFoundError, OutOfMemoryError, DeviceError.
        """
        return self._attend(sequence, q, layer, None, out, return_lse)

    def attend_tokens(
        self, sequence: Sequence, q: ArrayLike, tokens: ArrayLike, layer: int = 0, *, out: ArrayLike | None = None,
        return_lse: bool = False,
    ) -> Any:
        """Attention of the last c tokens over a list of tokens that the caller chose: integers, ascending, unique, ending
        with the c query tokens themselves unless positions are natural. Query i sees the listed tokens up to its own. The
        selector supplies scale, soft cap, bias and positions. Otherwise as :meth:`attend`."""
        return self._attend(sequence, q, layer, token_list(tokens), out, return_lse)

    def _attend(
        self, sequence: Sequence, q: ArrayLike, layer: int, tokens: np.ndarray | None, out: ArrayLike | None, return_lse: bool
    ) -> Any:
        name = self.cache._name_of(sequence)
        tq = read(q, "q")
        to, o = output(out, q, tq.shape, tq.dtype)
        tl = Tensor.empty(tq.shape[:-1]) if return_lse else None
        where = (self._handle.pointer, name, int32(layer, "layer"), ctypes.byref(tq.c()))
        outputs = (ctypes.byref(to.c()), None if tl is None else ctypes.byref(tl.c()), ctypes.byref(self._stats))
        if tokens is None:
            library().tamis_attend(*where, *outputs)
        else:
            library().tamis_attend_tokens(*where, pointer(tokens, ctypes.c_int32), tokens.size, *outputs)
        return o() if tl is None else (o(), result(tl, q))

    def retrieve(self, sequence: Sequence, q: ArrayLike, layer: int = 0, *, return_votes: bool = False) -> Any:
        """The selection alone: the tokens :meth:`attend` would select for these c <= chunk queries, ascending int32 [n]; all
        of them when the method would be dense. Scored afresh: the selection cache is neither read nor written.

        return_votes: also the score of each candidate token, float32 [N], NaN elsewhere.
        """
        name = self.cache._name_of(sequence)
        layer = int32(layer, "layer")
        tq = read(q, "q")
        capacity = sequence.length(layer)
        indices = np.empty(capacity, np.int32)
        votes = np.full(capacity, np.nan, np.float32) if return_votes else None
        n = ctypes.c_int64()
        library().tamis_retrieve(
            self._handle.pointer, name, layer, ctypes.byref(tq.c()), pointer(indices, ctypes.c_int32), capacity,
            ctypes.byref(n), pointer(votes, ctypes.c_float))
        selection = indices[: n.value].copy()
        return selection if votes is None else (selection, votes)

    def reset(self, sequence: Sequence | None = None) -> None:
        """Forgets the cached selections of one sequence; None: of all."""
        library().tamis_selector_reset(self._handle.pointer, -1 if sequence is None else self.cache._name_of(sequence))

    @property
    def stats(self) -> Stats:
        """Sums over the calls so far."""
        return Stats(**{name: getattr(self._stats, name) for name in Stats.__dataclass_fields__})

    def reset_stats(self) -> None:
        """Starts the sums again from 0."""
        self._stats = _ffi.tamis_retrieval_stats(struct_size=ctypes.sizeof(_ffi.tamis_retrieval_stats))

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> Selector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def token_list(tokens: Any) -> np.ndarray:
    """Token indices as contiguous int32."""
    array = np.asarray(tokens)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidArgumentError(f"tokens is {array.dtype}{list(array.shape)}, expected integers [n]")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= 2**31):
        raise InvalidArgumentError(f"tokens holds {int(array.min())} .. {int(array.max())}, expected 0 to 2**31 - 1")
    return np.ascontiguousarray(array, np.int32)


def _fill(options: _ffi.tamis_selector_options, method: Method, q_heads: int) -> np.ndarray | None:
    """Writes a method into the C options; returns what must live until they are read."""
    if not isinstance(method, (DenseAttention, StreamingLLM, TokenSelect)):
        raise InvalidArgumentError(f"method is {method!r}, expected a DenseAttention, StreamingLLM or TokenSelect")
    options.scale, options.softcap = number(method.scale, "scale"), number(method.softcap, "softcap")
    if isinstance(method, DenseAttention):
        options.method = _ffi.TAMIS_SELECT_DENSE
        options.window = 0 if method.window is None else integer(method.window, "window")
    else:
        options.n_sink = int32(method.n_sink, "n_sink")
        options.n_recent = int32(method.n_recent, "n_recent")
        options.chunk = int32(method.chunk, "chunk")
        options.positions = choice(method.positions, _POSITIONS, "positions")
    if isinstance(method, StreamingLLM):
        options.method = _ffi.TAMIS_SELECT_STREAMING
    elif isinstance(method, TokenSelect):
        options.method = _ffi.TAMIS_SELECT_TOKENSELECT
        options.top_k = int32(method.top_k, "top_k")
        options.similarity = 2.0 if method.similarity is None else number(method.similarity, "similarity")
        options.vote = choice(method.vote, _VOTES, "vote")
        options.head_map = choice(method.head_map, _HEAD_MAPS, "head_map")
        options.pool = int32(method.pool, "pool")
    if method.key0_bias is None:
        return None
    bias = floats(method.key0_bias, "key0_bias", q_heads)
    options.key0_bias = pointer(bias, ctypes.c_float)
    return bias
