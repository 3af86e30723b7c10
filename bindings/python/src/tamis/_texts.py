"""Texts on their way to C and back: UTF-8 across, and what a caller gave comes back as the same kind."""

from __future__ import annotations

from typing import Any, TypeVar

from .errors import InvalidArgumentError

Text = TypeVar("Text", str, bytes)


def text_bytes(text: Any, argument: str = "text") -> bytes:
    """UTF-8 of a text; lone surrogates, which Python strings may hold, cross as they are."""
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    if isinstance(text, (bytes, bytearray, memoryview)):
        return bytes(text)
    raise InvalidArgumentError(f"{argument} is {type(text).__name__}, expected str or bytes")


def text_string(data: bytes) -> str:
    """The string of some UTF-8; U+FFFD for bytes that are none."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def like_text(found: bytes, text: Text) -> Text:
    return text_string(found) if isinstance(text, str) else found
