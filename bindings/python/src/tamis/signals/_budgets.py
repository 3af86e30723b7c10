"""RMT (arXiv 2509.24375): token budgets, entropy tiers, curriculum."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int64, c_uint8
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .. import _ffi
from .._arguments import integer, real
from .._arrays import ArrayLike, pointer
from .._lib import library
from ..errors import InvalidArgumentError
from ._values import flags, integers, optional_flags, values


class Tiers(NamedTuple):
    """tiers: uint8, 0 easy, 1 medium, 2 hard, 255 not used; thresholds: the two entropies between them."""

    tiers: np.ndarray
    thresholds: tuple[float, float]


def entropy_tiers(
    entropies: ArrayLike, mask: ArrayLike | None = None, *, thresholds: tuple[float, float] | None = None,
) -> Tiers:
    """Tiers of tokens by the entropy (nats) of the model's prediction, of the shape of `entropies`.

    thresholds: easy up to the first, medium up to the second; None: the terciles of the tokens in the mask (PROPOSED).
    Raises InvalidArgumentError.
    """
    e = values(entropies, "entropies")
    m = optional_flags(mask, "mask", e.shape)
    ends = None if thresholds is None else values(thresholds, "thresholds", (2,))
    tiers, used = np.empty(e.shape, np.uint8), np.empty(2)
    library().tamis_rmt_tiers(
        pointer(e, c_double), pointer(m, c_uint8), e.size, pointer(ends, c_double), pointer(tiers, c_uint8),
        pointer(used, c_double))
    return Tiers(tiers, (float(used[0]), float(used[1])))


@dataclass(frozen=True)
class TokenBudgets:
    """The schedules of a run of `steps` training steps.

    first_budget, least_budget, decay: ``B_t = max(least, floor(first * decay ** (t / steps)))``; phases: until the first share
    of the steps the tiers are drawn with probabilities `first`, from the second on with `second`, and in between on a line
    between them; reward ``(1 - length_weight) [right] + length_weight r_len``, r_len at most `largest_reward`. The mixtures,
    length_weight and largest_reward are PROPOSED. Methods raise InvalidArgumentError.
    """

    steps: int = 1000
    first_budget: int = 800
    least_budget: int = 1
    decay: float = 0.2
    phases: tuple[float, float] = (0.3, 0.7)
    first: tuple[float, float, float] = (0.6, 0.3, 0.1)
    second: tuple[float, float, float] = (0.1, 0.3, 0.6)
    length_weight: float = 0.1
    largest_reward: float = 1.0

    def _options(self) -> Any:
        o = _ffi.tamis_rmt_options()
        library().tamis_rmt_options_init(ctypes.byref(o))
        o.steps, o.first_budget = integer(self.steps, "steps"), integer(self.first_budget, "first_budget")
        o.least_budget, o.decay = integer(self.least_budget, "least_budget"), real(self.decay, "decay")
        for name, n in (("phases", 2), ("first", 3), ("second", 3)):
            if len(getattr(self, name)) != n:
                raise InvalidArgumentError(f"{name} is {getattr(self, name)}, expected {n} numbers")
        o.phase1, o.phase2 = (real(x, "phases") for x in self.phases)
        o.easy1, o.medium1, o.hard1 = (real(x, "first") for x in self.first)
        o.easy2, o.medium2, o.hard2 = (real(x, "second") for x in self.second)
        o.length_weight = real(self.length_weight, "length_weight")
        o.largest_reward = real(self.largest_reward, "largest_reward")
        return ctypes.byref(o)

    def budget(self, step: int) -> int:
        """B_t in tokens."""
        budget = c_int64()
        library().tamis_rmt_schedule(self._options(), integer(step, "step"), ctypes.byref(budget), None)
        return budget.value

    def probabilities(self, step: int) -> np.ndarray:
        """float64 [3]: easy, medium, hard."""
        out = np.empty(3)
        library().tamis_rmt_schedule(self._options(), integer(step, "step"), None, pointer(out, c_double))
        return out

    def rewards(self, step: int, correct: ArrayLike, lengths: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Rewards of answers, and r_len alone: float64 [n] each. correct: booleans [n]; lengths: tokens [n]."""
        lengths = integers(lengths, "lengths", dims=(1,))
        c = flags(correct, "correct", lengths.shape)
        out = np.empty((2, len(c)))
        library().tamis_rmt_rewards(
            self._options(), integer(step, "step"), pointer(c, c_uint8), pointer(lengths, c_int64), len(c),
            pointer(out[0], c_double), pointer(out[1], c_double))
        return out[0], out[1]

    def sample(self, step: int, tiers: ArrayLike, draws: int, *, seed: int = 0) -> np.ndarray:
        """Places of drawn tokens, int64 [draws], with replacement: a tier by the step's probabilities, then a token of it.

        tiers: of :func:`entropy_tiers`; of [batch, tokens] places are of the flattened array. Same seed, same draws, on every
        machine (SplitMix64; tamis/token_signals.h says how its numbers are used).
        """
        t = flags(tiers, "tiers").reshape(-1)
        n = integer(draws, "draws")
        out = np.empty(max(n, 0), np.int64)
        library().tamis_rmt_sample(
            self._options(), integer(step, "step"), integer(seed, "seed", 64) % 2**64, pointer(t, c_uint8), len(t), n,
            pointer(out, c_int64))
        return out
