"""safetensors files, memory-mapped."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from typing import Any

from . import _ffi
from ._arrays import foreign, result
from ._lib import Handle, library, read_string
from .errors import NotFoundError


class SafeTensors(Mapping[str, Any]):
    """The tensors of a file by name, in the order of their data: read-only views of the mapped file.

    A value is a numpy array; a :class:`Tensor` for bfloat16 where ml_dtypes is not installed. The file stays mapped while this
    object or any of its arrays lives. A missing name raises KeyError; another dtype than f32, f16, bf16, i8 and i32 raises
    UnsupportedError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        pointer = ctypes.POINTER(_ffi.tamis_weights)()
        lib = library()
        lib.tamis_weights_open(os.fsencode(path), ctypes.byref(pointer))
        self._handle = Handle(pointer, "tamis_weights_close", "SafeTensors")
        count = lib.tamis_weights_count(pointer)
        self._names = [read_string(lib.tamis_weights_name, pointer, i) for i in range(count)]

    def __getitem__(self, name: str) -> Any:
        tensor = _ffi.tamis_tensor()
        try:
            library().tamis_weights_get(self._handle.pointer, str(name).encode(), ctypes.byref(tensor))
        except NotFoundError:
            raise KeyError(name) from None
        return result(foreign(tensor, self._handle), None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_safetensors(path: str | os.PathLike[str]) -> SafeTensors:
    """Maps a file; every offset, size and shape is checked first. Raises FileMissingError, FileError, FormatError."""
    return SafeTensors(path)
