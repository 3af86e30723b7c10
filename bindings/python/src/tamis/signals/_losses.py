"""TL-Training (arXiv 2412.15495) and CAFT (arXiv 2506.07833): weights of token losses."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int32, c_int64, c_uint8
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _ffi
from .._arguments import choice, int32, integer, real
from .._arrays import ArrayLike, pointer
from .._lib import library
from ..errors import InvalidArgumentError
from ..metrics._lists import pack
from ._values import extents, flags, ids, integers, values

#: Classes of tokens of a tool call.
OTHER, KEY, END, NONE = _ffi.TAMIS_CALL_OTHER, _ffi.TAMIS_CALL_KEY, _ffi.TAMIS_CALL_END, _ffi.TAMIS_CALL_NONE


def tool_call_weights(classes: ArrayLike, max_weight: float = 9) -> np.ndarray:
    """Weights of the tokens of one tool call, float64 [n]: ``min(|O| / |K|, max_weight)`` for key tokens where they are fewer
    than the others, 1 for the rest.

    classes: [n] 0 other, 1 key, 2 last token of an argument's value, 255 no response token (weight 0). Dropping the turns
    whose tool answered with an error is the caller's. Raises InvalidArgumentError.
    """
    c = flags(classes, "classes", dims=(1,))
    out = np.empty(len(c))
    library().tamis_tool_call_weights(pointer(c, c_uint8), len(c), real(max_weight, "max_weight"), pointer(out, c_double))
    return out


def tool_call_loss(
    ce: ArrayLike, classes: ArrayLike, *, max_weight: float = 9, q: float = 0, gradient: bool = False,
) -> Any:
    """``sum w f(ce) / sum w``; f is ce for q = 0, else the generalised cross entropy ``(1 - p ** q) / q``, p = exp(-ce).

    gradient: returns (loss, d loss / d ce). Raises InvalidArgumentError.
    """
    x = values(ce, "ce", dims=(1,))
    c = flags(classes, "classes", x.shape)
    loss, slope = c_double(), np.empty(len(x)) if gradient else None
    library().tamis_tool_call_loss(
        pointer(x, c_double), pointer(c, c_uint8), len(x), real(max_weight, "max_weight"), real(q, "q"), ctypes.byref(loss),
        pointer(slope, c_double))
    return (loss.value, slope) if gradient else loss.value


def tool_name_keys(name: ArrayLike, others: Any) -> np.ndarray:
    """Places of the key tokens in a tool's name, int64: 0, and behind the common prefix with each other name that begins alike.

    name, others: token ids of the name and of the other tools' names, as they stand in the call. ``len(name)`` is the token
    behind the name, where another name goes on. Raises InvalidArgumentError.
    """
    n = ids(name, "name")
    lists = pack([[ids(o, f"others[{i}]") for i, o in enumerate(others)]], ["others"])[0]
    places, count = np.empty(lists.count + 1, np.int64), c_int64()
    library().tamis_tool_name_keys(pointer(n, c_int32), len(n), lists.ref(), pointer(places, c_int64), ctypes.byref(count))
    return places[: count.value].copy()


_SCHEDULES = {
    "rsine": _ffi.TAMIS_CAFT_RSINE, "sine": _ffi.TAMIS_CAFT_SINE, "linear": _ffi.TAMIS_CAFT_LINEAR,
    "constant": _ffi.TAMIS_CAFT_CONSTANT, "sine_r": _ffi.TAMIS_CAFT_SINE_R,
}


@dataclass(frozen=True)
class CAFT:
    """``L = L_0 + c s(step) sum_i d^i L_i`` over `heads` auxiliary heads.

    schedule: "rsine", "sine", "linear", "constant" or "sine_r" (a sine up to the share `rise` of the steps, then 1).
    omit_first: without L_0, for training the heads alone. Methods raise InvalidArgumentError.
    """

    heads: int = 4
    schedule: str = "rsine"
    c: float = 0.01
    d: float = 0.8
    rise: float = 0.5
    omit_first: bool = False

    def _options(self, step: int, steps: int) -> Any:
        o = _ffi.tamis_caft_options()
        library().tamis_caft_options_init(ctypes.byref(o))
        o.heads, o.schedule = int32(self.heads, "heads"), choice(self.schedule, _SCHEDULES, "schedule")
        o.omit_first, o.step, o.steps = int(bool(self.omit_first)), integer(step, "step"), integer(steps, "steps")
        o.scale, o.decay, o.rise = real(self.c, "c"), real(self.d, "d"), real(self.rise, "rise")
        return ctypes.byref(o)

    def share(self, step: int, steps: int) -> float:
        """s(step)."""
        s = c_double()
        library().tamis_caft_weights(self._options(step, steps), None, 0, 0, ctypes.byref(s), None)
        return s.value

    def weights(self, labels: ArrayLike, step: int, steps: int) -> np.ndarray:
        """d L / d ce, float64 [heads + 1, *labels.shape], at the logits' places; 0 where there is no label.

        labels: integers [tokens] or [batch, tokens], -100 is none: place t of head i is scored against ``labels[t + 1 + i]``.
        """
        y = integers(labels, "labels")
        if not 0 <= self.heads <= 1024:
            raise InvalidArgumentError(f"heads is {self.heads}, expected 0 to 1024")
        out = np.empty((self.heads + 1, *y.shape))
        library().tamis_caft_weights(
            self._options(step, steps), pointer(y, c_int64), *extents(y.shape), None, pointer(out, c_double))
        return out

    def loss(self, ce: ArrayLike, labels: ArrayLike, step: int, steps: int) -> tuple[float, np.ndarray]:
        """L, and L_i [heads + 1], from cross entropies [heads + 1, *labels.shape] at the logits' places. A head without a label
        adds 0 (PROPOSED)."""
        y = integers(labels, "labels")
        x = values(ce, "ce", (self.heads + 1, *y.shape))
        loss, means = c_double(), np.empty(self.heads + 1)
        library().tamis_caft_loss(
            self._options(step, steps), pointer(x, c_double), pointer(y, c_int64), *extents(y.shape), ctypes.byref(loss),
            pointer(means, c_double))
        return loss.value, means
