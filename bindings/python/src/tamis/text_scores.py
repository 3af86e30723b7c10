"""Shorter prompts from scores the host has: self-information (Selective Context) and the attention of a draft model (SpecPC).

The units of a text are spans: int64 [n, 2], byte offsets of its UTF-8. Score units, keep some, use what is left:

>>> spans = tamis.split_text(text, "sentence")              # ask the model for each sentence's logits
>>> found = tamis.selective_context(text, token_spans, information, reduce_ratio=0.5)
>>> found.text

>>> draft = tamis.SpecPC(n_tokens=len(ids), capacity=1024)
>>> for layer, rows in enumerate(attentions):               # [heads, window, n_tokens]
...     draft.add(rows, layer)
>>> ids[draft.select()]
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _ffi
from ._arguments import choice, int32, integer, number
from ._arrays import ArrayLike, pointer, read
from ._lib import Handle, library
from ._texts import Text, like_text, text_bytes
from .context import Context, pointer_of
from .errors import BufferTooSmallError, InvalidArgumentError

_UNITS = {"word": _ffi.TAMIS_UNIT_WORD, "sentence": _ffi.TAMIS_UNIT_SENTENCE}
_LEVELS = {"sentence": 0, "phrase": 1, "token": 2}
_REDUCTIONS = {"max": _ffi.TAMIS_REDUCE_MAX, "sum": _ffi.TAMIS_REDUCE_SUM}
_SMOOTHINGS = {"max": _ffi.TAMIS_SMOOTH_MAX, "mean": _ffi.TAMIS_SMOOTH_MEAN, None: _ffi.TAMIS_SMOOTH_NONE}


def span_array(spans: ArrayLike, argument: str) -> np.ndarray:
    array = np.asarray(spans)
    if array.size == 0:
        return np.empty((0, 2), np.int64)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{argument} is {array.dtype}{list(array.shape)}, expected integers [n, 2]")
    return np.ascontiguousarray(array, np.int64)


def vector(values: ArrayLike, argument: str, dtype: Any, count: int | None = None) -> np.ndarray:
    """Numbers as a contiguous vector of `dtype`; copied if need be."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    array = np.asarray(values)
    if array.size == 0:
        array = np.empty(0, dtype)
    wanted = "iu" if np.dtype(dtype).kind == "i" else "iuf"
    if array.ndim != 1 or array.dtype.kind not in wanted or (count is not None and len(array) != count):
        raise InvalidArgumentError(
            f"{argument} is {array.dtype}{list(array.shape)}, expected {np.dtype(dtype)}[{'n' if count is None else count}]")
    return np.ascontiguousarray(array, dtype)


def _indices(values: ArrayLike, argument: str) -> np.ndarray:
    array = vector(values, argument, np.int64)
    if len(array) and (array.min() < -(2**31) or array.max() >= 2**31):
        raise InvalidArgumentError(f"{argument} holds a number that does not fit 32 bits")
    return array.astype(np.int32)


# --------------------------------------------------------------------------------------------- units of a text


def split_text(text: str | bytes, unit: str = "word") -> np.ndarray:
    """The words or sentences of a text as byte spans, int64 [n, 2].

    unit: "word", a run without white space; "sentence", which ends at ``.``, ``?`` or ``!`` before white space (not after "Mr."
    or "e.g.") or at an ideographic mark. Raises InvalidArgumentError.
    """
    data = text_bytes(text)
    number = choice(unit, _UNITS, "unit")
    count = c_int64()
    spans = np.empty((len(data) // 4 + 16, 2), np.int64)
    while True:
        try:
            library().tamis_split_text(data, len(data), number, pointer(spans, _ffi.tamis_span), len(spans), ctypes.byref(count))
            return spans[: count.value].copy()
        except BufferTooSmallError:
            spans = np.empty((count.value, 2), np.int64)


def byte_spans(text: str, spans: ArrayLike) -> np.ndarray:
    """Spans of characters, as Hugging Face tokenizers give them, as spans of UTF-8 bytes: int64 [n, 2]."""
    array = span_array(spans, "spans")
    starts = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    widths = 1 + (starts >= 0x80) + (starts >= 0x800) + (starts >= 0x10000)
    offsets = np.concatenate([[0], np.cumsum(widths)])
    if array.size and (array.min() < 0 or array.max() > len(text)):
        raise InvalidArgumentError(f"spans reach from {array.min()} to {array.max()}, expected 0 to {len(text)} characters")
    return offsets[array].astype(np.int64).reshape(-1, 2)


def kept_spans(units: ArrayLike, indices: ArrayLike) -> np.ndarray:
    """The spans that the units `indices` (ascending) leave: neighbours become one. int64 [m, 2]. Raises InvalidArgumentError."""
    u, i = span_array(units, "units"), _indices(indices, "indices")
    spans = np.empty((len(i), 2), np.int64)
    count = c_int64()
    library().tamis_kept_spans(
        pointer(u, _ffi.tamis_span), len(u), pointer(i, c_int32), len(i), pointer(spans, _ffi.tamis_span), ctypes.byref(count))
    return spans[: count.value].copy()


def kept_text(text: Text, spans: ArrayLike) -> Text:
    """The bytes of ascending spans, joined; one line break or space stands for the white space of a cut.
    Raises InvalidArgumentError."""
    data, s = text_bytes(text), span_array(spans, "spans")
    capacity = len(data) + len(s) + 1
    buffer = ctypes.create_string_buffer(capacity)
    needed = ctypes.c_size_t()
    library().tamis_kept_text(
        data, len(data), pointer(s, _ffi.tamis_span), len(s), buffer, capacity, ctypes.byref(needed))
    return like_text(buffer.raw[: needed.value], text)


# ------------------------------------------------------------------------------------------- Selective Context


def self_information(logits: ArrayLike, ids: ArrayLike, *, ctx: Context | None = None) -> np.ndarray:
    """``-ln p(ids[t])`` in nats, float32 [n], from logits [n, vocabulary] (float32, float16, bfloat16).

    Row t is what the model said before it saw ids[t]. Raises InvalidArgumentError.
    """
    z = read(logits, "logits")
    i = _indices(ids, "ids")
    if z.ndim != 2 or z.shape[0] != len(i):
        raise InvalidArgumentError(f"logits is {z.dtype}{list(z.shape)}, expected [{len(i)}, vocabulary]")
    out = np.empty(len(i), np.float32)
    library().tamis_self_information(pointer_of(ctx), ctypes.byref(z.c()), pointer(i, c_int32), pointer(out, c_float))
    return out


def unit_scores(token_spans: ArrayLike, token_scores: ArrayLike, units: ArrayLike) -> np.ndarray:
    """Scores of units from scores of tokens, float32: a token is split over the units it overlaps, by bytes; a unit's score is the
    mean of its parts, NaN where it has none. Raises InvalidArgumentError."""
    t, u = span_array(token_spans, "token_spans"), span_array(units, "units")
    s = vector(token_scores, "token_scores", np.float32, len(t))
    out = np.empty(len(u), np.float32)
    library().tamis_unit_scores(
        pointer(t, _ffi.tamis_span), pointer(s, c_float), len(t), pointer(u, _ffi.tamis_span), len(u), pointer(out, c_float))
    return out


def keep_informative(scores: ArrayLike, reduce_ratio: float = 0.35) -> tuple[np.ndarray, float]:
    """Indices (int32, ascending) of the scores that are not below their percentile ``100 * reduce_ratio``, and that percentile.
    NaN is kept. Raises InvalidArgumentError."""
    s = vector(scores, "scores", np.float32)
    indices = np.empty(len(s), np.int32)
    count, threshold = c_int64(), ctypes.c_double()
    library().tamis_keep_informative(
        pointer(s, c_float), len(s), number(reduce_ratio, "reduce_ratio"), pointer(indices, c_int32), ctypes.byref(count),
        ctypes.byref(threshold))
    return indices[: count.value].copy(), threshold.value


@dataclass(frozen=True)
class TextSelection:
    """Units of a text, their scores and which of them are kept.

    units: byte spans [n, 2]; scores: float32 [n]; indices: int32, kept units, ascending; threshold: the score they reach;
    spans: what is left, [m, 2]; text: the same as text.
    """

    units: np.ndarray
    scores: np.ndarray
    indices: np.ndarray
    threshold: float
    spans: np.ndarray
    text: Any


def selective_context(
    text: str | bytes, token_spans: ArrayLike, information: ArrayLike, *, level: str = "phrase", phrases: ArrayLike | None = None,
    reduce_ratio: float = 0.35,
) -> TextSelection:
    """Drops what a language model finds predictable (Selective Context, arXiv 2310.06201).

    Parameters
    ----------
    text
        The text that was tokenized.
    token_spans
        [n, 2] byte spans of its tokens (:func:`byte_spans` makes them of character offsets).
    information
        [n] self-information of the tokens in nats (:func:`self_information`); NaN where it is not known.
    level
        "sentence", "phrase" or "token": what is kept or dropped whole.
    phrases
        Byte spans of phrases, such as noun chunks of a parser; None: words.
    reduce_ratio
        Units below this quantile of the scores go.

    Raises InvalidArgumentError.
    """
    which = choice(level, _LEVELS, "level")
    tokens = span_array(token_spans, "token_spans")
    if phrases is not None and which != 1:
        raise InvalidArgumentError(f"phrases is given for level {level!r}, expected level 'phrase'")
    if which == 2:
        units, scores = tokens, vector(information, "information", np.float32, len(tokens))
    else:
        units = split_text(text, "sentence" if which == 0 else "word") if phrases is None else span_array(phrases, "phrases")
        scores = unit_scores(tokens, information, units)
    indices, threshold = keep_informative(scores, reduce_ratio)
    spans = kept_spans(units, indices)
    return TextSelection(units, scores, indices, threshold, spans, kept_text(text, spans))


# ------------------------------------------------------------------------------------------------------ SpecPC


class SpecPC:
    """Prompt tokens scored by the attention of a small draft model of the same tokenizer (SpecPC, arXiv 2506.08373).

    Parameters
    ----------
    n_tokens
        Length of the prompt.
    capacity
        Tokens that are kept.
    window
        The last queries of the prompt, whose attention scores the tokens; these tokens stay.
    starting_layer
        Draft layers below are not used.
    reduction
        "max" or "sum", over heads, queries, layers and lookahead steps.
    weighted_query
        Query i of w counts ``i / (w - 1)``.
    smoothing
        "max", "mean" or None, over `kernel` tokens.
    neighbours
        Tokens taken along around each chosen one; None: as `kernel`.

    One thread at a time. Raises InvalidArgumentError.
    """

    def __init__(
        self, n_tokens: int, capacity: int = 1024, *, window: int = 64, starting_layer: int = 8, reduction: str = "max",
        weighted_query: bool = True, smoothing: str | None = "max", kernel: int = 32, neighbours: int | None = None,
    ) -> None:
        options = _ffi.tamis_specpc_options()
        library().tamis_specpc_options_init(ctypes.byref(options))
        options.window = int32(window, "window")
        options.starting_layer = int32(starting_layer, "starting_layer")
        options.reduction = choice(reduction, _REDUCTIONS, "reduction")
        options.weighted_query = int(bool(weighted_query))
        options.smoothing = choice(smoothing, _SMOOTHINGS, "smoothing")
        options.kernel = int32(kernel, "kernel")
        options.neighbours = -1 if neighbours is None else int32(neighbours, "neighbours")
        options.capacity = integer(capacity, "capacity")
        self.n_tokens = integer(n_tokens, "n_tokens")
        made = ctypes.POINTER(_ffi.tamis_specpc)()
        library().tamis_specpc_create(ctypes.byref(options), self.n_tokens, ctypes.byref(made))
        self._handle = Handle(made, "tamis_specpc_destroy", "SpecPC")

    def add(self, rows: ArrayLike, layer: int) -> None:
        """Softmax rows [heads, window, n_tokens] of a layer, or [heads, 1, n >= n_tokens] of a lookahead step."""
        tensor = read(rows, "rows")
        library().tamis_specpc_add(self._handle.pointer, int32(layer, "layer"), ctypes.byref(tensor.c()))

    def add_keys(self, q: ArrayLike, k: ArrayLike, layer: int, *, scale: float | None = None, ctx: Context | None = None) -> None:
        """The rows of a layer from its rotated queries [q_heads, window, head_dim] and keys [kv_heads, n_tokens, head_dim]:
        softmax(scale q k^T) under the causal mask. scale: None is 1 / sqrt(head_dim)."""
        tq, tk = read(q, "q"), read(k, "k")
        library().tamis_specpc_add_keys(
            self._handle.pointer, pointer_of(ctx), int32(layer, "layer"), ctypes.byref(tq.c()), ctypes.byref(tk.c()),
            number(scale, "scale"))

    def scores(self) -> np.ndarray:
        """float32 [n_tokens], before smoothing."""
        out = np.empty(self.n_tokens, np.float32)
        library().tamis_specpc_scores(self._handle.pointer, pointer(out, c_float))
        return out

    def select(self) -> np.ndarray:
        """The tokens that are kept, int32, ascending."""
        out = np.empty(self.n_tokens, np.int32)
        count = c_int64()
        library().tamis_specpc_select(self._handle.pointer, pointer(out, c_int32), ctypes.byref(count))
        return out[: count.value].copy()

    def close(self) -> None:
        """Frees the scores."""
        self._handle.close()
