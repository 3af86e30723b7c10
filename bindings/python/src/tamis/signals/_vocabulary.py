"""Function tokens (arXiv 2510.08203) and Text2Token targets (arXiv 2510.10224)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int32, c_int64, c_uint8, c_uint64
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _ffi
from .._arguments import integer, real
from .._arrays import ArrayLike, Tensor, pointer, read
from .._lib import library
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from ..metrics._lists import TokenLists, pack, token_lists
from ._values import flags, ids, integers, optional_flags, values


def sequences(x: Any, argument: str, lengths: Any = None) -> TokenLists:
    """Lists of ids, or an array [n, width] with lengths."""
    found = token_lists(x, argument, lengths)
    if found is None:
        found = pack([[ids(s, f"{argument}[{i}]") for i, s in enumerate(x)]], [argument])[0]
    return found


class TokenCounts(NamedTuple):
    """counts: uint64 [vocabulary], occurrences; documents: int64 [vocabulary], sequences that hold the token."""

    counts: np.ndarray
    documents: np.ndarray


def token_counts(documents: Any, vocabulary: int, *, lengths: Any = None) -> TokenCounts:
    """Occurrences of each token and in how many documents it is. documents: lists of ids, or [n, width] with `lengths`.
    Raises InvalidArgumentError."""
    lists = sequences(documents, "documents", lengths)
    n = integer(vocabulary, "vocabulary")
    counts, holding = np.empty(max(n, 0), np.uint64), np.empty(max(n, 0), np.int64)
    library().tamis_token_counts(lists.ref(), n, pointer(counts, c_uint64), pointer(holding, c_int64))
    return TokenCounts(counts, holding)


def function_tokens(counts: ArrayLike, share: float = 0.4) -> np.ndarray:
    """bool [vocabulary]: the most frequent tokens that make up `share` of all occurrences, the one that crosses the line
    included (PROPOSED); ties go to the lower id. Raises InvalidArgumentError."""
    c = np.asarray(counts.detach().cpu() if hasattr(counts, "detach") else counts)
    if c.ndim != 1 or c.dtype.kind not in "iu" or (c.dtype.kind == "i" and c.size and c.min() < 0):
        raise InvalidArgumentError(f"counts is {c.dtype}{list(c.shape)}, expected integers [vocabulary] of at least 0")
    c = np.ascontiguousarray(c, np.uint64)
    out = np.empty(len(c), np.uint8)
    library().tamis_function_tokens(pointer(c, c_uint64), len(c), real(share, "share"), pointer(out, c_uint8), None)
    return out.astype(bool)


class FunctionLoss(NamedTuple):
    """By the types of the token before and of the token: f f, f c, c f, c c. sums and counts [4] add up over shards; means is
    NaN where nothing counts."""

    sums: np.ndarray
    counts: np.ndarray

    @property
    def means(self) -> np.ndarray:
        return np.divide(self.sums, self.counts, out=np.full(4, np.nan), where=self.counts > 0)


def function_nll(
    tokens: Any, nll: Any, function: ArrayLike, *, mask: Any = None, lengths: Any = None,
) -> FunctionLoss:
    """Losses of tokens by whether they, and the token before them, are function tokens.

    Parameters
    ----------
    tokens
        Lists of ids, or [n, width] with `lengths`. The first token of a sequence is not counted.
    nll
        Losses, laid out as `tokens`: lists or an array [n, width]. nll[t] is that of token t.
    function
        bool [vocabulary].
    mask
        Tokens that count, laid out as `tokens`.

    Raises InvalidArgumentError.
    """
    lists = sequences(tokens, "tokens", lengths)
    f = flags(function, "function", dims=(1,))

    def laid_out(x: Any, argument: str, convert: Any) -> np.ndarray:
        if lists.offsets is None:
            return convert(x, argument, lists.ids.shape)
        if len(x) != lists.count:
            raise InvalidArgumentError(f"{argument} has {len(x)} sequences, expected {lists.count}, as tokens")
        widths = np.diff(lists.offsets)
        parts = [convert(row, f"{argument}[{i}]", (int(widths[i]),)) for i, row in enumerate(x)]
        return np.concatenate(parts) if parts else np.empty(0)

    losses = laid_out(nll, "nll", values)
    m = None if mask is None else laid_out(mask, "mask", flags).astype(np.uint8)
    sums, counts = np.zeros(4), np.zeros(4, np.int64)
    library().tamis_function_nll(
        lists.ref(), pointer(f, c_uint8), len(f), pointer(losses, c_double), pointer(m, c_uint8), pointer(sums, c_double),
        pointer(counts, c_int64))
    return FunctionLoss(sums, counts)


# -------------------------------------------------------------------------------------------------- Text2Token


def inverse_document_frequency(documents: ArrayLike, n: int) -> np.ndarray:
    """``ln((1 + n) / (1 + documents)) + 1``, float64 [vocabulary] (PROPOSED), from :func:`token_counts` of n documents."""
    d = integers(documents, "documents", dims=(1,))
    out = np.empty(len(d))
    library().tamis_inverse_document_frequency(pointer(d, c_int64), len(d), integer(n, "n"), pointer(out, c_double))
    return out


@dataclass(frozen=True)
class Target:
    """A sparse distribution: tokens int32 ascending, q float64 that adds up to 1."""

    tokens: np.ndarray
    q: np.ndarray


def text_target(tokens: ArrayLike, idf: ArrayLike, excluded: ArrayLike | None = None) -> Target:
    """The data-driven target of a text: ``tf(v) idf(v)`` of its tokens, without those flagged in `excluded` (function tokens,
    specials), as a distribution (PROPOSED); empty when nothing is left. Raises InvalidArgumentError."""
    t, weights = ids(tokens, "tokens"), values(idf, "idf", dims=(1,))
    e = optional_flags(excluded, "excluded", weights.shape)
    found, q, count = np.empty(len(t), np.int32), np.empty(len(t)), c_int64()
    library().tamis_text_target(
        pointer(t, c_int32), len(t), pointer(weights, c_double), pointer(e, c_uint8), len(weights), pointer(found, c_int32),
        pointer(q, c_double), ctypes.byref(count))
    return Target(found[: count.value].copy(), q[: count.value].copy())


def _logits(x: ArrayLike, dims: int) -> Tensor:
    z = read(x, "logits")
    if z.ndim != dims:
        raise InvalidArgumentError(
            f"logits is {z.dtype}{list(z.shape)}, expected {'[vocabulary]' if dims == 1 else '[rows, vocabulary]'}")
    return z


def model_target(
    logits: ArrayLike, *, rows: ArrayLike | None = None, excluded: ArrayLike | None = None, k: int = 32,
    ctx: Context | None = None,
) -> Target:
    """The model-derived target: the k largest of softmax(mean of rows), without `excluded`, as a distribution (PROPOSED).

    logits: [rows, vocabulary] float32, float16 or bfloat16; rows: mask of the rows in use. Raises InvalidArgumentError.
    """
    z = _logits(logits, 2)
    r, e = optional_flags(rows, "rows", z.shape[:1]), optional_flags(excluded, "excluded", z.shape[1:])
    n = integer(k, "k")
    room = max(min(n, z.shape[1]), 0)
    found, q, count = np.empty(room, np.int32), np.empty(room), c_int64()
    library().tamis_model_target(
        pointer_of(ctx), ctypes.byref(z.c()), pointer(r, c_uint8), pointer(e, c_uint8), n, pointer(found, c_int32),
        pointer(q, c_double), ctypes.byref(count), None)
    return Target(found[: count.value].copy(), q[: count.value].copy())


class _Sparse:
    """The struct of targets, and the arrays it points into."""

    def __init__(self, targets: Sequence[Target], name: str) -> None:
        tokens = [ids(t.tokens, f"{name}[{i}].tokens") for i, t in enumerate(targets)]
        qs = [values(t.q, f"{name}[{i}].q", tokens[i].shape) for i, t in enumerate(targets)]
        self.tokens = np.concatenate(tokens) if tokens else np.empty(0, np.int32)
        self.q = np.concatenate(qs) if qs else np.empty(0)
        self.starts = np.concatenate([[0], np.cumsum([len(t) for t in tokens])]).astype(np.int64)
        self.c = _ffi.tamis_sparse_targets(
            pointer(self.tokens, c_int32), pointer(self.q, c_double), pointer(self.starts, c_int64), len(tokens))


def mix_targets(a: Target, b: Target, lam: float = 0.5) -> Target:
    """``(1 - lam) a + lam b``; an empty one leaves the other as it is. Raises InvalidArgumentError."""
    x, y = _Sparse([a], "a"), _Sparse([b], "b")
    room = len(x.tokens) + len(y.tokens)
    tokens, q, starts = np.empty(room, np.int32), np.empty(room), np.empty(2, np.int64)
    library().tamis_mix_targets(
        ctypes.byref(x.c), ctypes.byref(y.c), real(lam, "lam"), pointer(tokens, c_int32), pointer(q, c_double),
        pointer(starts, c_int64))
    return Target(tokens[: starts[1]].copy(), q[: starts[1]].copy())


def target_kl(logits: ArrayLike, targets: Sequence[Target], *, ctx: Context | None = None) -> np.ndarray:
    """``KL(q || softmax(z))`` of each row of logits [rows, vocabulary] and its target: float64 [rows]; an empty target gives 0.
    Raises InvalidArgumentError."""
    z, t = _logits(logits, 2), _Sparse(targets, "targets")
    out = np.empty(z.shape[0])
    library().tamis_target_kl(pointer_of(ctx), ctypes.byref(z.c()), ctypes.byref(t.c), pointer(out, c_double))
    return out


class Overlap(NamedTuple):
    """overlap: share of the k largest logits that are tokens of the text; mass: softmax of the text's different tokens."""

    overlap: np.ndarray
    mass: np.ndarray


def text_overlap(logits: ArrayLike, texts: Any, k: int = 10, *, ctx: Context | None = None) -> Overlap:
    """How much of each text the distribution of its embedding shows (PROPOSED): float64 [rows] each.

    logits: [rows, vocabulary]; texts: as many lists of ids. Raises InvalidArgumentError.
    """
    z, lists = _logits(logits, 2), sequences(texts, "texts")
    out = np.empty((2, z.shape[0]))
    library().tamis_text_overlap(
        pointer_of(ctx), ctypes.byref(z.c()), lists.ref(), integer(k, "k"), pointer(out[0], c_double),
        pointer(out[1], c_double))
    return Overlap(out[0], out[1])
