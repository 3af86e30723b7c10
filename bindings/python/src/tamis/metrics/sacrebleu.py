"""BLEU, chrF and TER with sacreBLEU's objects, and sacreBLEU 2.6.0's numbers and signatures."""

from __future__ import annotations

import ctypes
import itertools
import os
from collections.abc import Sequence
from ctypes import c_double, c_int32, c_int64
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _ffi
from .._arguments import int32, real
from .._arrays import pointer
from .._lib import library
from .._progress import NO_CALLBACK, Progress, ProgressCallback
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from ._bleu import Batch, bleu_options, count
from ._words import WordIDs, check_texts

#: The release whose numbers these are; it stands in the signatures.
SACREBLEU_VERSION = "2.6.0"

_ABBREVIATIONS = {
    "version": "v", "nrefs": "#", "test": "t", "lang": "l", "subset": "S", "origlang": "o", "bs": "bs", "ar": "ar", "seed": "rs",
    "case": "c", "eff": "e", "tok": "tok", "smooth": "s", "nc": "nc", "nw": "nw", "space": "s", "norm": "nr", "punct": "pn",
    "asian": "as",
}


class Signature:
    """What was computed and how: ``str(signature)``, ``signature.format(short=True)``."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info
        self._abbreviations = {**_ABBREVIATIONS, "tok": "t"} if info.get("tok") == "tercom" else _ABBREVIATIONS

    def format(self, short: bool = False) -> str:
        parts = []
        for key, value in [*self.info.items(), ("version", SACREBLEU_VERSION)]:
            if value is None:
                continue
            if isinstance(value, bool):
                value = "yes" if value else "no"
            parts.append(f"{self._abbreviations[key] if short else key}:{value}")
        return "|".join(parts)

    def __str__(self) -> str:
        return self.format()

    __repr__ = __str__


@dataclass
class Score:
    """``score``, its name, and after a bootstrap its mean and half of its 95 % interval."""

    name: str
    score: float
    _mean: float = field(default=-1.0, kw_only=True)
    _ci: float = field(default=-1.0, kw_only=True)

    @property
    def detail(self) -> str:
        return ""

    def format(self, width: int = 2, score_only: bool = False, signature: str = "", is_json: bool = False) -> str:
        """One line as sacreBLEU prints it, without JSON."""
        text = f"{self.score:.{width}f}"
        if score_only:
            return text
        if self._mean > 0:
            text += f" (μ = {self._mean:.{width}f} ± {self._ci:.{width}f})"
        detail = f" {self.detail}" if self.detail else ""
        return f"{self.name + ('|' + signature if signature else '')} = {text}{detail}"

    def __str__(self) -> str:
        return self.format()


@dataclass
class BLEUScore(Score):
    counts: list[Any] = field(default_factory=list)
    totals: list[Any] = field(default_factory=list)
    precisions: list[float] = field(default_factory=list)
    bp: float = 0.0
    sys_len: int = 0
    ref_len: int = 0

    @property
    def ratio(self) -> float:
        return self.sys_len / self.ref_len if self.ref_len else 0.0

    @property
    def detail(self) -> str:
        precisions = "/".join(f"{p:.1f}" for p in self.precisions)
        return f"{precisions} (BP = {self.bp:.3f} ratio = {self.ratio:.3f} hyp_len = {self.sys_len:d} ref_len = {self.ref_len:d})"


@dataclass
class CHRFScore(Score):
    char_order: int = 6
    word_order: int = 0
    beta: int = 2


@dataclass
class TERScore(Score):
    num_edits: float = 0
    ref_length: float = 0.0


class Metric:
    """What BLEU, CHRF and TER have in common."""

    def __init__(self, ctx: Context | None) -> None:
        self._ctx = ctx
        self._references: int | str | None = None
        self._bootstrap: tuple[int, str] | None = None
        self._total: np.ndarray | None = None

    def corpus_score(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str | None]], n_bootstrap: int = 1, *,
        progress: Progress = False,
    ) -> Any:
        """The score of a corpus: references is a list of streams, each as long as hypotheses; None where a stream has no reference.

        n_bootstrap above 1: a 95 % interval from so many resamples, by numpy's default_rng with SACREBLEU_SEED (12345).
        Raises InvalidArgumentError.
        """
        check_texts(hypotheses, "hypotheses")
        groups: list[list[str]] = [[] for _ in hypotheses]
        for j, stream in enumerate(check_texts(references, "references")):
            if len(check_texts(stream, f"references[{j}]")) != len(groups):
                raise InvalidArgumentError(f"references[{j}] has {len(stream)} texts for {len(groups)} hypotheses, expected as many")
            for group, text in zip(groups, stream):
                if text is not None:
                    group.append(text)
        for i, group in enumerate(groups):
            if not group:
                raise InvalidArgumentError(f"references has none for hypotheses[{i}], expected at least one")
        sizes = {len(group) for group in groups}
        self._references = sizes.pop() if len(sizes) == 1 else "var"
        rows = self._rows(list(hypotheses), groups, progress)
        score = self._score(rows)
        if n_bootstrap > 1:
            seed = os.environ.get("SACREBLEU_SEED", "12345")
            rng = np.random.default_rng(None if seed.lower() == "none" else int(seed))
            picks = rng.choice(len(rows), size=(n_bootstrap, len(rows)), replace=True)
            samples = np.sort(self._resampled(rows, picks))
            cut = n_bootstrap // 40
            score._mean, score._ci = float(samples.mean()), float(0.5 * (samples[n_bootstrap - cut - 1] - samples[cut]))
            self._bootstrap = n_bootstrap, seed.lower()
        return score

    def sentence_score(self, hypothesis: str, references: Sequence[str]) -> Any:
        """The score of one sentence with its references."""
        if not isinstance(hypothesis, (str, bytes)):
            raise InvalidArgumentError(f"hypothesis is {type(hypothesis).__name__}, expected a text")
        group = [r for r in check_texts(references, "references") if r is not None]
        if not group:
            raise InvalidArgumentError("references is empty, expected at least one")
        self._references = len(group)
        return self._score(self._rows([hypothesis], [group], False))

    def update(self, preds: Sequence[str], target: Sequence[Sequence[str]]) -> None:
        """Adds a batch, as torchmetrics does: target is a list of references for each of preds. Only sums of integers are kept."""
        groups = [list(check_texts(group, f"target[{i}]")) for i, group in enumerate(check_texts(target, "target"))]
        if len(groups) != len(check_texts(preds, "preds")):
            raise InvalidArgumentError(f"target has {len(groups)} entries for {len(preds)} preds, expected one each")
        if not all(groups):
            raise InvalidArgumentError("target has an entry without references, expected at least one each")
        if not groups:
            return
        sizes = {len(group) for group in groups} | ({self._references} if self._total is not None else set())
        rows = self._rows(list(preds), groups, False).sum(axis=0, keepdims=True)
        self._references = next(iter(sizes)) if len(sizes) == 1 else "var"
        self._total = rows if self._total is None else self._total + rows

    def compute(self) -> float:
        """The score of everything added since `reset`. Raises InvalidArgumentError where that is nothing."""
        if self._total is None:
            raise InvalidArgumentError("nothing was added, expected update to be called first")
        return float(self._score(self._total).score)

    def reset(self) -> None:
        self._total = None

    def get_signature(self) -> Signature:
        """Raises InvalidArgumentError before a score was computed."""
        if self._references is None:
            raise InvalidArgumentError("the number of references is unknown, expected a score to be computed first")
        info: dict[str, Any] = {"nrefs": self._references}
        if self._bootstrap:
            info["bs"], info["seed"] = self._bootstrap
        return Signature({**info, **self._signature()})

    def _words(self, hypotheses: list[str], groups: list[list[str]], tokenizer: str, **options: Any) -> Batch:
        words = WordIDs([*hypotheses, *itertools.chain.from_iterable(groups)], tokenizer, ctx=self._ctx, **options)
        starts = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
        return Batch(words.lists(0, len(hypotheses)), words.lists(len(hypotheses)), starts, 1)

    def _rows(self, hypotheses: list[str], groups: list[list[str]], progress: Progress) -> np.ndarray:
        raise NotImplementedError

    def _score(self, rows: np.ndarray) -> Any:
        raise NotImplementedError

    def _signature(self) -> dict[str, Any]:
        raise NotImplementedError

    def _resampled(self, rows: np.ndarray, picks: np.ndarray) -> np.ndarray:
        return np.array([self._score(rows[p].sum(axis=0, keepdims=True)).score for p in picks])


class BLEU(Metric):
    """sacreBLEU's BLEU: tokenize "13a", "intl", "char", "zh" or "none"; smooth_method "exp", "floor", "add-k" or "none". `force` is taken
    and not needed: nothing warns about tokenized text."""

    def __init__(
        self, lowercase: bool = False, force: bool = False, tokenize: str | None = None, smooth_method: str = "exp",
        smooth_value: float | None = None, max_ngram_order: int = 4, effective_order: bool = False, trg_lang: str = "", *,
        ctx: Context | None = None,
    ) -> None:
        super().__init__(ctx)
        self.lowercase, self.effective_order = lowercase, effective_order
        self.tokenize = tokenize if tokenize is not None else {"zh": "zh"}.get(trg_lang, "13a")
        if self.tokenize not in ("13a", "intl", "char", "zh", "none"):
            raise InvalidArgumentError(f"tokenize is {tokenize!r}, expected '13a', 'intl', 'char', 'zh' or 'none'")
        if smooth_method not in ("exp", "floor", "add-k", "none"):
            raise InvalidArgumentError(f"smooth_method is {smooth_method!r}, expected 'exp', 'floor', 'add-k' or 'none'")
        self.smooth_method = smooth_method
        default = {"floor": 0.1, "add-k": 1}.get(smooth_method)
        self.smooth_value = default if smooth_value is None else smooth_value
        self.max_ngram_order = int32(max_ngram_order, "max_ngram_order")
        self._options = bleu_options(
            "sacrebleu", smooth_method, max_n=self.max_ngram_order, effective_order=effective_order,
            value=self.smooth_value if default is not None else None)

    def _rows(self, hypotheses: list[str], groups: list[list[str]], progress: Progress) -> np.ndarray:
        words = self._words(hypotheses, groups, self.tokenize, lowercase=self.lowercase)
        return count(words, self.max_ngram_order, progress=progress, ctx=self._ctx)

    def _score(self, rows: np.ndarray) -> BLEUScore:
        report = _ffi.tamis_bleu_report(ctypes.sizeof(_ffi.tamis_bleu_report))
        library().tamis_bleu_details(
            ctypes.byref(self._options), pointer(rows, c_int64), len(rows), self.max_ngram_order, ctypes.byref(report))
        n = self.max_ngram_order
        number = lambda x: int(x) if x == int(x) else x  # noqa: E731
        return BLEUScore(
            "BLEU", report.score, [number(x) for x in report.matches[:n]], [number(x) for x in report.totals[:n]],
            list(report.precisions[:n]), report.brevity_penalty, report.length, report.reference_length)

    def _resampled(self, rows: np.ndarray, picks: np.ndarray) -> np.ndarray:
        scores = np.empty(len(picks))
        chosen = np.ascontiguousarray(picks, np.int32)
        library().tamis_bleu_resample(
            pointer_of(self._ctx), ctypes.byref(self._options), pointer(rows, c_int64), len(rows), self.max_ngram_order,
            pointer(chosen, c_int32), len(chosen), 1, pointer(scores, c_double))
        return scores

    def _signature(self) -> dict[str, Any]:
        smooth = self.smooth_method
        if self.smooth_method in ("floor", "add-k"):
            smooth += f"[{self.smooth_value:.2f}]"
        return {
            "case": "lc" if self.lowercase else "mixed", "eff": self.effective_order, "tok": self.tokenize, "smooth": smooth,
        }


class CHRF(Metric):
    """sacreBLEU's chrF; word_order 2 is chrF++."""

    def __init__(
        self, char_order: int = 6, word_order: int = 0, beta: int = 2, lowercase: bool = False, whitespace: bool = False,
        eps_smoothing: bool = False, *, ctx: Context | None = None,
    ) -> None:
        super().__init__(ctx)
        self.char_order, self.word_order = int32(char_order, "char_order"), int32(word_order, "word_order")
        self.beta, self.lowercase, self.whitespace, self.eps_smoothing = beta, lowercase, whitespace, eps_smoothing
        options = _ffi.tamis_chrf_options()
        library().tamis_chrf_options_init(ctypes.byref(options))
        options.char_order, options.word_order, options.beta = self.char_order, self.word_order, real(beta, "beta")
        options.eps_smoothing = bool(eps_smoothing)
        self._options = options

    def _rows(self, hypotheses: list[str], groups: list[list[str]], progress: Progress) -> np.ndarray:
        characters = self._words(
            hypotheses, groups, "code-points" if self.whitespace else "chrf-chars", lowercase=self.lowercase)
        words = self._words(hypotheses, groups, "chrf", lowercase=self.lowercase) if self.word_order > 0 else None
        rows = np.empty((len(hypotheses), 3 * (self.char_order + max(0, self.word_order))), np.int64)
        h, r, starts, _ = characters.arguments()
        with ProgressCallback(progress, "chrF", bar=False) as callback:
            self._options.progress = callback
            library().tamis_chrf(
                pointer_of(self._ctx), ctypes.byref(self._options), h, r, words.hypotheses.ref() if words else None,
                words.references.ref() if words else None, starts, None, None, pointer(rows, c_int64))
        self._options.progress = NO_CALLBACK
        return rows

    def _score(self, rows: np.ndarray) -> CHRFScore:
        name = f"chrF{self.beta}" + "+" * self.word_order
        return CHRFScore(name, self._f(rows.sum(axis=0).tolist()), self.char_order, self.word_order, self.beta)

    def _f(self, row: list[int]) -> float:
        factor, eps = self.beta**2, 1e-16
        total, precision, recall, used = 0.0, 0.0, 0.0, 0
        orders = len(row) // 3
        for i in range(orders):
            h, r, m = row[3 * i : 3 * i + 3]
            p, q = m / h if h > 0 else eps, m / r if r > 0 else eps
            below = factor * p + q
            total += (1 + factor) * p * q / below if below > 0 else eps
            if h > 0 and r > 0:
                precision, recall, used = precision + p, recall + q, used + 1
        if self.eps_smoothing:
            return 100 * total / orders
        if used == 0:
            return 0.0
        precision, recall = precision / used, recall / used
        return 100 * ((1 + factor) * precision * recall / (factor * precision + recall)) if precision + recall else 0.0

    def _signature(self) -> dict[str, Any]:
        return {
            "case": "lc" if self.lowercase else "mixed", "eff": not self.eps_smoothing, "nc": self.char_order, "nw": self.word_order,
            "space": self.whitespace,
        }


class TER(Metric):
    """sacreBLEU's TER; lower case by default, as there. asian_support isn't there."""

    def __init__(
        self, normalized: bool = False, no_punct: bool = False, asian_support: bool = False, case_sensitive: bool = False, *,
        ctx: Context | None = None,
    ) -> None:
        super().__init__(ctx)
        if asian_support:
            raise InvalidArgumentError("asian_support is True, expected False: this version doesn't have it")
        self.normalized, self.no_punct, self.case_sensitive = normalized, no_punct, case_sensitive

    def _rows(self, hypotheses: list[str], groups: list[list[str]], progress: Progress) -> np.ndarray:
        words = self._words(
            hypotheses, groups, "ter", lowercase=not self.case_sensitive, normalized=self.normalized, no_punct=self.no_punct,
            twice_from=len(hypotheses))
        edits, lengths = ter_ids(words, progress, self._ctx)
        return np.stack([edits, lengths], axis=1)

    def _score(self, rows: np.ndarray) -> TERScore:
        edits, length = float(sum(rows[:, 0].tolist())), float(sum(rows[:, 1].tolist()))
        return TERScore("TER", 100 * (edits / length if length > 0 else 1.0 if edits > 0 else 0.0), edits, length)

    def _signature(self) -> dict[str, Any]:
        return {
            "case": "mixed" if self.case_sensitive else "lc", "tok": "tercom", "norm": self.normalized, "punct": not self.no_punct,
            "asian": False,
        }


def ter_ids(found: Batch, progress: Progress = False, ctx: Context | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Edits int64 [n] and mean reference lengths float64 [n] of a batch of ids."""
    edits, lengths = np.empty(found.hypotheses.count, np.int64), np.empty(found.hypotheses.count)
    h, r, starts, _ = found.arguments()
    with ProgressCallback(progress, "TER", bar=False) as callback:
        library().tamis_ter(
            pointer_of(ctx), h, r, starts, None, None, pointer(edits, c_int64), pointer(lengths, c_double), callback, None)
    return edits, lengths


__all__ = ["BLEU", "BLEUScore", "CHRF", "CHRFScore", "Signature", "TER", "TERScore", "ter_ids"]
