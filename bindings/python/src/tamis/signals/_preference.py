"""cDPO (arXiv 2411.19943) and T-REG (arXiv 2412.02685): preference optimisation with weights or rewards per token."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int64, c_uint8
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _ffi
from .._arguments import choice, integer, real
from .._arrays import ArrayLike, pointer
from .._lib import library
from ._values import extents, integers, optional_flags, values

_SIDES = {"chosen": _ffi.TAMIS_ANSWER_CHOSEN, "rejected": _ffi.TAMIS_ANSWER_REJECTED}
_REDUCTIONS = {"sum_then_sigmoid": _ffi.TAMIS_SUM_THEN_SIGMOID, "code_compat": _ffi.TAMIS_BY_POSITION}


def cdpo_weights(
    scores: ArrayLike, side: str = "rejected", *, only_negative: bool = True, log: bool = False, append_eos: bool = True,
    leading_zero: bool = False,
) -> np.ndarray:
    """Token weights from contrastive scores s_t: ``1 - s`` of a rejected answer, ``s`` of a chosen one. float64.

    Parameters
    ----------
    scores
        [n] s_t in [0, 1], or ln s_t with `log`.
    only_negative
        Weights of a chosen answer are 1.
    append_eos
        One more weight, 1, for the EOS that training appends.
    leading_zero
        One weight, 0, before the others: the code's rule for Qwen, which has no BOS. 1 where `only_negative` makes all 1.

    Raises InvalidArgumentError.
    """
    s = values(scores, "scores", dims=(1,))
    options = _ffi.tamis_cdpo_weight_options()
    library().tamis_cdpo_weight_options_init(ctypes.byref(options))
    options.side = choice(side, _SIDES, "side")
    options.only_negative, options.log_scores = int(bool(only_negative)), int(bool(log))
    options.append_eos, options.leading_zero = int(bool(append_eos)), int(bool(leading_zero))
    weights = np.empty(len(s) + options.append_eos + options.leading_zero)
    library().tamis_cdpo_weights(ctypes.byref(options), pointer(s, c_double), len(s), pointer(weights, c_double))
    return weights


@dataclass
class Answers:
    """One side of pairs: log-probabilities [tokens] or [batch, tokens] of the answers' own tokens.

    weights: cDPO's token weights (None: 1) or T-REG's token rewards; mask: response tokens (None: all).
    """

    policy: ArrayLike
    reference: ArrayLike
    weights: ArrayLike | None = None
    mask: ArrayLike | None = None


@dataclass(frozen=True)
class PairLoss:
    """loss: mean over pairs; losses: [batch]; chosen_gradient, rejected_gradient: of `loss` by the policy's log-probabilities;
    pair_weights: T-REG's w, [batch]."""

    loss: float
    losses: np.ndarray
    chosen_gradient: np.ndarray | None = None
    rejected_gradient: np.ndarray | None = None
    pair_weights: np.ndarray | None = None


class _Side:
    """The struct of an `Answers`, and the arrays it points into."""

    def __init__(self, answers: Answers, name: str, shape: Any, gradient: bool) -> None:
        self.policy = values(answers.policy, f"{name}.policy", shape)
        self.shape = shape = self.policy.shape
        self.reference = values(answers.reference, f"{name}.reference", shape)
        self.weights = None if answers.weights is None else values(answers.weights, f"{name}.weights", shape)
        self.mask = optional_flags(answers.mask, f"{name}.mask", shape)
        self.gradient = np.empty(shape) if gradient else None
        raw = self.c = _ffi.tamis_answers()
        raw.policy, raw.reference = pointer(self.policy, c_double), pointer(self.reference, c_double)
        raw.weights, raw.response = pointer(self.weights, c_double), pointer(self.mask, c_uint8)
        raw.gradient = pointer(self.gradient, c_double)


def cdpo_loss(
    chosen: Answers, rejected: Answers, beta: float = 0.1, *, reduction: str = "sum_then_sigmoid", gradient: bool = False,
) -> PairLoss:
    """Token-weighted DPO.

    reduction: "sum_then_sigmoid", ``-ln sigmoid(beta (sum w+ D+ - sum w- D-))`` with D = policy - reference (PROPOSED: what the
    paper's text says); "code_compat", the released code: the sigmoid position by position, averaged over all positions.
    Both sides have one shape. gradient: also the gradients. Raises InvalidArgumentError.
    """
    a = _Side(chosen, "chosen", None, gradient)
    b = _Side(rejected, "rejected", a.shape, gradient)
    batch, tokens = extents(a.shape)
    loss, losses = c_double(), np.empty(batch)
    library().tamis_cdpo_loss(
        ctypes.byref(a.c), ctypes.byref(b.c), batch, tokens, real(beta, "beta"), choice(reduction, _REDUCTIONS, "reduction"),
        ctypes.byref(loss), pointer(losses, c_double))
    return PairLoss(loss.value, losses, a.gradient, b.gradient)


def critical_token(correct: ArrayLike, samples: int = 64, *, tolerance: int = 3) -> int | None:
    """The place of the critical token of a wrong answer, by rollouts.

    correct: [n] right answers among `samples` continuations of each prefix, by length. The first prefix with none is the
    candidate; it falls when a later prefix has more than `tolerance`, and the search goes on. None: no prefix has none. Raises
    InvalidArgumentError.
    """
    c = integers(correct, "correct", dims=(1,))
    place = c_int64()
    library().tamis_critical_token(
        pointer(c, c_int64), len(c), integer(samples, "samples"), integer(tolerance, "tolerance"), ctypes.byref(place))
    return None if place.value < 0 else place.value


def pass_at_k(correct: ArrayLike, n: int, k: int) -> np.ndarray:
    """``1 - C(n - c, k) / C(n, k)`` for each count c of right answers among n samples: float64 [len(correct)]."""
    c = integers(correct, "correct", dims=(1,))
    out = np.empty(len(c))
    library().tamis_pass_at_k(pointer(c, c_int64), len(c), integer(n, "n"), integer(k, "k"), pointer(out, c_double))
    return out


def treg_rewards(better: ArrayLike, worse: ArrayLike) -> np.ndarray:
    """Token rewards ``sigmoid(better - worse) - 0.5``, float64 of the inputs' shape.

    better, worse: log-probabilities by the reference model of one answer's tokens, after the prompt that asks for a better
    revision and the one that asks for a worse. Raises InvalidArgumentError.
    """
    b = values(better, "better")
    w = values(worse, "worse", b.shape)
    out = np.empty(b.shape)
    library().tamis_treg_rewards(pointer(b, c_double), pointer(w, c_double), b.size, pointer(out, c_double))
    return out


def treg_loss(
    chosen: Answers, rejected: Answers, *, beta: float = 0.1, alpha: float = 0.25, weighted: bool = True,
    stop_gradient: bool = True, gradient: bool = False,
) -> PairLoss:
    """``L_DPO + alpha w (L_REG(chosen) + L_REG(rejected))``, ``L_REG = -sum beta reward policy``.

    ``Answers.weights`` are the token rewards of each side. weighted: w = sigmoid(r(rejected) - r(chosen)), else 1.
    stop_gradient: w is a constant in the gradients (PROPOSED). Raises InvalidArgumentError.
    """
    options = _ffi.tamis_treg_options()
    library().tamis_treg_options_init(ctypes.byref(options))
    options.beta, options.alpha = real(beta, "beta"), real(alpha, "alpha")
    options.weighted, options.stop_gradient = int(bool(weighted)), int(bool(stop_gradient))
    a = _Side(chosen, "chosen", None, gradient)
    b = _Side(rejected, "rejected", a.shape, gradient)
    batch, tokens = extents(a.shape)
    loss, losses, pair_weights = c_double(), np.empty(batch), np.empty(batch)
    library().tamis_treg_loss(
        ctypes.byref(options), ctypes.byref(a.c), ctypes.byref(b.c), batch, tokens, ctypes.byref(loss),
        pointer(losses, c_double), pointer(pair_weights, c_double))
    return PairLoss(loss.value, losses, a.gradient, b.gradient, pair_weights)
