"""Finds and loads libtamis.so, declares its functions and turns statuses into exceptions."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import _ffi
from .errors import LibraryNotFoundError, from_status

_lock = threading.Lock()
_loaded: ctypes.CDLL | None = None


def library() -> Any:
    """The library, loaded on first use. Its fallible functions raise TamisError instead of returning a status.

    Raises LibraryNotFoundError, which lists every path that was tried.
    """
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _load()
    return _loaded


def _candidates() -> Iterator[str]:
    """Where the library may be, best first. TAMIS_LIBRARY_PATH (a file or a folder) rules out every other place."""
    override = os.environ.get("TAMIS_LIBRARY_PATH")
    if override:
        path = Path(override)
        yield str(path / "libtamis.so") if path.is_dir() else str(path)
        return
    package = Path(__file__).resolve().parent
    bundled = sorted((package / "lib").glob("libtamis.so*"))
    yield from map(str, bundled or [package / "lib" / "libtamis.so"])
    for folder in package.parents:
        if (folder / "Package.swift").is_file() and (folder / "include" / "tamis.h").is_file():
            yield str(folder / ".build" / "release" / "libtamis.so")
            yield str(folder / "build" / "libtamis.so")
            break
    yield ctypes.util.find_library("tamis") or "libtamis.so.0"


def _load() -> ctypes.CDLL:
    tried = []
    for path in _candidates():
        if os.sep in path and not os.path.exists(path):
            tried.append(f"{path}: no such file")
            continue
        try:
            lib = ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{path}: {error}")
            continue
        _check_version(lib, path)
        _declare(lib)
        return lib
    raise LibraryNotFoundError(
        "libtamis.so was not found; build it with `swift build -c release --product tamis`, or set TAMIS_LIBRARY_PATH. Tried:\n  "
        + "\n  ".join(tried))


def _check_version(lib: ctypes.CDLL, path: str) -> None:
    try:
        number = lib.tamis_version_number
    except AttributeError:
        raise LibraryNotFoundError(f"{path} is not libtamis: it has no tamis_version_number") from None
    number.restype, number.argtypes = ctypes.c_uint32, ()
    found, wanted = number(), _ffi.TAMIS_VERSION_NUMBER
    # While the major version is 0, a minor version may change the ABI.
    same = found // 1000 == wanted // 1000 if wanted < 1000000 else found // 1000000 == wanted // 1000000 and found >= wanted
    if not same:
        raise LibraryNotFoundError(
            f"{path} is version {_dotted(found)}, but this package was made for {_dotted(wanted)}; "
            "another installation may stand first in the search path (see TAMIS_LIBRARY_PATH)")


def _dotted(number: int) -> str:
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"


def _declare(lib: ctypes.CDLL) -> None:
    def checker(is_path: bool) -> Any:
        def check(status: int, function: Any, arguments: Any) -> int:
            if status != _ffi.TAMIS_OK:
                # The text is per thread and errcheck runs on the calling one.
                raise from_status(
                    status, lib.tamis_status_name(status).decode(), lib.tamis_last_error().decode(errors="replace"),
                    is_path=is_path)
            return status

        return check

    for name, (result, arguments) in _ffi.FUNCTIONS.items():
        try:
            function = getattr(lib, name)
        except AttributeError:
            raise LibraryNotFoundError(f"{lib._name} lacks {name}, which this version of the package needs") from None
        function.restype = result
        function.argtypes = arguments
        if name in _ffi.FALLIBLE:
            function.errcheck = checker(name in _ffi.OPENS_FILES)


def read_string(function: Any, *arguments: Any) -> str:
    """Calls a (.., buffer, capacity, needed) function twice: for the length, then for the text."""
    needed = ctypes.c_size_t(0)
    capacity = 256
    while True:
        buffer = ctypes.create_string_buffer(capacity)
        try:
            function(*arguments, buffer, capacity, ctypes.byref(needed))
        except ValueError:
            if needed.value + 1 <= capacity:
                raise
            capacity = needed.value + 1
            continue
        return buffer.value.decode()


class Handle:
    """A C handle that is destroyed once: by close(), or when this object is collected.

    `keep` stays alive until the handle is destroyed (callbacks that C may still call).
    """

    def __init__(self, pointer: Any, destroy: str, what: str, keep: Any = None) -> None:
        self._pointer = pointer
        self._what = what
        self.keep = keep
        self._finalizer = weakref.finalize(self, _destroy, getattr(library(), destroy), pointer, keep)

    @property
    def pointer(self) -> Any:
        """The pointer to pass to C. Raises ValueError once closed."""
        if not self._finalizer.alive:
            raise ValueError(f"{self._what} is closed")
        return self._pointer

    @property
    def alive(self) -> bool:
        return self._finalizer.alive

    def close(self) -> None:
        self._finalizer()

    def abandon(self) -> None:
        """Forgets the handle without destroying it: in a forked child, whose worker threads do not exist."""
        self._finalizer.detach()


def _destroy(function: Any, pointer: Any, keep: Any) -> None:
    function(pointer)
