"""Scores that are added up batch by batch: torchmetrics' update, compute, reset; rouge-score's bootstrap; prefixes and novelty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._arguments import integer, real
from ..context import Context
from ..errors import InvalidArgumentError
from ._lists import TokenLists, pack, token_lists
from ._sequence import ErrorRates, RougeScorer, Score, distinct_n, process_characters, process_words


class WordErrorRate:
    """torchmetrics' WordErrorRate: preds and target are a text or a list of texts. Only four counts are kept."""

    _process = staticmethod(process_words)

    def __init__(self, *, ctx: Context | None = None) -> None:
        self._ctx = ctx
        self.reset()

    def update(self, preds: str | Sequence[str], target: str | Sequence[str]) -> None:
        found = self._process(target, preds, ctx=self._ctx)
        self._counts += [found.hits, found.substitutions, found.deletions, found.insertions]
        self._updated = True

    def compute(self) -> float:
        """The rate of everything added since `reset`. Raises InvalidArgumentError where that is nothing."""
        if not self._updated:
            raise InvalidArgumentError("nothing was added, expected update to be called first")
        return ErrorRates(*map(int, self._counts), per_pair=self._counts[None]).wer

    def reset(self) -> None:
        self._counts, self._updated = np.zeros(4, np.int64), False


class CharErrorRate(WordErrorRate):
    """torchmetrics' CharErrorRate."""

    _process = staticmethod(process_characters)


class ROUGEScore:
    """torchmetrics' ROUGEScore over rouge-score's numbers: `compute` gives "rouge1_fmeasure", "rouge1_precision", "rouge1_recall" and
    so on for each type, the means over all pairs. target: one text for each of preds."""

    def __init__(
        self, rouge_keys: Sequence[str] = ("rouge1", "rouge2", "rougeL", "rougeLsum"), use_stemmer: bool = False, *,
        ctx: Context | None = None,
    ) -> None:
        self._scorer = RougeScorer(rouge_keys, use_stemmer, ctx=ctx)
        self.reset()

    def update(self, preds: str | Sequence[str], target: str | Sequence[str]) -> None:
        p, t = ([x] if isinstance(x, str) else list(x) for x in (preds, target))
        found = self._scorer.score_batch(t, p)
        for kind, rows in found.items():
            self._sums[kind] = self._sums.get(kind, np.zeros(3)) + rows.sum(axis=0)
        self._count += len(p)

    def compute(self) -> dict[str, float]:
        """Raises InvalidArgumentError where nothing was added."""
        if self._count == 0:
            raise InvalidArgumentError("nothing was added, expected update to be called first")
        means = {kind: (total / self._count).tolist() for kind, total in self._sums.items()}
        return {
            f"{kind}_{name}": mean[i] for kind, mean in means.items()
            for i, name in ((2, "fmeasure"), (0, "precision"), (1, "recall"))
        }

    def reset(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._count = 0


class AggregateScore(NamedTuple):
    """As rouge_score.scoring.AggregateScore."""

    low: Score
    mid: Score
    high: Score


class BootstrapAggregator:
    """rouge-score's BootstrapAggregator: the interval of the mean over resamples of the added scores. The package draws from numpy's
    global generator; here it is numpy's default_rng(seed), so that a result can be repeated (our choice)."""

    def __init__(self, confidence_interval: float = 0.95, n_samples: int = 1000, seed: int = 12345) -> None:
        self._interval, self._samples = real(confidence_interval, "confidence_interval"), integer(n_samples, "n_samples")
        self._seed = seed
        if not 0 < self._interval < 1:
            raise InvalidArgumentError(f"confidence_interval is {confidence_interval}, expected a number between 0 and 1")
        if self._samples < 1:
            raise InvalidArgumentError(f"n_samples is {n_samples}, expected at least 1")
        self._scores: dict[str, list[Any]] = {}

    def add_scores(self, scores: dict[str, Any]) -> None:
        """Scores of one text by type (`RougeScorer.score`), or rows [n, 3] of many (`score_batch`)."""
        for kind, score in scores.items():
            self._scores.setdefault(kind, []).append(np.asarray(score, np.float64).reshape(-1, 3))

    def aggregate(self) -> dict[str, AggregateScore]:
        rng = np.random.default_rng(self._seed)
        tail = (1 - self._interval) / 2
        found = {}
        for kind, parts in self._scores.items():
            rows = np.concatenate(parts)
            means = np.stack([rows[rng.integers(len(rows), size=len(rows))].mean(axis=0) for _ in range(self._samples)])
            table = np.percentile(means, [100 * tail, 50, 100 * (1 - tail)], axis=0)
            found[kind] = AggregateScore(*(Score(*row) for row in table.tolist()))
        return found


def prefix_matches(references: Any, hypotheses: Any) -> np.ndarray:
    """How many tokens a hypothesis has in common with its reference from the beginning on, int64 [n]."""
    r, h = token_lists(references, "references"), token_lists(hypotheses, "hypotheses")
    if r is None and h is None:
        r, h = pack([references, hypotheses], ["references", "hypotheses"])
    r = pack([references], ["references"])[0] if r is None else r
    h = pack([hypotheses], ["hypotheses"])[0] if h is None else h
    if r.count != h.count:
        raise InvalidArgumentError(f"references has {r.count} sequences and hypotheses {h.count}, expected as many of both")
    found = np.empty(r.count, np.int64)
    for i in range(r.count):
        a, b = _sequence(r, i), _sequence(h, i)
        n = min(len(a), len(b))
        different = a[:n] != b[:n]
        found[i] = int(different.argmax()) if different.any() else n
    return found


def _sequence(lists: TokenLists, i: int) -> np.ndarray:
    if lists.offsets is not None:
        return lists.ids[lists.offsets[i] : lists.offsets[i + 1]]
    return lists.ids[i] if lists.lengths is None else lists.ids[i, : lists.lengths[i]]


def novelty(sequences: Sequence[Any], corpus: Sequence[Any], max_n: int = 4) -> np.ndarray:
    """The share of the different n-grams of some sequences that a corpus of sequences lacks, n = 1 to max_n, float64 [max_n]; 0 where
    there are no n-grams. Linear in the tokens of both."""
    sequences, corpus = list(sequences), list(corpus)
    both = _distinct([*corpus, *sequences], max_n) - _distinct(corpus, max_n)
    return both / np.maximum(_distinct(sequences, max_n), 1)


def _distinct(sequences: Sequence[Any], max_n: int) -> np.ndarray:
    """Different n-grams of the whole set, int64 [max_n]."""
    lists = pack([sequences], ["sequences"])[0]
    ratio, _ = distinct_n(lists, max_n)
    assert lists.offsets is not None
    lengths = np.diff(lists.offsets)
    totals = np.array([np.maximum(lengths - n + 1, 0).sum() for n in range(1, max_n + 1)])
    return np.rint(ratio * totals).astype(np.int64)
