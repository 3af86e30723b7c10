"""How well a tokenizer cuts texts (include/tamis/tokenization_metrics.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import c_double, c_int32, c_int64
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .. import _ffi
from .._arguments import int32, integer, real
from .._arrays import pointer
from .._lib import Handle, library
from .._progress import Progress, ProgressCallback
from .._texts import text_bytes
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from ..tokenizer import Tokenizer
from ._lists import TokenLists, pack, token_lists
from ._words import check_texts


@dataclass(frozen=True)
class TokenSums:
    """Counts over all texts; `aligned_words` are the words of texts whose token offsets are known, `continued_words` those of
    them with two or more tokens, `whole_words` those with one token that holds all of the word. `vocabulary`: different ids."""

    texts: int
    empty_texts: int
    tokens: int
    unknown_tokens: int
    bytes: int
    code_points: int
    words: int
    aligned_words: int
    continued_words: int
    whole_words: int
    vocabulary: int


@dataclass(frozen=True)
class TokenReport:
    """Rates; NaN where the count below the line is 0. Entropies are in bits; efficiencies are entropies over log2 of the
    vocabulary, 0 for a vocabulary of one."""

    fertility: float
    continued_word_rate: float
    whole_word_rate: float
    bytes_per_token: float
    code_points_per_token: float
    unknown_rate: float
    tokens_per_text: float
    shannon_entropy: float
    shannon_efficiency: float
    renyi_entropy: float
    renyi_efficiency: float
    percentile_frequency: float
    bits: float


class TokenStatistics:
    """Counts of tokens over any number of texts, which add up.

    >>> statistics = TokenStatistics()
    >>> statistics.encode(tokenizer, texts)                       # or .add(token_ids, texts)
    >>> statistics.report(alpha=2.5).fertility

    Words are runs without white space. A token belongs to the word that holds its first byte that is no white space: " the" to
    "the", "of the" to "of" alone; a token of nothing but white space belongs to none.

    unknown_id: the id of the unknown token; None: none, or the tokenizer's.
    """

    def __init__(self, unknown_id: int | None = None) -> None:
        handle = ctypes.POINTER(_ffi.tamis_token_statistics)()
        library().tamis_token_statistics_create(
            -1 if unknown_id is None else int32(unknown_id, "unknown_id"), ctypes.byref(handle))
        self._handle = Handle(handle, "tamis_token_statistics_destroy", "TokenStatistics")

    def add(
        self, tokens: Any, texts: Sequence[str | bytes] | None = None, offsets: Sequence[Any] | None = None,
        *, progress: Progress = False,
    ) -> TokenStatistics:
        """Counts texts and their tokens; returns self.

        tokens: sequences of ids, one a text (or hashable tokens, which are numbered anew in each call: leave ids and tokens of
        several calls unmixed). texts: None: their bytes and words are not known. offsets: for each text integers [n, 2], the
        bytes [start, end) of each token, as ``Tokenizer.encode(text, offsets="bytes").offsets``; None: not known.
        Raises InvalidArgumentError.
        """
        lists = token_lists(tokens, "tokens") or pack([tokens], ("tokens",))[0]
        given = [b""] * lists.count if texts is None else [
            text_bytes(text, f"texts[{i}]") for i, text in enumerate(check_texts(texts, "texts"))]
        if len(given) != lists.count:
            raise InvalidArgumentError(f"texts has {len(given)} texts for {lists.count} sequences of tokens, expected as many")
        starts = ends = None
        if offsets is not None:
            starts, ends = _columns(offsets, lists)
        data, borders = _joined(given)
        with ProgressCallback(progress, "count") as callback:
            library().tamis_token_statistics_add(
                self._handle.pointer, lists.ref(), data, pointer(borders, c_int64),
                None if starts is None else pointer(starts, c_int32), None if ends is None else pointer(ends, c_int32),
                callback, None)
        return self

    def encode(
        self, tokenizer: Tokenizer, texts: Iterable[str | bytes], *, add_special_tokens: bool = False,
        parse_special: bool = False, ctx: Context | None = None, progress: Progress = False,
    ) -> TokenStatistics:
        """Counts what a tokenizer makes of texts, with its offsets; returns self. Raises as ``Tokenizer.encode_batch``."""
        if not isinstance(tokenizer, Tokenizer):
            raise InvalidArgumentError(f"tokenizer is {type(tokenizer).__name__}, expected tamis.Tokenizer")
        if isinstance(texts, (str, bytes)):
            raise InvalidArgumentError(f"texts is {type(texts).__name__}, expected a list of texts")
        data, borders = _joined([text_bytes(text, f"texts[{i}]") for i, text in enumerate(texts)])
        options = _ffi.tamis_encode_options(
            ctypes.sizeof(_ffi.tamis_encode_options), bool(add_special_tokens), bool(parse_special), _ffi.TAMIS_OFFSETS_BYTES,
            0)
        with ProgressCallback(progress, "encode") as callback:
            library().tamis_token_statistics_encode(
                self._handle.pointer, pointer_of(ctx), tokenizer._handle.pointer, ctypes.byref(options), data,
                pointer(borders, c_int64), len(borders) - 1, callback, None)
        return self

    def merge(self, other: TokenStatistics) -> TokenStatistics:
        """Adds the counts of another, its texts after those there are; returns self."""
        library().tamis_token_statistics_merge(self._handle.pointer, other._handle.pointer)
        return self

    @property
    def sums(self) -> TokenSums:
        raw = _ffi.tamis_token_sums(ctypes.sizeof(_ffi.tamis_token_sums))
        library().tamis_token_statistics_sums(self._handle.pointer, ctypes.byref(raw))
        return TokenSums(**{field.name: int(getattr(raw, field.name)) for field in fields(TokenSums)})

    @property
    def frequencies(self) -> tuple[np.ndarray, np.ndarray]:
        """The different ids, int32, and how often each occurs, int64; the most frequent first, of equals the lower id."""
        n = self.sums.vocabulary
        ids, counts, found = np.empty(n, np.int32), np.empty(n, np.int64), c_int64()
        library().tamis_token_statistics_frequencies(
            self._handle.pointer, pointer(ids, c_int32), pointer(counts, c_int64), n, ctypes.byref(found))
        return ids, counts

    def report(
        self, alpha: float = 3.0, *, vocabulary: int | None = None, percentiles: tuple[float, float] = (0.03, 0.83)
    ) -> TokenReport:
        """Rates of what was counted. alpha: order of the Renyi entropy, tokenization-scorer's default; its paper recommends
        2.5. vocabulary: the size that efficiencies are taken of; None: the different ids seen. Raises InvalidArgumentError."""
        options = _ffi.tamis_token_report_options(ctypes.sizeof(_ffi.tamis_token_report_options))
        options.alpha = real(alpha, "alpha")
        options.vocabulary = 0 if vocabulary is None else integer(vocabulary, "vocabulary")
        if vocabulary is not None and options.vocabulary < 1:
            raise InvalidArgumentError(f"vocabulary is {vocabulary}, expected at least 1")
        options.percentile_from, options.percentile_to = (real(p, "percentiles") for p in percentiles)
        raw = _ffi.tamis_token_report(ctypes.sizeof(_ffi.tamis_token_report))
        library().tamis_token_statistics_report(self._handle.pointer, ctypes.byref(options), ctypes.byref(raw))
        return TokenReport(**{field.name: float(getattr(raw, field.name)) for field in fields(TokenReport)})

    def premium(self, pivot: TokenStatistics) -> tuple[float, float]:
        """Tokens here over tokens in `pivot`, text by text: (of all texts, mean of the texts' own ratios). Parallel texts:
        parity or premium of a language; the same texts by another tokenizer: normalised sequence length (NSL)."""
        corpus, mean = c_double(), c_double()
        library().tamis_token_premium(
            self._handle.pointer, pivot._handle.pointer, ctypes.byref(corpus), ctypes.byref(mean))
        return corpus.value, mean.value

    def characters(self, tokens: int) -> int:
        """Characters that so many tokens of such text hold, rounded down; of a model's limit, its context limit in
        characters."""
        out = c_int64()
        library().tamis_tokens_to_characters(self._handle.pointer, integer(tokens, "tokens"), ctypes.byref(out))
        return out.value

    def tokens(self, characters: int) -> int:
        """Tokens that so many characters of such text take, rounded up."""
        out = c_int64()
        library().tamis_characters_to_tokens(self._handle.pointer, integer(characters, "characters"), ctypes.byref(out))
        return out.value


def _joined(texts: Sequence[bytes]) -> tuple[bytes, np.ndarray]:
    borders = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=borders[1:])
    return b"".join(texts), borders


def _columns(offsets: Sequence[Any], lists: TokenLists) -> tuple[np.ndarray, np.ndarray]:
    """int32 starts and ends where the ids of ragged lists stand."""
    if lists.offsets is None:
        raise InvalidArgumentError("offsets is given with tokens [n, width], expected a list of sequences")
    if len(offsets) != lists.count:
        raise InvalidArgumentError(f"offsets has {len(offsets)} entries for {lists.count} texts, expected as many")
    both = np.zeros((int(lists.offsets[-1]), 2), np.int32)
    for i, given in enumerate(offsets):
        start, end = int(lists.offsets[i]), int(lists.offsets[i + 1])
        pairs = np.asarray(given)
        if pairs.size == 0:
            pairs = np.empty((0, 2), np.int64)
        if pairs.shape != (end - start, 2) or pairs.dtype.kind not in "iu":
            raise InvalidArgumentError(
                f"offsets[{i}] is {pairs.dtype}{list(pairs.shape)}, expected integers [{end - start}, 2], one pair a token")
        if pairs.size and (pairs.min() < 0 or pairs.max() >= 2**31):
            raise InvalidArgumentError(f"offsets[{i}] holds {pairs.min()} to {pairs.max()}, expected 0 to 2^31 - 1")
        both[start:end] = pairs
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


_SCORES = {
    "renyi": "renyi_efficiency", "renyi_efficiency": "renyi_efficiency", "renyi_entropy": "renyi_entropy",
    "shannon": "shannon_efficiency", "shannon_efficiency": "shannon_efficiency", "entropy": "shannon_entropy",
    "shannon_entropy": "shannon_entropy", "gowda": "percentile_frequency", "percentile_freq": "percentile_frequency",
    "perc_freq": "percentile_frequency", "bits": "bits", "seq_len": "tokens_per_text", "sequence_len": "tokens_per_text",
}


def tokenization_score(
    text: str | Sequence[str], metric: str = "renyi", *, power: float = 3.0, vocab: int | None = None, perc_start: float = 0.03,
    perc_end: float = 0.83,
) -> float:
    """A score of tokenised text with tokenization-scorer's names and defaults (1.1.8): one string of lines, or a list of lines;
    tokens are separated by white space.

    metric: "renyi" (efficiency), "renyi_entropy", "shannon", "shannon_entropy", "percentile_freq", "bits", "seq_len" (minus
    tokens a line, empty lines counted). A vocabulary of one has efficiency 0, where the package divides by 0.
    Raises InvalidArgumentError, also for text without a token.
    """
    if metric not in _SCORES:
        raise InvalidArgumentError(f"metric is {metric!r}, expected one of {', '.join(map(repr, _SCORES))}")
    lines = text.split("\n") if isinstance(text, str) else list(check_texts(text, "text"))
    statistics = TokenStatistics().add([line.split() for line in lines])
    if statistics.sums.tokens == 0:
        raise InvalidArgumentError("text holds no token, expected at least one")
    found = getattr(statistics.report(power, vocabulary=vocab, percentiles=(perc_start, perc_end)), _SCORES[metric])
    return -float(found) if _SCORES[metric] == "tokens_per_text" else float(found)
