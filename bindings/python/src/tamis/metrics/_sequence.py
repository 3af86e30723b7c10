"""Scores of token sequences other than BLEU (include/tamis/sequence_metrics.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int32, c_int64, c_uint8
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _ffi
from .._arguments import choice, int32, integer, real
from .._arrays import pointer
from .._lib import library
from .._progress import NO_CALLBACK, Progress, ProgressCallback
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from ._bleu import Batch, batch
from ._lists import TokenLists, pack, token_lists
from ._words import WordIDs, check_texts

EDITS = {
    "levenshtein": _ffi.TAMIS_EDIT_LEVENSHTEIN, "indel": _ffi.TAMIS_EDIT_INDEL, "osa": _ffi.TAMIS_EDIT_OSA,
}


def _pairs(a: Any, b: Any, names: tuple[str, str]) -> tuple[TokenLists, TokenLists]:
    """Lists of token sequences, or lists of texts already cut by the caller, one with one."""
    x, y = token_lists(a, names[0]), token_lists(b, names[1])
    if x is None and y is None:
        x, y = pack([a, b], names)
    elif x is None:
        x = pack([a], names[:1])[0]
    elif y is None:
        y = pack([b], names[1:])[0]
    assert x is not None and y is not None
    if x.count != y.count:
        raise InvalidArgumentError(f"{names[0]} has {x.count} sequences and {names[1]} {y.count}, expected as many of both")
    return x, y


# ----------------------------------------------------------------------------------------------- edit distance


def edit_distance(
    references: Any, hypotheses: Any, kind: str = "levenshtein", *, progress: Progress = False, ctx: Context | None = None,
) -> np.ndarray:
    """Distances of sequences of tokens, int64 [n]. kind: "levenshtein", "indel" or "osa" (with swaps of neighbours)."""
    r, h = _pairs(references, hypotheses, ("references", "hypotheses"))
    out = np.empty(r.count, np.int64)
    with ProgressCallback(progress, "edit distance", bar=False) as callback:
        library().tamis_edit_distance(
            pointer_of(ctx), choice(kind, EDITS, "kind"), r.ref(), h.ref(), pointer(out, c_int64), None, callback, None)
    return out


def alignment(reference: Any, hypothesis: Any) -> np.ndarray:
    """The steps from a reference to a hypothesis, uint8: 0 match, 1 substitute, 2 delete, 3 insert; the alignment of rapidfuzz."""
    r, h = _pairs([reference], [hypothesis], ("reference", "hypothesis"))
    steps = np.empty(len(r.ids) + len(h.ids), np.uint8)
    count = c_int64()
    library().tamis_edit_alignment(
        pointer(r.ids, c_int32), len(r.ids), pointer(h.ids, c_int32), len(h.ids), pointer(steps, c_uint8), len(steps),
        ctypes.byref(count))
    return steps[: count.value]


@dataclass(frozen=True)
class ErrorRates:
    """Counts and rates of word or character errors, pooled over all pairs. `per_pair` int64 [n, 4]: hits, substitutions, deletions,
    insertions."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int
    per_pair: np.ndarray

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        total = self.hits + self.substitutions + self.deletions
        return self.errors / total if total else float(self.insertions)

    @property
    def mer(self) -> float:
        total = self.hits + self.errors
        return self.errors / total if total else 0.0

    @property
    def wip(self) -> float:
        reference = self.hits + self.substitutions + self.deletions
        hypothesis = self.hits + self.substitutions + self.insertions
        if not reference:
            return 0.0 if hypothesis else 1.0
        return self.hits / reference * (self.hits / hypothesis) if hypothesis else 0.0

    @property
    def wil(self) -> float:
        return 1 - self.wip


def error_rates(references: Any, hypotheses: Any, *, ctx: Context | None = None) -> ErrorRates:
    """Errors of sequences of tokens, one with one."""
    r, h = _pairs(references, hypotheses, ("references", "hypotheses"))
    distances, counts = np.empty(r.count, np.int64), np.empty((r.count, 4), np.int64)
    library().tamis_edit_distance(
        pointer_of(ctx), 0, r.ref(), h.ref(), pointer(distances, c_int64), pointer(counts, c_int64), NO_CALLBACK, None)
    return ErrorRates(*map(int, counts.sum(axis=0)), per_pair=counts)


def _rates(reference: Any, hypothesis: Any, tokenizer: str, ctx: Context | None) -> ErrorRates:
    r = [reference] if isinstance(reference, (str, bytes)) else list(reference)
    h = [hypothesis] if isinstance(hypothesis, (str, bytes)) else list(hypothesis)
    words = WordIDs(r + h, tokenizer, ctx=ctx)
    return error_rates(words.lists(0, len(r)), words.lists(len(r)), ctx=ctx)


def process_words(reference: Any, hypothesis: Any, *, ctx: Context | None = None) -> ErrorRates:
    """Word errors of a text or a list of texts (jiwer's argument order): words are runs without white space."""
    return _rates(reference, hypothesis, "none", ctx)


def process_characters(reference: Any, hypothesis: Any, *, ctx: Context | None = None) -> ErrorRates:
    """Character errors. White space at the ends does not count, as in jiwer."""
    strip = lambda texts: [t.strip() for t in ([texts] if isinstance(texts, (str, bytes)) else texts)]  # noqa: E731
    return _rates(strip(reference), strip(hypothesis), "code-points", ctx)


def wer(reference: Any, hypothesis: Any) -> float:
    """Word error rate: (S + D + I) / reference words."""
    return process_words(reference, hypothesis).wer


def mer(reference: Any, hypothesis: Any) -> float:
    """Match error rate."""
    return process_words(reference, hypothesis).mer


def wip(reference: Any, hypothesis: Any) -> float:
    """Word information preserved."""
    return process_words(reference, hypothesis).wip


def wil(reference: Any, hypothesis: Any) -> float:
    """Word information lost."""
    return process_words(reference, hypothesis).wil


def cer(reference: Any, hypothesis: Any) -> float:
    """Character error rate."""
    return process_characters(reference, hypothesis).wer


# ------------------------------------------------------------------------------------------------------- ROUGE


class Score(NamedTuple):
    """As rouge_score.scoring.Score."""

    precision: float
    recall: float
    fmeasure: float


def rouge_ids(
    targets: Any, predictions: Any, n: int | str = 1, *, progress: Progress = False, ctx: Context | None = None,
) -> np.ndarray:
    """ROUGE-n (n from 1) or ROUGE-L (n = "l") of sequences of ids: float64 [n, 3], precision, recall, F1."""
    t, p = _pairs(targets, predictions, ("targets", "predictions"))
    out = np.empty((t.count, 3))
    with ProgressCallback(progress, "rouge", bar=False) as callback:
        library().tamis_rouge(
            pointer_of(ctx), 0 if n in ("l", "L") else max(1, int32(n, "n")), p.ref(), t.ref(), pointer(out, c_double), callback,
            None)
    return out


def rouge_lsum_ids(
    targets: Sequence[Sequence[Any]], predictions: Sequence[Sequence[Any]], *, ctx: Context | None = None,
) -> np.ndarray:
    """ROUGE-Lsum of texts that are lists of sentences of ids: float64 [n, 3]."""
    flat = [[s for text in texts for s in text] for texts in (targets, predictions)]
    t, p = pack(flat, ("targets", "predictions"))
    return _lsum(t, _bounds(targets), p, _bounds(predictions), ctx)


def _bounds(texts: Sequence[Sequence[Any]]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)


def _lsum(t: TokenLists, t_starts: np.ndarray, p: TokenLists, p_starts: np.ndarray, ctx: Context | None) -> np.ndarray:
    if len(t_starts) != len(p_starts):
        raise InvalidArgumentError(f"targets has {len(t_starts) - 1} texts and predictions {len(p_starts) - 1}, expected as many")
    out = np.empty((len(t_starts) - 1, 3))
    library().tamis_rouge_lsum(
        pointer_of(ctx), p.ref(), pointer(p_starts, c_int64), t.ref(), pointer(t_starts, c_int64), len(out), pointer(out, c_double),
        NO_CALLBACK, None)
    return out


class RougeScorer:
    """rouge-score's RougeScorer: types "rouge1" to "rouge9", "rougeL", "rougeLsum"; `score` of one pair, `score_batch` of many."""

    def __init__(self, rouge_types: Sequence[str], use_stemmer: bool = False, *, ctx: Context | None = None) -> None:
        self.rouge_types, self._ctx = list(rouge_types), ctx
        self._tokenizer = "rouge-stem" if use_stemmer else "rouge"
        for kind in self.rouge_types:
            if kind not in ("rougeL", "rougeLsum") and not (kind[:5] == "rouge" and kind[5:].isdigit() and 1 <= int(kind[5:]) <= 9):
                raise InvalidArgumentError(f"rouge_types has {kind!r}, expected rouge1 to rouge9, rougeL or rougeLsum")

    def score(self, target: str, prediction: str) -> dict[str, Score]:
        return {kind: Score(*rows[0].tolist()) for kind, rows in self.score_batch([target], [prediction]).items()}

    def score_multi(self, targets: Sequence[str], prediction: str) -> dict[str, Score]:
        """The target with the largest F1 for each type, the first of equals."""
        rows = self.score_batch(targets, [prediction] * len(targets))
        return {kind: Score(*found[int(np.argmax(found[:, 2]))].tolist()) for kind, found in rows.items()}

    def score_batch(self, targets: Sequence[str], predictions: Sequence[str]) -> dict[str, np.ndarray]:
        """float64 [n, 3] per type: precision, recall, F1."""
        check_texts(targets, "targets"), check_texts(predictions, "predictions")
        n = len(targets)
        if n != len(predictions):
            raise InvalidArgumentError(f"targets has {n} texts and predictions {len(predictions)}, expected as many of both")
        found: dict[str, np.ndarray] = {}
        whole = None
        for kind in self.rouge_types:
            if kind == "rougeLsum":
                found[kind] = self._summary(targets, predictions)
                continue
            if whole is None:
                whole = WordIDs([*targets, *predictions], self._tokenizer, ctx=self._ctx)
            found[kind] = rouge_ids(
                whole.lists(0, n), whole.lists(n), "l" if kind == "rougeL" else int(kind[5:]), ctx=self._ctx)
        return found

    def _summary(self, targets: Sequence[str], predictions: Sequence[str]) -> np.ndarray:
        split = [[[s for s in text.split("\n") if s] for text in texts] for texts in (targets, predictions)]
        bounds = [_bounds(texts) for texts in split]
        words = WordIDs([s for texts in split for text in texts for s in text], self._tokenizer, ctx=self._ctx)
        return _lsum(words.lists(0, int(bounds[0][-1])), bounds[0], words.lists(int(bounds[0][-1])), bounds[1], self._ctx)


# ------------------------------------------------------------------------------------------- METEOR, EM and F1


def meteor_ids(
    references: Any, hypotheses: Any, alpha: float = 0.9, beta: float = 3.0, gamma: float = 0.5, *, ctx: Context | None = None,
) -> np.ndarray:
    """METEOR's stage of equal tokens, float64 [n]: nltk's without stems and synonyms. references: a list of sequences for each."""
    found = batch(hypotheses, references)
    out = np.empty(found.hypotheses.count)
    h, r, starts, _ = found.arguments()
    library().tamis_meteor(
        pointer_of(ctx), h, r, starts, real(alpha, "alpha"), real(beta, "beta"), real(gamma, "gamma"), pointer(out, c_double))
    return out


def token_f1(references: Any, hypotheses: Any, *, ctx: Context | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of the bags of tokens, float64 [n] each, the best over the references of each."""
    return _f1(batch(hypotheses, references), ctx)


def _f1(found: Batch, ctx: Context | None) -> tuple[np.ndarray, np.ndarray]:
    exact, f1 = np.empty(found.hypotheses.count), np.empty(found.hypotheses.count)
    h, r, starts, _ = found.arguments()
    library().tamis_token_f1(pointer_of(ctx), h, r, starts, pointer(exact, c_double), pointer(f1, c_double))
    return exact, f1


def text_batch(hypotheses: Sequence[str], references: Sequence[Sequence[str]], tokenizer: str, **options: bool) -> Batch:
    """Hypotheses and a list of references for each, cut by a tokenizer."""
    check_texts(hypotheses, "hypotheses"), check_texts(references, "references")
    n = len(hypotheses)
    if len(references) != n:
        raise InvalidArgumentError(f"references has {len(references)} entries for {n} hypotheses, expected one each")
    words = WordIDs([*hypotheses, *(r for group in references for r in check_texts(group, "references"))], tokenizer, **options)
    return Batch(words.lists(0, n), words.lists(n), _bounds(references), 1)


def squad(predictions: Sequence[str], answers: Sequence[Sequence[str]], *, ctx: Context | None = None) -> dict[str, float]:
    """SQuAD's exact match and F1 in per cent: answers is a list of right answers for each prediction."""
    exact, f1 = _f1(text_batch(predictions, answers, "squad"), ctx)
    n = max(1, len(exact))
    return {"exact_match": 100 * float(exact.sum()) / n, "f1": 100 * float(f1.sum()) / n}


# ------------------------------------------------------------------------------------------------- diversity


def _lists(sequences: Any, argument: str = "sequences") -> TokenLists:
    found = token_lists(sequences, argument)
    return pack([sequences], [argument])[0] if found is None else found


def distinct_n(sequences: Any, max_n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """distinct-1 to distinct-max_n: of the whole set, float64 [max_n], and of each sequence, [n, max_n]; 0 where there are no n-grams."""
    lists, n = _lists(sequences), int32(max_n, "max_n")
    each, whole = np.empty((lists.count, max(n, 0), 2), np.int64), np.empty((max(n, 0), 2), np.int64)
    library().tamis_distinct_ngrams(lists.ref(), n, pointer(each, c_int64), pointer(whole, c_int64))
    ratio = lambda x: x[..., 0] / np.maximum(x[..., 1], 1)  # noqa: E731
    return ratio(whole), ratio(each)


def self_bleu(sequences: Any, max_n: int = 4) -> np.ndarray:
    """BLEU of each sequence with all others as references, float64 [n]: weights 1 / max_n, NLTK's method1; linear in the tokens."""
    lists = _lists(sequences)
    out = np.empty(lists.count)
    library().tamis_self_bleu(lists.ref(), int32(max_n, "max_n"), pointer(out, c_double))
    return out


def repetition(sequences: Any, window: int = 128) -> dict[str, np.ndarray]:
    """Of each sequence: "rep", the share of tokens that are among the `window` before them; "longest_run" of one token;
    "longest_repeat", the longest stretch that occurs twice."""
    lists = _lists(sequences)
    counts = np.empty((lists.count, 3), np.int64)
    library().tamis_repetition(lists.ref(), integer(window, "window"), pointer(counts, c_int64))
    lengths = np.diff(lists.offsets) if lists.offsets is not None else (
        lists.lengths if lists.lengths is not None else np.full(lists.count, lists.ids.shape[1]))
    return {"rep": counts[:, 0] / np.maximum(lengths, 1), "longest_run": counts[:, 1], "longest_repeat": counts[:, 2]}


