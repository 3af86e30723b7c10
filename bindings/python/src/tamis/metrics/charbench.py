"""CharBench (arXiv 2508.02591): questions about the characters of words, and what a tokenizer has to do with their answers
(include/tamis/charbench.h).

>>> bench = CharBench(texts, rows=100)
>>> [bench.prompt(i) for i in range(len(bench))]
>>> figures = bench.figures(replies, bench.features(tokenizer))
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import c_double, c_int32, c_int64, c_uint8
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .. import _ffi
from .._arguments import int32, integer
from .._arrays import pointer
from .._lib import Handle, library, read_string
from .._progress import Progress, ProgressCallback
from .._texts import text_bytes
from ..errors import InvalidArgumentError
from ._lists import int64_vector

TASKS = {
    "count_unique_chars": _ffi.TAMIS_CHARBENCH_COUNT_UNIQUE, "count_character_frequency": _ffi.TAMIS_CHARBENCH_COUNT_CHARACTER,
    "find_first_occurrence": _ffi.TAMIS_CHARBENCH_FIND_FIRST, "find_last_occurrence": _ffi.TAMIS_CHARBENCH_FIND_LAST,
}
_NAMES = {code: name for name, code in TASKS.items()}
#: Features that a report correlates with being right.
FEATURES = (
    "word_length", "number_of_tokens", "compression_rate", "target_token_length", "gold", "gold_share", "unique_characters")


@dataclass(frozen=True)
class Row:
    """A question. `character` is None for count_unique_chars; `gold` is the answer, places count from 0."""

    task: str
    word: str
    character: str | None
    gold: int
    unique_characters: int


@dataclass(frozen=True)
class Features:
    """A row to a tokenizer. `target_token_length`: of the token that holds the gold place, 0 for the counting tasks."""

    word_length: int
    number_of_tokens: int
    target_token_length: int
    gold: int
    unique_characters: int
    compression_rate: float
    gold_share: float


class CharBench:
    """Rows of questions about the words of texts, by length, then task; the same for the same texts on every machine.

    Words are what ``re.findall(r"\\b[a-zA-Z]+\\b", text)`` finds, once each, sorted, then shuffled as
    ``random.Random(seed).shuffle``.

    rows: of each task and length; fewer where there are fewer than four times as many words. Raises InvalidArgumentError.
    """

    def __init__(
        self, texts: Iterable[str | bytes], *, rows: int = 6250, min_length: int = 4, max_length: int = 10, seed: int = 42,
        progress: Progress = False,
    ) -> None:
        if isinstance(texts, (str, bytes)):
            raise InvalidArgumentError(f"texts is {type(texts).__name__}, expected a list of texts or words")
        data = [text_bytes(text, f"texts[{i}]") for i, text in enumerate(texts)]
        borders = np.zeros(len(data) + 1, np.int64)
        np.cumsum([len(d) for d in data], out=borders[1:])
        if not 0 <= (seed := integer(seed, "seed", 64)) < 2**64:
            raise InvalidArgumentError(f"seed is {seed}, expected 0 to 2^64 - 1")
        options = _ffi.tamis_charbench_options(
            ctypes.sizeof(_ffi.tamis_charbench_options), int32(min_length, "min_length"), int32(max_length, "max_length"),
            int32(rows, "rows"), seed)
        handle = ctypes.POINTER(_ffi.tamis_charbench)()
        with ProgressCallback(progress, "words") as options.progress:
            library().tamis_charbench_create(
                ctypes.byref(options), b"".join(data), pointer(borders, c_int64), len(data), ctypes.byref(handle))
        self._handle = Handle(handle, "tamis_charbench_destroy", "CharBench")

    def __len__(self) -> int:
        return int(library().tamis_charbench_count(self._handle.pointer))

    def __getitem__(self, i: int) -> Row:
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        raw = _ffi.tamis_charbench_row(ctypes.sizeof(_ffi.tamis_charbench_row))
        library().tamis_charbench_get(self._handle.pointer, i % len(self), ctypes.byref(raw))
        return Row(
            _NAMES[raw.task], raw.word.decode(), chr(raw.character) if raw.character else None, raw.gold, raw.unique_characters)

    def prompt(self, i: int) -> str:
        """Our wording of question i; it ends where the answer begins."""
        return read_string(library().tamis_charbench_prompt, self._handle.pointer, integer(i, "i"))

    def features_of(self, i: int, tokens: Sequence[str] | Sequence[int]) -> Features:
        """Row i to a tokenizer that cuts its word into `tokens`: strings, or their lengths in characters."""
        lengths = np.array([len(t) if isinstance(t, str) else int32(t, "tokens") for t in tokens], np.int32)
        raw = _ffi.tamis_charbench_features(ctypes.sizeof(_ffi.tamis_charbench_features))
        library().tamis_charbench_features_of(
            self._handle.pointer, integer(i, "i"), pointer(lengths, c_int32), len(lengths), ctypes.byref(raw))
        return Features(**{field.name: getattr(raw, field.name) for field in fields(Features)})

    def features(self, tokenizer: Any) -> list[Features]:
        """All rows to a tokenizer (tamis.Tokenizer, or one of `tokenizers` or transformers), which cuts each word by itself."""
        return [self.features_of(i, token_lengths(tokenizer, self[i].word)) for i in range(len(self))]

    def score(self, replies: Sequence[str | bytes]) -> Scores:
        """Replies to all rows, in order: stripped, read as Python's int, equal to gold."""
        if isinstance(replies, (str, bytes)) or len(replies) != len(self):
            raise InvalidArgumentError(f"replies has {len(replies)} entries, expected one for each of {len(self)} rows")
        gold = np.array([self[i].gold for i in range(len(self))], np.int64)
        correct, parsed, values = (np.zeros(len(gold), kind) for kind in (np.uint8, np.uint8, np.int64))
        for i, reply in enumerate(replies):
            correct[i], parsed[i], values[i] = score(reply, int(gold[i]))
        return Scores(correct, parsed, values, gold)

    def figures(self, replies: Sequence[str | bytes], features: Sequence[Features]) -> dict[str, Any]:
        """The page's figures of one model by task, and "all": {"n", "accuracy", "standard_error", "bias", "pearson": {feature:
        r}, "by_value": {feature: [(value, n, accuracy, standard error)]}}; NaN where there is none."""
        scores = self.score(replies)
        if len(features) != len(self):
            raise InvalidArgumentError(f"features has {len(features)} entries, expected one for each of {len(self)} rows")
        tasks = np.array([TASKS[self[i].task] for i in range(len(self))])
        groups = {name: tasks == code for name, code in TASKS.items()}
        result = {}
        for name, rows in {**groups, "all": np.ones(len(self), bool)}.items():
            own = [feature for feature, kept in zip(features, rows) if kept]
            correct = scores.correct[rows]
            share = float(correct.mean()) if len(correct) else float("nan")
            used = [f for f in FEATURES if f != "target_token_length" or name.startswith("find")]
            columns = {f: np.array([getattr(feature, f) for feature in own], float) for f in used}
            result[name] = {
                "n": len(correct), "accuracy": share, "standard_error": (share * (1 - share) / max(len(correct), 1)) ** 0.5,
                "bias": counting_bias(scores.values[rows], scores.gold[rows], scores.parsed[rows]),
                "pearson": {f: correlation(x, correct) for f, x in columns.items()},
                "by_value": {f: accuracy_by_value(x, correct) for f, x in columns.items()},
            }
        return result


@dataclass(frozen=True)
class Scores:
    """Of each row: `correct` uint8, `parsed` uint8 (an integer was read), `values` int64 (0 where none was), `gold` int64."""

    correct: np.ndarray
    parsed: np.ndarray
    values: np.ndarray
    gold: np.ndarray


def token_lengths(tokenizer: Any, word: str) -> list[int]:
    """Characters of each token that a tokenizer cuts a word of ASCII letters into, by its offsets. Raises InvalidArgumentError
    where the tokens do not cover the word one after another."""
    if hasattr(tokenizer, "encode_batch"):
        offsets = [tuple(map(int, o)) for o in tokenizer.encode(word, add_special_tokens=False).offsets]
    else:
        offsets = tokenizer(word, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    # A word mark that stands alone holds no character, or shares its place with the token after it.
    offsets = [o for i, o in enumerate(offsets) if o[1] > o[0] and not any(later[0] <= o[0] for later in offsets[i + 1 :])]
    if [start for start, _ in offsets] != [0, *(end for _, end in offsets[:-1])] or not offsets or offsets[-1][1] != len(word):
        raise InvalidArgumentError(f"tokenizer cuts {word!r} at {offsets}, expected tokens that cover it one after another")
    return [end - start for start, end in offsets]


def score(reply: str | bytes, gold: int) -> tuple[bool, bool, int]:
    """(right, an integer was read, that integer or 0) of one reply."""
    data = text_bytes(reply, "reply")
    correct, parsed, value = c_int32(), c_int32(), c_int64()
    library().tamis_charbench_score(
        data, len(data), integer(gold, "gold"), ctypes.byref(correct), ctypes.byref(parsed), ctypes.byref(value))
    return bool(correct.value), bool(parsed.value), value.value


def correlation(feature: Any, correct: Any) -> float:
    """Pearson's r of a feature [n] and being right [n]; NaN where one of them never changes."""
    x, y = _rows(feature, correct)
    r = c_double()
    library().tamis_charbench_correlation(pointer(x, c_double), pointer(y, c_uint8), len(x), ctypes.byref(r))
    return r.value


def accuracy_by_value(feature: Any, correct: Any) -> list[tuple[float, int, float, float]]:
    """(value, n, accuracy, sqrt(p (1 - p) / n)) at each different value of a feature, values ascending."""
    x, y = _rows(feature, correct)
    values, accuracy, error = (np.empty(len(x)) for _ in range(3))
    counts, found = np.empty(len(x), np.int64), c_int64()
    library().tamis_charbench_accuracy_by_value(
        pointer(x, c_double), pointer(y, c_uint8), len(x), pointer(values, c_double), pointer(counts, c_int64),
        pointer(accuracy, c_double), pointer(error, c_double), len(x), ctypes.byref(found))
    n = found.value
    return list(zip(values[:n].tolist(), counts[:n].tolist(), accuracy[:n].tolist(), error[:n].tolist()))


def error_overlap(correct_a: Any, correct_b: Any) -> float:
    """Jaccard index of the rows that two models get wrong; 1 when neither errs."""
    a, b = _flags(correct_a, "correct_a"), _flags(correct_b, "correct_b")
    if len(a) != len(b):
        raise InvalidArgumentError(f"correct_a has {len(a)} rows and correct_b {len(b)}, expected as many")
    out = c_double()
    library().tamis_charbench_error_overlap(pointer(a, c_uint8), pointer(b, c_uint8), len(a), ctypes.byref(out))
    return out.value


def counting_bias(values: Any, gold: Any, parsed: Any = None) -> float:
    """Mean of value - gold over rows that are wrong, parsed, and whose gold is not 0; NaN when there is none."""
    v = int64_vector(values, "values")
    g = int64_vector(gold, "gold", len(v))
    p = None if parsed is None else _flags(parsed, "parsed")
    if p is not None and len(p) != len(v):
        raise InvalidArgumentError(f"parsed has {len(p)} rows, expected {len(v)}")
    out = c_double()
    library().tamis_charbench_bias(
        pointer(v, c_int64), pointer(g, c_int64), None if p is None else pointer(p, c_uint8), len(v), ctypes.byref(out))
    return out.value


def _flags(values: Any, argument: str) -> np.ndarray:
    flags = np.asarray(values)
    if flags.ndim != 1 or not np.isin(flags, (0, 1)).all():
        raise InvalidArgumentError(f"{argument} is {flags.dtype}{list(flags.shape)}, expected [n] of 0 or 1")
    return np.ascontiguousarray(flags, np.uint8)


def _rows(feature: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.ascontiguousarray(feature, np.float64), _flags(correct, "correct")
    if x.shape != y.shape:
        raise InvalidArgumentError(f"feature is {list(x.shape)} and correct {list(y.shape)}, expected [n] of both")
    return x, y
