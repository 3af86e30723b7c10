"""Attention paid to the initial token and to other sinks, re-weighted without training: ZeroTuning and ACT.

>>> found = tamis.zero_tuning_search(accuracy, layers=32, heads=32)          # accuracy(gamma [32, 32]) -> float
>>> out = tamis.attention(q, k, v, key0_bias=found.bias[layer])

>>> out = tamis.act_attention(q, k, v, heads=found.heads[layer])             # found = tamis.act_search(accuracy, 32, 32)
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable
from ctypes import c_double, c_float, c_int32, c_int64, c_uint8
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _ffi
from ._arguments import choice, int32, integer, real
from ._arrays import ArrayLike, Tensor, pointer, read, result
from ._lib import Handle, library
from ._progress import Progress, ProgressCallback
from .attention import _COMPUTE, attention_options, output
from .context import Context, default_context, pointer_of
from .errors import BufferTooSmallError, CancelledError, InvalidArgumentError

_UNITS = {
    "heads": _ffi.TAMIS_ZERO_TUNING_HEADS, "layer_heads": _ffi.TAMIS_ZERO_TUNING_LAYER_HEADS,
    "layers": _ffi.TAMIS_ZERO_TUNING_LAYERS,
}

# -------------------------------------------------------------------------------------------------- ZeroTuning


def zero_tuning_bias(gamma: ArrayLike) -> np.ndarray:
    """``ln gamma``: the ``key0_bias`` that multiplies the weight of token 0 by gamma and renormalises (ZeroTuning, arXiv
    2505.11739).

    gamma: floats of any shape, finite and at least 1e-4; 1 gives exactly 0, plain attention. Returns float32 of that shape, for
    ``key0_bias`` of :func:`attention` and of the methods of a :class:`Selector`. Raises InvalidArgumentError.
    """
    values = np.asarray(gamma.detach() if hasattr(gamma, "detach") else gamma, np.float32, order="C")
    bias = np.empty(values.shape, np.float32)
    library().tamis_zero_tuning_bias(pointer(values, c_float), values.size, pointer(bias, c_float))
    return bias


@dataclass(frozen=True)
class ZeroTuningResult:
    """What :func:`zero_tuning_search` found.

    gammas: float32 [layers, heads], 1 where nothing is changed; effects: float64 [units], score at the probe minus the
    baseline; gamma: that of the tuned units, 1 when nothing beat the baseline; baseline, best: scores; up, down, neutral: units
    whose score rose, fell, stayed at the probe; tuned: units that carry gamma; evaluations: calls of the scoring function.
    """

    gammas: np.ndarray
    effects: np.ndarray
    gamma: float
    baseline: float
    best: float
    up: int
    down: int
    neutral: int
    tuned: int
    evaluations: int

    @property
    def bias(self) -> np.ndarray:
        """float32 [layers, heads]: ``key0_bias`` of each layer."""
        return zero_tuning_bias(self.gammas)


def zero_tuning_search(
    score: Callable[[np.ndarray], float | None], layers: int, heads: int, *, unit: str = "heads", probe_gamma: float = 2.0,
    share: float = 0.4, gamma_min: float = 0.25, gamma_max: float = 4.0, gamma_step: float = 0.25,
) -> ZeroTuningResult:
    """Classifies heads and searches gamma (ZeroTuning, arXiv 2505.11739, section 4): the score of every unit at
    ``probe_gamma``; the larger of the classes "rose" and "fell" (of equal ones, the former); in it the units with the largest
    effect; then a grid of gammas with all of them together. Never worse than the baseline.

    Parameters
    ----------
    score
        Takes gammas, float32 [layers, heads]; returns how good the model is with them, higher is better: accuracy on a
        calibration set, or minus the mean entropy of the answers (the unsupervised form). NaN counts as minus infinity; None
        stops the search (CancelledError). An exception ends the search and is raised here. Called ``1 + units + gammas`` times.
    layers, heads
        Query heads of a layer.
    unit
        "heads": one head index in all layers at a time; "layer_heads": every (layer, head); "layers": every layer.
    share
        At most this share of all units is tuned, at least one.
    gamma_min, gamma_max, gamma_step
        The grid; 1, the baseline, is not tried again.

    Of equal scores the baseline wins, then the earlier gamma; of equal effects the lower unit. Raises InvalidArgumentError,
    CancelledError.
    """
    options = _ffi.tamis_zero_tuning_options()
    library().tamis_zero_tuning_options_init(ctypes.byref(options))
    options.layers, options.heads = int32(layers, "layers"), int32(heads, "heads")
    options.unit = choice(unit, _UNITS, "unit")
    options.probe_gamma, options.share = real(probe_gamma, "probe_gamma"), real(share, "share")
    options.gamma_min, options.gamma_max = real(gamma_min, "gamma_min"), real(gamma_max, "gamma_max")
    options.gamma_step = real(gamma_step, "gamma_step")
    if options.layers < 1 or options.heads < 1 or options.layers * options.heads > 1 << 24:
        raise InvalidArgumentError(
            f"layers, heads are {layers}, {heads}, expected each at least 1 and at most {1 << 24} heads in all")
    shape = (options.layers, options.heads)
    units = {"heads": options.heads, "layers": options.layers}.get(unit, options.layers * options.heads)
    gammas, effects = np.empty(shape, np.float32), np.empty(units, np.float64)
    found = _ffi.tamis_zero_tuning_result(ctypes.sizeof(_ffi.tamis_zero_tuning_result))
    raised: list[BaseException] = []

    def call(gamma: Any, n_layers: int, n_heads: int, to: Any, user: Any) -> int:
        try:
            value = score(np.ctypeslib.as_array(gamma, shape).copy())
            if value is None:
                return 0
            to[0] = real(value, "score")
            return 1
        except BaseException as error:  # raised again below; C must not see it
            raised.append(error)
            return 0

    try:
        library().tamis_zero_tuning_search(
            ctypes.byref(options), _ffi.tamis_zero_tuning_score_fn(call), None, pointer(gammas, c_float),
            pointer(effects, c_double), ctypes.byref(found))
    except CancelledError:
        if raised:
            raise raised[0] from None
        raise
    return ZeroTuningResult(
        gammas, effects, found.gamma, found.baseline, found.best, found.up, found.down, found.neutral, found.tuned,
        found.evaluations)


# --------------------------------------------------------------------------------------------------------- ACT


class ActState:
    """Column sums and row counts of one layer's heads, carried from prefill to decode steps of :func:`act_attention`, so that a
    decode row is a row like any other. Grows with the keys.

    q_heads: query heads of the layer. Raises InvalidArgumentError.
    """

    def __init__(self, q_heads: int, *, ctx: Context | None = None) -> None:
        self._context = ctx or default_context()
        self._q_heads = int32(q_heads, "q_heads")
        handle = ctypes.POINTER(_ffi.tamis_act_state)()
        library().tamis_act_state_create(pointer_of(self._context), self._q_heads, ctypes.byref(handle))
        self._handle = Handle(handle, "tamis_act_state_destroy", "ActState", keep=self._context._handle.keep)

    @property
    def context(self) -> Context:
        return self._context

    def reset(self) -> None:
        """Forgets everything: a new sequence."""
        library().tamis_act_state_reset(self._handle.pointer)

    def sinks(self, head: int) -> np.ndarray:
        """The sinks of a query head after the last call, int32, ascending. Raises InvalidArgumentError."""
        n, tokens = c_int64(), np.empty(16, np.int32)
        while True:
            try:
                library().tamis_act_sinks(
                    self._handle.pointer, int32(head, "head"), pointer(tokens, c_int32), len(tokens), ctypes.byref(n))
                return tokens[: n.value].copy()
            except BufferTooSmallError:
                tokens = np.empty(n.value, np.int32)

    def close(self) -> None:
        self._handle.close()

    def __enter__(self) -> ActState:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def act_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, threshold: float = 0.1, beta: float = 0.4, min_rows: int = 1,
    heads: ArrayLike | None = None, state: ActState | None = None, q_offset: int | None = None, window: int | None = None,
    scale: float | None = None, softcap: float | None = None, key0_bias: ArrayLike | None = None, return_lse: bool = False,
    out: ArrayLike | None = None, compute: str = "auto", progress: Progress = False, ctx: Context | None = None,
) -> Any:
    """Causal attention with calibrated heads (ACT, arXiv 2406.15765): weights of sinks other than token 0 times beta, the freed
    mass to the other tokens in proportion to their weights.

    ::

        c_j = mean over the rows that see j of p_ij;   S = {j >= 1 : c_j > threshold};   m_i = sum over S of p_ij
        p'_ij = beta p_ij (j in S),   p_ij (1 + (1 - beta) m_i / (1 - m_i)) (j not in S);   a row with 1 - m_i < 1e-6 stays

    Parameters
    ----------
    q, k, v
        [q_heads, q_len, head_dim] and [kv_heads, k_len, head_dim]: one sequence, dtypes as of :func:`attention`.
    threshold, beta
        Mean weight above which a token is a sink; what a sink's weight is multiplied by, 0 to 1.
    min_rows
        Tokens that fewer rows have seen are no sinks.
    heads
        [q_heads] flags of the heads to calibrate; None: all. Other heads have the bits of :func:`attention`.
    state
        None: the statistics are of this call's rows. Else they are added to those of the calls before with this state, whose
        keys are the first of k; ``q_offset`` must be the number of rows seen.
    return_lse
        Also return the log-sum-exp of the attention before calibration.
    ctx
        None: that of the state, or :func:`default_context`. A CPU context.

    The other arguments and the result are as of :func:`attention`. Raises InvalidArgumentError, UnsupportedError,
    OutOfMemoryError, CancelledError; the state is then as it was.
    """
    tq, tk, tv = read(q, "q"), read(k, "k"), read(v, "v")
    lib = library()
    options, bias = attention_options(
        tq, q_offset=q_offset, window=window, scale=scale, softcap=softcap, key0_bias=key0_bias)
    options.compute = choice(compute, _COMPUTE, "compute")
    act = _ffi.tamis_act_options()
    lib.tamis_act_options_init(ctypes.byref(act))
    act.threshold, act.beta, act.min_rows = real(threshold, "threshold"), real(beta, "beta"), int32(min_rows, "min_rows")
    flags = None
    if heads is not None:
        flags = _flags(heads, tq.shape[0] if tq.ndim == 3 else 0)
        act.heads = pointer(flags, c_uint8)
    if state is not None and not isinstance(state, ActState):
        raise InvalidArgumentError(f"state is a {type(state).__name__}, expected an ActState")
    if ctx is None and state is not None:
        ctx = state.context
    to, o = output(out, q, tq.shape, tq.dtype)
    tl = Tensor.empty(tq.shape[:-1]) if return_lse else None
    with ProgressCallback(progress, "attention", bar=False) as callback:
        options.progress = callback
        lib.tamis_act_attention(
            pointer_of(ctx), ctypes.byref(options), ctypes.byref(act), None if state is None else state._handle.pointer,
            ctypes.byref(tq.c()), ctypes.byref(tk.c()), ctypes.byref(tv.c()), ctypes.byref(to.c()),
            None if tl is None else ctypes.byref(tl.c()))
    del bias, flags  # live as long as the call
    return o() if tl is None else (o(), result(tl, q))


def _flags(heads: Any, count: int) -> np.ndarray:
    array = np.asarray(heads)
    if array.shape != (count,):
        raise InvalidArgumentError(f"heads has shape {list(array.shape)}, expected [{count}]")
    if not np.isin(array, (0, 1)).all():
        raise InvalidArgumentError(f"heads is {array.tolist()}, expected flags, 0 or 1")
    return np.ascontiguousarray(array, np.uint8)


@dataclass(frozen=True)
class ActResult:
    """What :func:`act_search` found.

    heads: bool [layers, heads], the heads to calibrate; effects: float64 [layers, heads], score with that head alone minus the
    baseline, NaN where it was not tried; baseline, best: scores; evaluations: calls of the scoring function.
    """

    heads: np.ndarray
    effects: np.ndarray
    baseline: float
    best: float
    evaluations: int


def act_search(
    score: Callable[[np.ndarray], float | None], layers: int, heads: int, *,
    candidates: Iterable[tuple[int, int]] | None = None,
) -> ActResult:
    """Which heads to calibrate (ACT, arXiv 2406.15765, section 4): one (layer, head) at a time; those that beat the baseline,
    together.
    Should all together score below the best one alone, the answer is that one; never worse than the baseline.

    Parameters
    ----------
    score
        Takes flags, bool [layers, heads]; returns how good the model is with these heads calibrated, higher is better. NaN
        counts as minus infinity; None stops the search (CancelledError).
    candidates
        The (layer, head) pairs to try; None: all. The paper leaves out the first two layers and the last.

    Raises InvalidArgumentError, CancelledError.
    """
    shape = int32(layers, "layers"), int32(heads, "heads")
    for n, name in zip(shape, ("layers", "heads")):
        if n < 1:
            raise InvalidArgumentError(f"{name} is {n}, expected at least 1")
    evaluations = 0

    def evaluate(chosen: Iterable[tuple[int, int]]) -> float:
        nonlocal evaluations
        flags = np.zeros(shape, bool)
        for pair in chosen:
            flags[pair] = True
        value = score(flags)
        evaluations += 1
        if value is None:
            raise CancelledError(f"score returned None at evaluation {evaluations}")
        value = real(value, "score")
        return -math.inf if math.isnan(value) else value

    pairs = [(layer, head) for layer in range(shape[0]) for head in range(shape[1])]
    if candidates is not None:
        pairs = sorted({(integer(layer, "candidates"), integer(head, "candidates")) for layer, head in candidates})
        for layer, head in pairs:
            if not (0 <= layer < shape[0] and 0 <= head < shape[1]):
                raise InvalidArgumentError(f"candidates has ({layer}, {head}), expected pairs below ({shape[0]}, {shape[1]})")
    baseline = evaluate([])
    scores = {pair: evaluate([pair]) for pair in pairs}
    effects = np.full(shape, np.nan)
    for pair, value in scores.items():
        effects[pair] = 0 if value == baseline else value - baseline
    kept = [pair for pair in pairs if scores[pair] > baseline]
    best = baseline
    if kept:
        alone = max(kept, key=lambda pair: scores[pair])  # the first of equal ones
        together = evaluate(kept) if len(kept) > 1 else scores[alone]
        kept, best = (kept, together) if together >= scores[alone] else ([alone], scores[alone])
    flags = np.zeros(shape, bool)
    for pair in kept:
        flags[pair] = True
    return ActResult(flags, effects, baseline, best, evaluations)
