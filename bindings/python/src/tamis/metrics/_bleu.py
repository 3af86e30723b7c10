"""BLEU of token ids: counts, scores, rewards (include/tamis/bleu.h)."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_double, c_int32, c_int64
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _ffi
from .._arguments import choice, int32, real
from .._arrays import pointer
from .._lib import Handle, library
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from .._progress import NO_CALLBACK, Progress, ProgressCallback
from ._lists import Ragged, TokenLists, int32_ids, int64_vector, is_array, pack, token_lists

RULES = {
    "sacrebleu": _ffi.TAMIS_BLEU_SACREBLEU, "nltk": _ffi.TAMIS_BLEU_NLTK, "torchmetrics": _ffi.TAMIS_BLEU_TORCHMETRICS,
    "tensorbleu": _ffi.TAMIS_BLEU_TENSORBLEU,
}
SMOOTHINGS = {
    None: _ffi.TAMIS_BLEU_SMOOTH_DEFAULT, "none": _ffi.TAMIS_BLEU_SMOOTH_NONE, "exp": _ffi.TAMIS_BLEU_SMOOTH_EXP,
    "floor": _ffi.TAMIS_BLEU_SMOOTH_FLOOR, "add-k": _ffi.TAMIS_BLEU_SMOOTH_ADD_K,
    **{f"method{i}": _ffi.TAMIS_BLEU_METHOD0 + i for i in range(8)},
}
LENGTH_RULES = {"shortest": _ffi.TAMIS_LENGTH_SHORTEST, "first": _ffi.TAMIS_LENGTH_FIRST}


@dataclass
class Batch:
    """Hypotheses, references and how they belong together, ready for C."""

    hypotheses: TokenLists
    references: TokenLists
    reference_starts: np.ndarray | None
    candidates: int

    def arguments(self) -> tuple[Any, ...]:
        starts = None if self.reference_starts is None else pointer(self.reference_starts, c_int64)
        return self.hypotheses.ref(), self.references.ref(), starts, self.candidates


def batch(
    hypotheses: Any, references: Any, hypothesis_lengths: Any = None, reference_lengths: Any = None, candidates: int = 1,
) -> Batch:
    """Hypotheses: [B] sequences, an array [B, T], an array [B, K, T] of K candidates each, or a Ragged. References: [B] lists of
    sequences, an array [B, R, T], an array [B, T] of one reference each, or a Ragged of as many for each."""
    if is_array(hypotheses, 3):
        b, candidates, t = hypotheses.shape
        hypotheses = hypotheses.reshape(b * candidates, t)
    if is_array(references, 3):
        references = references.reshape(-1, references.shape[-1])
    h = token_lists(hypotheses, "hypotheses", hypothesis_lengths)
    r = token_lists(references, "references", reference_lengths)
    starts = None
    if r is None:
        groups, flat, bounds = references, [], [0]
        for i, group in enumerate(groups):
            if isinstance(group, (str, bytes)) or not isinstance(group, Sequence) and not is_array(group, 2):
                raise InvalidArgumentError(f"references[{i}] is {type(group).__name__}, expected a list of references")
            flat.extend(group)
            bounds.append(len(flat))
        starts = np.array(bounds, np.int64)
        references = flat
    if h is None and r is None:
        h, r = pack([hypotheses, references], ["hypotheses", "references"])
    elif h is None:
        h = pack([hypotheses], ["hypotheses"])[0]
    elif r is None:
        r = pack([references], ["references"])[0]
    assert h is not None and r is not None
    segments = h.count // candidates if candidates else 0
    if starts is not None and len(starts) - 1 != segments:
        raise InvalidArgumentError(f"references has {len(starts) - 1} entries for {segments} hypotheses, expected one each")
    return Batch(h, r, starts, candidates)


def bleu_options(
    rule: str, smoothing: str | None = None, *, max_n: int = 4, weights: Any = None, effective_order: bool = False,
    auto_reweigh: bool = False, exact: bool = True, value: float | None = None, alpha: float = 5, k: float = 5,
    pad_id: int | None = None,
) -> Any:
    """The options struct, shared by calls of the same arguments: not to be changed. `keep` holds what it points to."""
    if weights is not None:
        weights = tuple(map(tuple, weights if len(weights) and hasattr(weights[0], "__len__") else [weights]))
    return _bleu_options(
        rule, smoothing, max_n, weights, bool(effective_order), bool(auto_reweigh), bool(exact), value, alpha, k, pad_id)


@functools.lru_cache(64, typed=True)
def _bleu_options(
    rule: str, smoothing: str | None, max_n: int, weights: Any, effective_order: bool, auto_reweigh: bool, exact: bool,
    value: float | None, alpha: float, k: float, pad_id: int | None,
) -> Any:
    options = _ffi.tamis_bleu_options()
    library().tamis_bleu_options_init(ctypes.byref(options))
    options.rule = choice(rule, RULES, "rule")
    options.smoothing = choice(smoothing, SMOOTHINGS, "smoothing")
    options.effective_order, options.auto_reweigh, options.exact = effective_order, auto_reweigh, exact
    options.keep = None
    if weights is not None:
        max_n = max(map(len, weights), default=0)
        table = np.zeros((len(weights), max_n), np.float64)
        counts = np.array([len(w) for w in weights], np.int32)
        for row, one in zip(table, weights):
            row[: len(one)] = one
        options.weights, options.weight_counts = pointer(table, c_double), pointer(counts, c_int32)
        options.weight_lists = len(weights)
        options.keep = table, counts
    options.max_n = int32(max_n, "max_n")
    if value is not None:
        options.value = real(value, "value")
    options.alpha, options.k = real(alpha, "alpha"), real(k, "k")
    if pad_id is not None:
        options.has_pad, options.pad_id = 1, int32(pad_id, "pad_id")
    return options


def ngram_statistics(
    hypotheses: Any, references: Any, max_n: int = 4, *, hypothesis_lengths: Any = None, reference_lengths: Any = None,
    length_rule: str = "shortest", pad_id: int | None = None, progress: Progress = False, ctx: Context | None = None,
) -> np.ndarray:
    """The integers of every BLEU, int64 [n, 2 + 2 max_n]: length, reference length, clipped matches, n-gram totals.

    hypotheses: sequences of ids (or of anything hashable), an array [B, T] with `hypothesis_lengths`, an array [B, K, T] of K
    candidates for each reference set, or a `Ragged`. references: for each hypothesis a list of sequences, an array [B, R, T] or
    [B, T] with `reference_lengths`, or a `Ragged` of as many each. Rows add up to those of a corpus. Raises InvalidArgumentError.
    """
    found = batch(hypotheses, references, hypothesis_lengths, reference_lengths)
    return count(found, max_n, length_rule, pad_id, progress, ctx)


def count(
    found: Batch, max_n: int = 4, length_rule: str = "shortest", pad_id: int | None = None, progress: Progress = False,
    ctx: Context | None = None,
) -> np.ndarray:
    max_n = int32(max_n, "max_n")
    if not 1 <= max_n <= _ffi.TAMIS_BLEU_MAX_N:
        raise InvalidArgumentError(f"max_n is {max_n}, expected 1 to {_ffi.TAMIS_BLEU_MAX_N}")
    rows = np.empty((found.hypotheses.count, 2 + 2 * max_n), np.int64)
    with ProgressCallback(progress, "n-grams", bar=False) as callback:
        library().tamis_ngram_statistics(
            pointer_of(ctx), *found.arguments(), max_n, choice(length_rule, LENGTH_RULES, "length_rule"), pad_id is not None,
            0 if pad_id is None else int32(pad_id, "pad_id"), pointer(rows, c_int64), callback, None)
    return rows


class TokenBatch:
    """Hypotheses and references that stay where a context counts them: on its OpenCL device, or copied for the CPU.

    Arguments as `ngram_statistics`. `statistics` counts without copying the ids again; `bleu` scores. Raises
    InvalidArgumentError, DeviceError, OutOfMemoryError.
    """

    def __init__(
        self, hypotheses: Any, references: Any, *, hypothesis_lengths: Any = None, reference_lengths: Any = None,
        ctx: Context | None = None,
    ) -> None:
        found = batch(hypotheses, references, hypothesis_lengths, reference_lengths)
        handle = ctypes.POINTER(_ffi.tamis_token_batch)()
        library().tamis_token_batch_create(pointer_of(ctx), *found.arguments(), ctypes.byref(handle))
        self._handle = Handle(handle, "tamis_token_batch_destroy", "TokenBatch")
        self._count = found.hypotheses.count
        self._shape = tuple(hypotheses.shape[:2]) if is_array(hypotheses, 3) else (self._count,)

    def statistics(self, max_n: int = 4, *, length_rule: str = "shortest", pad_id: int | None = None) -> np.ndarray:
        """int64 [n, 2 + 2 max_n], as `ngram_statistics`."""
        max_n = int32(max_n, "max_n")
        if not 1 <= max_n <= _ffi.TAMIS_BLEU_MAX_N:
            raise InvalidArgumentError(f"max_n is {max_n}, expected 1 to {_ffi.TAMIS_BLEU_MAX_N}")
        rows = np.empty((self._count, 2 + 2 * max_n), np.int64)
        library().tamis_token_batch_statistics(
            self._handle.pointer, max_n, choice(length_rule, LENGTH_RULES, "length_rule"), pad_id is not None,
            0 if pad_id is None else int32(pad_id, "pad_id"), pointer(rows, c_int64))
        return rows

    def bleu(self, *, smoothing: str | None = None, max_n: int = 4, effective_order: bool = False) -> np.ndarray:
        """sacreBLEU's score of each hypothesis, float64 [n] or [B, K]."""
        options = bleu_options("sacrebleu", smoothing, max_n=max_n, effective_order=effective_order)
        scores = finish(options, self.statistics(max_n), sentences=True)[0]
        assert scores is not None
        return scores[:, 0].reshape(self._shape)

    def close(self) -> None:
        """Gives the memory back."""
        self._handle.close()


def finish(
    options: Any, statistics: np.ndarray, *, sentences: bool = False, corpus: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Scores [n, lists] of each row and [lists] of all of them together."""
    rows = np.ascontiguousarray(statistics, np.int64)
    if rows.ndim != 2 or rows.shape[1] < 4 or rows.shape[1] % 2:
        raise InvalidArgumentError(f"statistics is {rows.dtype}{list(rows.shape)}, expected [n, 2 + 2 orders]")
    lists = max(1, options.weight_lists)
    each = np.empty((len(rows), lists)) if sentences else None
    whole = np.empty(lists) if corpus else None
    library().tamis_bleu_finish(
        ctypes.byref(options), pointer(rows, c_int64), len(rows), rows.shape[1] // 2 - 1,
        pointer(each, c_double) if each is not None else None, pointer(whole, c_double) if whole is not None else None)
    return each, whole


def bleu(
    hypotheses: Any, references: Any, *, rule: str = "sacrebleu", smoothing: str | None = None, max_n: int = 4, weights: Any = None,
    effective_order: bool = False, exact: bool = True, value: float | None = None, hypothesis_lengths: Any = None,
    reference_lengths: Any = None, pad_id: int | None = None, corpus: bool = False, progress: Progress = False,
    ctx: Context | None = None,
) -> Any:
    """BLEU of token ids: float64 [n], [B, K] for hypotheses [B, K, T], or one float with `corpus`.

    rule: "sacrebleu" (0 to 100), "nltk", "torchmetrics" or "tensorbleu" (0 to 1). Inputs as `ngram_statistics`; with an array
    [B, K, T] the K candidates of a prompt share the work on its references: rewards in one call. smoothing: "none", "exp", "floor",
    "add-k", or "method0" to "method7" for NLTK; `value` is epsilon or k. Raises InvalidArgumentError.
    """
    found = batch(hypotheses, references, hypothesis_lengths, reference_lengths)
    options = bleu_options(
        rule, smoothing, max_n=max_n, weights=weights, effective_order=effective_order, exact=exact, value=value, pad_id=pad_id)
    lists = max(1, options.weight_lists)
    scores = None if corpus else np.empty((found.hypotheses.count, lists))
    whole = np.empty(lists) if corpus else None
    with ProgressCallback(progress, "bleu", bar=False) as callback:
        if callback is not NO_CALLBACK:
            shared, options = options, type(options).from_buffer_copy(options)
            options.progress, options.keep = callback, shared.keep
        library().tamis_bleu(
            pointer_of(ctx), ctypes.byref(options), *found.arguments(), None if scores is None else pointer(scores, c_double),
            None if whole is None else pointer(whole, c_double))
    if whole is not None:
        return float(whole[0]) if lists == 1 else whole
    assert scores is not None
    scores = scores[:, 0] if lists == 1 else scores
    if is_array(hypotheses, 3):
        return scores.reshape(*hypotheses.shape[:2], *scores.shape[1:])
    return scores


def tensor_sentence_bleu(
    candidates: Any, references: Any, pad_token_id: int = 0, max_n: int = 4, weights: Any = None, smoothing_method: str = "exp",
    smoothing_epsilon: float = 0.1, smoothing_k: float = 1, *, compat: bool = False, candidate_lengths: Any = None,
    reference_lengths: Any = None, ctx: Context | None = None,
) -> np.ndarray:
    """BLEU of a padded batch with TensorBLEU's arguments (arXiv 2510.05485): candidates [B, T], references [B, R, T], scores [B] in
    0 to 1.

    By default the meaning without the quirks: sacreBLEU's smoothing with effective order in float64. `compat` repeats the published
    code in float32, as float32 [B]. Lengths, where given, take the place of the pad id. Raises InvalidArgumentError.
    """
    return _tensor_bleu(
        candidates, references, pad_token_id, max_n, weights, smoothing_method, smoothing_epsilon, smoothing_k, compat,
        candidate_lengths, reference_lengths, False, ctx)


def tensor_corpus_bleu(
    candidates: Any, references: Any, pad_token_id: int = 0, max_n: int = 4, weights: Any = None, smoothing_method: str = "exp",
    smoothing_epsilon: float = 0.1, smoothing_k: float = 1, *, compat: bool = False, candidate_lengths: Any = None,
    reference_lengths: Any = None, ctx: Context | None = None,
) -> float:
    """The corpus form of `tensor_sentence_bleu`: one float."""
    return float(_tensor_bleu(
        candidates, references, pad_token_id, max_n, weights, smoothing_method, smoothing_epsilon, smoothing_k, compat,
        candidate_lengths, reference_lengths, True, ctx))


def _tensor_bleu(
    candidates: Any, references: Any, pad: int, max_n: int, weights: Any, method: str, epsilon: float, k: float, compat: bool,
    candidate_lengths: Any, reference_lengths: Any, corpus: bool, ctx: Context | None,
) -> Any:
    if not is_array(candidates, 2) or not is_array(references, 3) or candidates.shape[0] != references.shape[0]:
        raise InvalidArgumentError("candidates and references are no arrays, expected [B, T] and [B, R, T]")
    choice(method, {m: 0 for m in ("none", "exp", "floor", "add-k")}, "smoothing_method")
    value = {"floor": epsilon, "add-k": k}.get(method)
    if weights is not None:
        weights = [float(w) for w in weights]
    scores = bleu(
        candidates, references, rule="tensorbleu" if compat else "sacrebleu", smoothing=method, max_n=max_n, weights=weights,
        effective_order=not compat, value=value, hypothesis_lengths=candidate_lengths, reference_lengths=reference_lengths,
        pad_id=pad if candidate_lengths is None and reference_lengths is None else None, corpus=corpus, ctx=ctx)
    if not compat:
        return scores / 100
    return scores if corpus else scores.astype(np.float32)


__all__ = [
    "Ragged", "TokenBatch", "bleu", "ngram_statistics", "tensor_corpus_bleu", "tensor_sentence_bleu", "int32_ids", "int64_vector",
]
