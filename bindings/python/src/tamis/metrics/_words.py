"""Texts as word ids: the scorers' tokenizers (include/tamis/word_ids.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import c_int32, c_int64
from typing import Any

import numpy as np

from .. import _ffi
from .._arguments import choice, int32
from .._arrays import pointer
from .._lib import library
from .._texts import joined_texts
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from ._lists import TokenLists

TOKENIZERS = {
    "none": _ffi.TAMIS_WORDS_NONE, "13a": _ffi.TAMIS_WORDS_13A, "intl": _ffi.TAMIS_WORDS_INTL, "char": _ffi.TAMIS_WORDS_CHAR,
    "zh": _ffi.TAMIS_WORDS_ZH, "ter": _ffi.TAMIS_WORDS_TER, "rouge": _ffi.TAMIS_WORDS_ROUGE,
    "rouge-stem": _ffi.TAMIS_WORDS_ROUGE_STEM, "squad": _ffi.TAMIS_WORDS_SQUAD, "chrf": _ffi.TAMIS_WORDS_CHRF,
    "code-points": _ffi.TAMIS_WORDS_CODE_POINTS, "chrf-chars": _ffi.TAMIS_WORDS_CHRF_CHARS,
}


class WordIDs:
    """The words of texts, numbered alike for equal words. `lists(a, b)` are the sequences of texts a to b, `ids` int32 all of them and
    `offsets` int64 [n + 1] where each begins.

    tokenizer: "none" (white space), "13a", "intl", "char", "zh" (sacreBLEU's), "ter", "rouge", "rouge-stem", "squad", "chrf",
    "code-points", "chrf-chars". Raises InvalidArgumentError.
    """

    def __init__(
        self, texts: Iterable[str | bytes], tokenizer: str = "none", *, lowercase: bool = False, normalized: bool = False,
        no_punct: bool = False, twice_from: int = 0, ctx: Context | None = None,
    ) -> None:
        texts = texts if isinstance(texts, (list, tuple)) else list(texts)
        data, starts = joined_texts(texts)
        options = _ffi.tamis_word_options(ctypes.sizeof(_ffi.tamis_word_options))
        options.tokenizer = choice(tokenizer, TOKENIZERS, "tokenizer")
        options.lowercase, options.normalised, options.no_punctuation = bool(lowercase), bool(normalized), bool(no_punct)
        options.twice_from = int32(twice_from, "twice_from")
        options.context = pointer_of(ctx)
        handle = ctypes.POINTER(_ffi.tamis_word_ids)()
        library().tamis_word_ids_create(
            ctypes.byref(options), data, pointer(starts, c_int64), len(texts), ctypes.byref(handle))
        try:
            raw, vocabulary = _ffi.tamis_token_lists(), c_int64()
            library().tamis_word_ids_get(handle, ctypes.byref(raw), ctypes.byref(vocabulary))
            self.vocabulary: int = vocabulary.value
            self.offsets = np.empty(len(texts) + 1, np.int64)
            ctypes.memmove(pointer(self.offsets, c_int64), raw.starts, self.offsets.nbytes)
            self.ids = np.empty(int(self.offsets[-1]), np.int32)
            if self.ids.size:
                ctypes.memmove(pointer(self.ids, c_int32), raw.ids, self.ids.nbytes)
        finally:
            library().tamis_word_ids_destroy(handle)

    def lists(self, start: int = 0, end: int | None = None) -> TokenLists:
        return TokenLists(self.ids, self.offsets[start : None if end is None else end + 1])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.ids[self.offsets[i] : self.offsets[i + 1]]


def check_texts(texts: Any, argument: str) -> Sequence[Any]:
    if isinstance(texts, (str, bytes)) or not isinstance(texts, (Sequence, np.ndarray)):
        raise InvalidArgumentError(f"{argument} is {type(texts).__name__}, expected a list of texts")
    return texts
