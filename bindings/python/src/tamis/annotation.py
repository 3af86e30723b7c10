"""From pairs of a text and its compression to word labels: the data pipeline of LLMLingua-2 (arXiv 2403.12968).

>>> found = tamis.annotate("Well, the plan is, um, good.", "plan is good")
>>> found.labels.tolist()
[False, False, True, True, False, True]
>>> tamis.annotate_file("pairs.jsonl", "labels.jsonl")
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from ctypes import c_double, c_int32, c_int64
from dataclasses import dataclass

import numpy as np

from . import _ffi
from ._arguments import choice, int32, number
from ._arrays import ArrayLike, pointer
from ._lib import library
from ._progress import Progress, ProgressCallback
from ._texts import text_bytes
from .errors import BufferTooSmallError, InvalidArgumentError
from .text_scores import vector

_ALIGNMENTS = {"exact": _ffi.TAMIS_ALIGN_EXACT, "window": _ffi.TAMIS_ALIGN_WINDOW}
_ALIGNMENT_NAMES = {number: name for name, number in _ALIGNMENTS.items()}
_FILTERS = {None: _ffi.TAMIS_FILTER_NONE, "paper": _ffi.TAMIS_FILTER_PAPER, "official": _ffi.TAMIS_FILTER_OFFICIAL}


@dataclass(frozen=True)
class Annotation:
    """Word labels of a text.

    words: int64 [n, 2] byte spans; labels: bool [n], kept by the compression; alignment: "exact" or "window", the one that was
    used; compressed_words: words of the compression; variation_rate: share of them that the text does not have; hitting_rate:
    those it has per word of the text; matching_rate: share of the text's words that are labelled; alignment_gap: hitting less
    matching rate.
    """

    words: np.ndarray
    labels: np.ndarray
    alignment: str
    compressed_words: int
    variation_rate: float
    hitting_rate: float
    matching_rate: float
    alignment_gap: float


def annotate(text: str | bytes, compressed: str | bytes, *, alignment: str = "exact", window: int = 150) -> Annotation:
    """Which words of `text` its compression kept. Words compare without case and without punctuation at their edges.

    Parameters
    ----------
    alignment
        "exact": the in-order embedding that reads most like an edit by a person, or else "window"; "window": the fuzzy alignment of
        the paper's code.
    window
        Words either way that the fuzzy alignment looks.

    Raises InvalidArgumentError.
    """
    data, kept = text_bytes(text), text_bytes(compressed, "compressed")
    rule, size = choice(alignment, _ALIGNMENTS, "alignment"), int32(window, "window")
    if size == 0:
        raise InvalidArgumentError("window is 0, expected at least 1")
    found = _ffi.tamis_annotation(ctypes.sizeof(_ffi.tamis_annotation))
    count = c_int64()
    capacity = len(data) // 4 + 16
    while True:
        words, labels = np.empty((capacity, 2), np.int64), np.empty(capacity, np.int32)
        try:
            library().tamis_annotate(
                data, len(data), kept, len(kept), rule, size, pointer(words, _ffi.tamis_span), pointer(labels, c_int32), capacity,
                ctypes.byref(count), ctypes.byref(found))
            break
        except BufferTooSmallError:
            capacity = count.value
    n = count.value
    return Annotation(
        words[:n].copy(), labels[:n] == 1, _ALIGNMENT_NAMES[found.alignment], found.compressed_words, found.variation_rate,
        found.hitting_rate, found.matching_rate, found.alignment_gap)


def _share(value: float | None, argument: str) -> float:
    if value is None:
        return -1.0
    share = number(value, argument)
    if not 0 <= share <= 1:
        raise InvalidArgumentError(f"{argument} is {value!r}, expected 0 to 1")
    return share


def filter_annotations(
    variation_rates: ArrayLike, alignment_gaps: ArrayLike, filter: str | None = "paper", *, drop_variation: float | None = None,
    drop_gap: float | None = None,
) -> np.ndarray:
    """Which pairs to train on, int32, ascending.

    filter: "paper" drops variation rates above their 95th percentile, then alignment gaps above their 90th; "official" both at or
    above their 90th, as the paper's code; None keeps all. drop_variation, drop_gap: shares that replace the filter's own.
    Raises InvalidArgumentError.
    """
    vr = vector(variation_rates, "variation_rates", np.float64)
    ag = vector(alignment_gaps, "alignment_gaps", np.float64, len(vr))
    indices = np.empty(len(vr), np.int32)
    count = c_int64()
    library().tamis_filter_annotations(
        pointer(vr, c_double), pointer(ag, c_double), len(vr), choice(filter, _FILTERS, "filter"),
        _share(drop_variation, "drop_variation"), _share(drop_gap, "drop_gap"), pointer(indices, c_int32), ctypes.byref(count))
    return indices[: count.value].copy()


@dataclass(frozen=True)
class AnnotationReport:
    """What `annotate_file` did: pairs annotated, bad lines, texts without words, pairs dropped by each filter, pairs kept, their
    words, and those of them that are labelled."""

    pairs: int
    bad_lines: int
    empty: int
    dropped_variation: int
    dropped_gap: int
    kept: int
    words: int
    labelled: int


def annotate_file(
    path: str | os.PathLike[str], out: str | os.PathLike[str], *, alignment: str = "exact", window: int = 150,
    filter: str | None = "paper", drop_variation: float | None = None, drop_gap: float | None = None, strict: bool = False,
    bad_line: Callable[[int, str], object] | None = None, progress: Progress = None,
) -> AnnotationReport:
    """JSON lines of pairs to JSON lines of labels, one line at a time.

    In: an object a line with the strings "text" and "compressed". Out: the object and "words" [[start, end], ..] in bytes, "labels"
    [0, 1, ..], "variation_rate", "hitting_rate", "matching_rate", "alignment_gap".

    strict: the first bad line raises FormatError; else bad lines are left out and `bad_line(number, sentence)` is called (None: a
    warning each). progress: None is a tqdm bar on a terminal; a function of the share done may return False to cancel.

    Raises InvalidArgumentError, FileMissingError, FileError, FormatError, CancelledError.
    """
    options = _ffi.tamis_annotate_options()
    library().tamis_annotate_options_init(ctypes.byref(options))
    options.alignment = choice(alignment, _ALIGNMENTS, "alignment")
    options.window = int32(window, "window")
    options.filter = choice(filter, _FILTERS, "filter")
    options.drop_variation = _share(drop_variation, "drop_variation")
    options.drop_gap = _share(drop_gap, "drop_gap")
    options.strict = int(bool(strict))
    errors: list[BaseException] = []

    def report_line(line: int, sentence: bytes, user: object) -> None:
        try:
            if bad_line is None:
                warnings.warn(f"{os.fspath(path)}, line {line}: {sentence.decode(errors='replace')}", stacklevel=3)
            else:
                bad_line(line, sentence.decode(errors="replace"))
        except BaseException as error:  # raised again below; C must not see it
            errors.append(error)

    options.bad_line = callback_line = _ffi.tamis_bad_line_fn(report_line)
    report = _ffi.tamis_annotate_report(ctypes.sizeof(_ffi.tamis_annotate_report))
    with ProgressCallback(progress, "annotate") as callback:
        options.progress = callback
        library().tamis_annotate_file(
            os.fsencode(path), os.fsencode(out), ctypes.byref(options), ctypes.byref(report))
    del callback_line
    if errors:
        raise errors[0]
    return AnnotationReport(**{name: getattr(report, name) for name in AnnotationReport.__dataclass_fields__})
