"""Peak memory of a call: the high-water mark of the process's resident set (Linux), set back before it.

Writing 5 to /proc/self/clear_refs sets VmHWM to VmRSS (proc(5), Linux 4.0). Freed heap is returned to the system first, so that
a call cannot hide in memory that an earlier one left.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Any


class PeakMemory:
    """Bytes by which the resident set rose within a ``with`` block, at its highest; None where the system does not tell.

    >>> with PeakMemory() as peak:
    ...     call()
    >>> peak.bytes
    """

    bytes: int | None = None

    def __enter__(self) -> PeakMemory:
        gc.collect()
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (AttributeError, OSError):
            pass
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            self._before = None
        else:
            self._before = _status("VmRSS")
        return self

    def __exit__(self, *_: Any) -> None:
        after = _status("VmHWM")
        if self._before is not None and after is not None:
            self.bytes = max(0, after - self._before)


def peak_of_process() -> int | None:
    """High-water mark of the resident set since the process began or a PeakMemory set it back; bytes."""
    return _status("VmHWM")


def _status(name: str) -> int | None:
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None
