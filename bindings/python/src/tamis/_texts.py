"""Texts on their way to C and back: UTF-8 across, and what a caller gave comes back as the same kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from .errors import InvalidArgumentError

Text = TypeVar("Text", str, bytes)


def text_bytes(text: Any, argument: str = "text") -> bytes:
    """UTF-8 of a text; lone surrogates, which Python strings may hold, cross as they are."""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    raise InvalidArgumentError(f"{argument} is {type(text).__name__}, expected str or bytes")


def joined_texts(texts: Sequence[Any], argument: str = "texts") -> tuple[bytes, np.ndarray]:
    """UTF-8 of some texts one after another, and where each begins, int64 [n + 1]."""
    try:
        whole = "".join(texts)
        data = whole.encode()
        lengths = list(map(len, texts if len(data) == len(whole) else map(str.encode, texts)))
    except (TypeError, UnicodeEncodeError):  # bytes among them, or lone surrogates
        parts = [text_bytes(text, f"{argument}[{i}]") for i, text in enumerate(texts)]
        data, lengths = b"".join(parts), list(map(len, parts))
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return data, starts


def text_string(data: bytes) -> str:
    """The string of some UTF-8; U+FFFD for bytes that are none."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def like_text(found: bytes, text: Text) -> Text:
    return text_string(found) if isinstance(text, str) else found
