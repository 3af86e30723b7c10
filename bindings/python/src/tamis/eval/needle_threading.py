"""Needle Threading tasks (arXiv 2411.05000; include/tamis/needle_threading.h): haystacks of UUID pairs, questions that follow
one or many of them, scores, effective context length."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .. import _ffi
from .._arguments import choice, int32, integer, real
from .._arrays import pointer
from .._lib import Handle, library, read_string
from .._texts import text_bytes
from ..errors import InvalidArgumentError

KINDS = {
    "single": _ffi.TAMIS_NEEDLE_SINGLE, "multiple": _ffi.TAMIS_NEEDLE_MULTIPLE, "conditional": _ffi.TAMIS_NEEDLE_CONDITIONAL,
    "threading": _ffi.TAMIS_NEEDLE_THREADING, "multi-threading": _ffi.TAMIS_NEEDLE_MULTI_THREADING,
}
PLACEMENTS = {"random": _ffi.TAMIS_NEEDLE_RANDOM, "clustered": _ffi.TAMIS_NEEDLE_CLUSTERED}
DIRECTIONS = {
    "forward": _ffi.TAMIS_THREAD_FORWARD, "backward": _ffi.TAMIS_THREAD_BACKWARD, "random": _ffi.TAMIS_THREAD_RANDOM}


@dataclass(frozen=True)
class NeedleScore:
    """A reply against the answers: `correct` when all were found (conditional: and nothing else); `accuracy` is matched /
    expected."""

    correct: bool
    expected: int
    predicted: int
    matched: int
    accuracy: float
    precision: float
    f1: float


class NeedleTask:
    """A haystack of UUID pairs, its question and its answers.

    >>> task = NeedleTask("threading", pairs=100, thread_length=3, direction="random")
    >>> task.score(reply_of_a_model(task.prompt())).accuracy

    Parameters
    ----------
    kind
        "single", "multiple", "conditional", "threading" or "multi-threading".
    pairs
        80 characters each; 25 make the data set's smallest text.
    seed
        0 is the data set's repeat 0; other repeats take their number (our choice).
    depth
        single: 0 to 100 per cent.
    needles, placement, character
        multiple and conditional: how many keys, "random" or "clustered"; conditional: the character that marks them.
    thread_length, direction, threads
        threading: pairs of a chain, "forward", "backward" or "random"; multi-threading: how many chains.

    Attributes
    ----------
    haystack : str
    keys, answers : list of str
        Keys asked for (conditional: those that hold the character) and the values wanted, in order.
    positions : int64 [n]
        Pairs that are needles; multi-threading: chain after chain.

    Raises InvalidArgumentError.
    """

    def __init__(
        self, kind: str = "single", *, pairs: int = 25, seed: int = 0, depth: float = 50.0, needles: int = 1,
        placement: str = "random", character: str = "*", thread_length: int = 2, direction: str = "forward", threads: int = 1,
    ) -> None:
        if not isinstance(character, str) or len(character) != 1:
            raise InvalidArgumentError(f"character is {character!r}, expected one character")
        if not 0 <= integer(seed, "seed", 64) < 2**64:
            raise InvalidArgumentError(f"seed is {seed}, expected 0 to 2^64 - 1")
        options = _ffi.tamis_needle_options(ctypes.sizeof(_ffi.tamis_needle_options))
        options.kind = choice(kind, KINDS, "kind")
        options.pairs, options.seed, options.depth = integer(pairs, "pairs"), seed, real(depth, "depth")
        options.needles, options.placement = int32(needles, "needles"), choice(placement, PLACEMENTS, "placement")
        options.conditional_character = ord(character)
        options.thread_length = int32(thread_length, "thread_length")
        options.direction, options.threads = choice(direction, DIRECTIONS, "direction"), int32(threads, "threads")
        handle = ctypes.POINTER(_ffi.tamis_needle_task)()
        library().tamis_needle_task_create(ctypes.byref(options), ctypes.byref(handle))
        self._handle = Handle(handle, "tamis_needle_task_destroy", "NeedleTask")
        view = _ffi.tamis_needle_view(ctypes.sizeof(_ffi.tamis_needle_view))
        library().tamis_needle_task_get(handle, ctypes.byref(view))
        self.kind, self.pairs, self.seed = kind, int(pairs), int(seed)
        self.haystack: str = view.haystack.decode("ascii")
        self.keys = [view.keys[i].decode("ascii") for i in range(view.n_keys)]
        self.answers = [view.answers[i].decode("ascii") for i in range(view.n_answers)]
        self.positions = np.ctypeslib.as_array(view.positions, (view.n_positions,)).copy()

    def prompt(self, template: str | None = None) -> str:
        """The prompt: `template` with {haystack}, {keys} and {character} replaced. None: our own wording, which ends where the
        answer begins; the data set's is in its `question` field, which is not at hand here."""
        data = None if template is None else text_bytes(template, "template")
        return read_string(library().tamis_needle_task_prompt, self._handle.pointer, data)

    def score(self, reply: str | bytes) -> NeedleScore:
        """A reply against the answers; see include/tamis/needle_threading.h."""
        data = text_bytes(reply, "reply")
        raw = _ffi.tamis_needle_score(ctypes.sizeof(_ffi.tamis_needle_score))
        library().tamis_needle_task_score(self._handle.pointer, data, len(data), ctypes.byref(raw))
        found = {field.name: getattr(raw, field.name) for field in fields(NeedleScore)}
        return NeedleScore(**{**found, "correct": bool(raw.correct)})


def effective_context_length(lengths: Sequence[float], accuracies: Sequence[float], threshold: float = 0.75) -> float:
    """Where accuracy first falls below the threshold, in the unit of `lengths` [n], which ascend; accuracy is linear between
    them over the logarithm of the length. 0: below it at the smallest; the largest length: never.
    Raises InvalidArgumentError."""
    x, y = (np.ascontiguousarray(v, np.float64) for v in (lengths, accuracies))
    if x.ndim != 1 or x.shape != y.shape:
        raise InvalidArgumentError(f"lengths is {list(x.shape)} and accuracies {list(y.shape)}, expected [n] of both")
    out = c_double()
    library().tamis_effective_context_length(
        pointer(x, c_double), pointer(y, c_double), len(x), real(threshold, "threshold"), ctypes.byref(out))
    return out.value


def wilson_interval(won: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a share; (0, 1) of no trials. Raises InvalidArgumentError."""
    low, high = c_double(), c_double()
    library().tamis_wilson_interval(
        integer(won, "won"), integer(trials, "trials"), real(z, "z"), ctypes.byref(low), ctypes.byref(high))
    return low.value, high.value
