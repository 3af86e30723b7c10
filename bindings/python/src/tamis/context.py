"""Contexts: a device, its worker threads and its scratch memory."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import sys
import threading
from typing import Any

from . import _ffi
from ._arguments import choice, int32
from ._lib import Handle, library, read_string

_DEVICES = {"cpu": _ffi.TAMIS_DEVICE_CPU, "opencl": _ffi.TAMIS_DEVICE_OPENCL}
_TO_LOGGING = {
    _ffi.TAMIS_LOG_ERROR: logging.ERROR, _ffi.TAMIS_LOG_WARNING: logging.WARNING, _ffi.TAMIS_LOG_INFO: logging.INFO,
    _ffi.TAMIS_LOG_DEBUG: logging.DEBUG,
}


class Context:
    """A device with its threads. Calls on one context are serialised inside, so sharing one between threads is safe and using
    one per thread is faster. The GIL is released during calls.

    Parameters
    ----------
    device
        "cpu" or "opencl".
    threads
        Threads used by one call, the caller's included; 0: all cores; at most 1024.
    opencl_index
        Which OpenCL device, counted as in :func:`build_info`.
    log
        A logger that receives the library's messages, up to its effective level at this moment.

    Raises InvalidArgumentError, NoDeviceError, DeviceError, OutOfMemoryError.
    """

    def __init__(
        self, device: str = "cpu", threads: int = 0, *, opencl_index: int = 0, log: logging.Logger | None = None
    ) -> None:
        number = choice(device, _DEVICES, "device")
        lib = library()
        options = _ffi.tamis_context_options()
        lib.tamis_context_options_init(ctypes.byref(options))
        options.device = number
        options.n_threads = int32(threads, "threads")
        options.opencl_index = int32(opencl_index, "opencl_index")
        callback = None
        if log is not None:
            callback = _log_callback(log)
            options.log = callback
            level = log.getEffectiveLevel()
            options.log_level = max((ours for ours, theirs in _TO_LOGGING.items() if theirs >= level), default=0)
        pointer = ctypes.POINTER(_ffi.tamis_context)()
        lib.tamis_context_create(ctypes.byref(options), ctypes.byref(pointer))
        self._handle = Handle(pointer, "tamis_context_destroy", "Context", keep=callback)
        self.device = device

    @property
    def threads(self) -> int:
        """Threads in effect."""
        return int(library().tamis_context_threads(self._handle.pointer))

    @property
    def device_name(self) -> str:
        """"CPU v4x" or the OpenCL device's name."""
        return read_string(library().tamis_context_device_name, self._handle.pointer)

    def close(self) -> None:
        """Ends the worker threads. Caches and selectors made from the context stay usable."""
        self._handle.close()

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"tamis.Context({self.device!r}, threads={self.threads})" if self._handle.alive else "tamis.Context(closed)"


def _log_callback(log: logging.Logger) -> Any:
    def emit(level: int, message: bytes, user: Any) -> None:
        try:
            log.log(_TO_LOGGING.get(level, logging.WARNING), "%s", message.decode(errors="replace"))
        except BaseException:  # C must not see it
            sys.unraisablehook(_Unraisable(*sys.exc_info()))  # type: ignore[arg-type]

    return _ffi.tamis_log_fn(emit)


class _Unraisable:
    def __init__(self, kind: Any, value: Any, trace: Any) -> None:
        self.exc_type, self.exc_value, self.exc_traceback = kind, value, trace
        self.err_msg, self.object = "Exception ignored in a tamis log callback", None


_default: Context | None = None
_default_lock = threading.Lock()


def default_context() -> Context:
    """The CPU context with all cores that functions use when they are given none; made on first use."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Context()
        return _default


def _forget_default() -> None:
    """A forked child has none of the parent's worker threads: it makes its own default context."""
    global _default, _default_lock
    _default_lock = threading.Lock()
    if _default is not None:
        _default._handle.abandon()
        _default = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_default)


def pointer_of(ctx: Context | None) -> Any:
    return (default_context() if ctx is None else ctx)._handle.pointer


def build_info() -> dict[str, Any]:
    """What the library is and what it found on this machine: version, commit, compiler, isa, openblas, zstd, opencl."""
    info: dict[str, Any] = json.loads(read_string(library().tamis_build_info))
    return info


def version() -> str:
    """Version of the loaded library, such as "0.1.0"."""
    return str(library().tamis_version().decode())
