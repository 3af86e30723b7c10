"""Exceptions: one per status of the C library, each also the built-in exception a Python caller would expect."""

from __future__ import annotations


class TamisError(Exception):
    """Base of every error of the library. The text names the argument, its value and what was expected.

    ``status`` is the number of ``tamis_status`` (include/tamis/core.h), ``status_name`` its C name.
    """

    status: int = 0
    status_name: str = "unknown status"


class InvalidArgumentError(TamisError, ValueError):
    """An argument is out of range, or does not fit another one."""

    status, status_name = -1, "TAMIS_ERR_INVALID_ARGUMENT"


class UnsupportedError(TamisError, NotImplementedError):
    """Valid, but this build, device or dtype cannot do it."""

    status, status_name = -2, "TAMIS_ERR_UNSUPPORTED"


class OutOfMemoryError(TamisError, MemoryError):
    """The host or the device has no memory left."""

    status, status_name = -3, "TAMIS_ERR_OUT_OF_MEMORY"


class BufferTooSmallError(TamisError, ValueError):
    """A caller's buffer is too small."""

    status, status_name = -4, "TAMIS_ERR_BUFFER_TOO_SMALL"


class CacheFullError(TamisError, RuntimeError):
    """The KV cache has no free page; nothing was appended."""

    status, status_name = -10, "TAMIS_ERR_CACHE_FULL"


class NotFoundError(TamisError, LookupError):
    """No such sequence or tensor."""

    status, status_name = -11, "TAMIS_ERR_NOT_FOUND"


class FileMissingError(NotFoundError, FileNotFoundError):
    """No such file. Has the status of NotFoundError."""


class FileError(TamisError, OSError):
    """The operating system refused: open, read, write, rename, map."""

    status, status_name = -20, "TAMIS_ERR_IO"


class FormatError(TamisError, ValueError):
    """A file is truncated, corrupt, of another kind or of a newer version."""

    status, status_name = -21, "TAMIS_ERR_FORMAT"


class NoDeviceError(TamisError, RuntimeError):
    """No OpenCL library, platform or matching device."""

    status, status_name = -30, "TAMIS_ERR_NO_DEVICE"


class DeviceError(TamisError, RuntimeError):
    """The OpenCL driver reported an error."""

    status, status_name = -31, "TAMIS_ERR_DEVICE"


class CancelledError(TamisError, RuntimeError):
    """The progress callback returned False."""

    status, status_name = -40, "TAMIS_ERR_CANCELLED"


class InternalError(TamisError, RuntimeError):
    """A bug in tamis; please report the sentence."""

    status, status_name = -99, "TAMIS_ERR_INTERNAL"


class LibraryNotFoundError(TamisError, ImportError):
    """libtamis.so was not found, or is of another version than this package."""


BY_STATUS: dict[int, type[TamisError]] = {
    kind.status: kind
    for kind in (
        InvalidArgumentError, UnsupportedError, OutOfMemoryError, BufferTooSmallError, CacheFullError, NotFoundError,
        FileError, FormatError, NoDeviceError, DeviceError, CancelledError, InternalError,
    )
}


def from_status(status: int, name: str, message: str, *, is_path: bool = False) -> TamisError:
    """The exception of a status that is not OK. ``is_path``: NOT_FOUND means a missing file."""
    kind = BY_STATUS.get(status, TamisError)
    if is_path and kind is NotFoundError:
        kind = FileMissingError
    error = kind(message or name)
    if kind is TamisError:
        error.status, error.status_name = status, name
    return error
