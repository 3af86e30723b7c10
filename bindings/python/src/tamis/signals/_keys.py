"""Spurious correlation of LM-head keys (KeyNavi, ICN, arXiv 2410.02284)."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_uint8
from dataclasses import dataclass

import numpy as np

from .. import _ffi
from .._arguments import integer
from .._arrays import ArrayLike, pointer, read
from .._lib import library
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from ._values import flags, ids, optional_flags
from ._vocabulary import _logits


@dataclass(frozen=True)
class KeyReport:
    """Of the ranks behind the main ones, those inside the main clusters and those outside: how many, mean ranks, accuracies;
    share inside; `precision` is the mean over ranks of the accuracy up to there; `entropy` of the clusters, in nats;
    `correlation`, Spearman's rho of the cosine to the best token's key and the rank (negative: near keys rank high). NaN:
    nothing to take a mean of. `ranked`: the tokens by falling logit, int32 [top]."""

    inside: int
    outside: int
    share: float
    inside_rank: float
    outside_rank: float
    inside_accuracy: float
    outside_accuracy: float
    precision: float
    entropy: float
    correlation: float
    ranked: np.ndarray


def key_diagnostic(
    logits: ArrayLike, clusters: ArrayLike, *, keys: ArrayLike | None = None, correct: ArrayLike | None = None, main: int = 10,
    top: int = 100, ctx: Context | None = None,
) -> KeyReport:
    """Do the tokens behind the best ones rank high for their keys' sake?

    Parameters
    ----------
    logits
        [vocabulary] of one place.
    clusters
        [vocabulary] the cluster of each LM-head row: ``tamis.cluster(lm_head, k=1024).labels``.
    keys
        The LM head [vocabulary, d], for `correlation`.
    correct
        bool [vocabulary], for accuracies and `precision`.
    main, top
        Ranks whose clusters are the main ones, and ranks looked at.

    Raises InvalidArgumentError.
    """
    z, c = _logits(logits, 1), ids(clusters, "clusters")
    if len(c) != z.shape[0]:
        raise InvalidArgumentError(f"clusters has {len(c)} numbers, expected {z.shape[0]}, as logits")
    right = optional_flags(correct, "correct", z.shape)
    k = None if keys is None else read(keys, "keys")
    options = _ffi.tamis_key_options()
    library().tamis_key_options_init(ctypes.byref(options))
    options.main, options.top = integer(main, "main"), integer(top, "top")
    ranked = np.empty(min(max(options.top, 0), z.shape[0]), np.int32)
    report = _ffi.tamis_key_report(ctypes.sizeof(_ffi.tamis_key_report))
    struct = None if k is None else k.c()
    library().tamis_key_diagnostic(
        pointer_of(ctx), ctypes.byref(options), ctypes.byref(z.c()), pointer(c, c_int32),
        None if struct is None else ctypes.byref(struct), pointer(right, c_uint8), pointer(ranked, c_int32),
        ctypes.byref(report))
    return KeyReport(
        report.inside, report.outside, report.share, report.inside_rank, report.outside_rank, report.inside_accuracy,
        report.outside_accuracy, report.precision, report.entropy, report.correlation, ranked)


def key_topm_neighbors(
    keys: ArrayLike, tokens: ArrayLike | None = None, m: int = 10, *, ctx: Context | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The m keys nearest to those of `tokens` by cosine, themselves left out: int32 and float32 [n, m], nearest first.

    keys: LM head [vocabulary, d]; tokens: [n], None: all of the vocabulary. Raises InvalidArgumentError.
    """
    w = read(keys, "keys")
    if w.ndim != 2:
        raise InvalidArgumentError(f"keys is {w.dtype}{list(w.shape)}, expected [vocabulary, d]")
    t = np.arange(w.shape[0], dtype=np.int32) if tokens is None else ids(tokens, "tokens")
    n = integer(m, "m")
    shape = (len(t), min(max(n, 0), w.shape[0]))
    near, cosines = np.empty(shape, np.int32), np.empty(shape, np.float32)
    library().tamis_key_neighbors(
        pointer_of(ctx), ctypes.byref(w.c()), pointer(t, c_int32), len(t), n, pointer(near, c_int32), pointer(cosines, c_float))
    return near, cosines


def decorrelated_rank(ranked: ArrayLike, clusters: ArrayLike) -> np.ndarray:
    """`ranked` (ids, best first) with the best of each cluster before the second of any (PROPOSED): int32 [n].
    Raises InvalidArgumentError."""
    r, c = ids(ranked, "ranked"), ids(clusters, "clusters")
    out = np.empty(len(r), np.int32)
    library().tamis_decorrelated_rank(pointer(r, c_int32), len(r), pointer(c, c_int32), len(c), pointer(out, c_int32))
    return out


def icn_first_token(logits: ArrayLike, used: ArrayLike) -> int:
    """ICN's next first token: the one with the highest logit that is not used; ties go to the lower id.

    logits: [vocabulary] after the initial prompt and the list of answers so far; used: bool [vocabulary], or the ids used
    before. Raises InvalidArgumentError, NotFoundError (every token is used).
    """
    z = _logits(logits, 1)
    mask = np.asarray(used.detach().cpu() if hasattr(used, "detach") else used)
    if mask.dtype.kind != "b":
        before = ids(np.array(list(used), np.int64) if not hasattr(used, "shape") else used, "used")
        if len(before) and (before.min() < 0 or before.max() >= z.shape[0]):
            raise InvalidArgumentError(f"used reaches from {before.min()} to {before.max()}, expected 0 to {z.shape[0] - 1}")
        mask = np.zeros(z.shape[0], bool)
        mask[before] = True
    m = flags(mask, "used", z.shape)
    token = c_int32()
    library().tamis_unused_token(ctypes.byref(z.c()), pointer(m, c_uint8), ctypes.byref(token))
    return token.value
