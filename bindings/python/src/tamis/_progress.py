"""Progress callbacks: Python exceptions stay on the Python side, and tqdm is used where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Union

from . import _ffi

#: None: a tqdm bar on a terminal, if tqdm is installed. False: silent. A function of the share done in [0, 1]: called now and
#: then; returning False cancels (CancelledError), an exception cancels and is raised by the call.
Progress = Union[None, bool, Callable[[float], Any]]

NO_CALLBACK = _ffi.tamis_progress_fn()


class ProgressCallback:
    """``with ProgressCallback(progress, "save") as callback:`` gives the C callback, alive inside the block."""

    def __init__(self, progress: Progress, description: str, *, bar: bool = True) -> None:
        self._function: Callable[[float], Any] | None = None
        self._bar: Any = None
        self._error: BaseException | None = None
        if callable(progress):
            self._function = progress
        elif (progress is None and bar) or progress is True:
            self._bar = _bar(description)
            if self._bar is not None:
                self._function = self._update_bar

    def __enter__(self) -> Any:
        if self._function is None:
            return NO_CALLBACK
        self._callback = _ffi.tamis_progress_fn(self._call)
        return self._callback

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            if kind is None:
                self._update_bar(1.0)
            self._bar.close()
        if self._error is not None:
            raise self._error from None

    def _call(self, done: float, user: Any) -> int:
        if self._error is not None:
            return 0
        try:
            assert self._function is not None
            return 0 if self._function(done) is False else 1
        except BaseException as error:  # raised again by __exit__; C must not see it
            self._error = error
            return 0

    def _update_bar(self, done: float) -> None:
        self._bar.update(round(100 * done) - self._bar.n)


def _bar(description: str) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    return tqdm(total=100, desc=description, unit="%", disable=None, leave=False)
