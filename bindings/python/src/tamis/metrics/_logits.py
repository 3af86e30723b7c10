"""What logits say of each token: NLL, entropy, ranks, calibration, divergences (include/tamis/logit_metrics.h)."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_float, c_int32, c_int64, c_uint8
from typing import Any, NamedTuple

import numpy as np

from .. import _ffi
from .._arguments import choice, int32, integer, real
from .._arrays import ArrayLike, Tensor, pointer, read
from .._lib import library
from .._progress import Progress, ProgressCallback
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError

FLOATS = (
    "nll", "loss", "lse", "entropy", "varentropy", "collision", "confidence", "margin", "probability", "brier", "top_k_mass", "mean",
)
INTEGERS = ("top", "rank", "ties")
DIVERGENCES = ("kl", "reverse_kl", "js", "total_variation")
SUMS = {
    "nll": _ffi.TAMIS_LOGIT_SUM_NLL, "loss": _ffi.TAMIS_LOGIT_SUM_LOSS, "entropy": _ffi.TAMIS_LOGIT_SUM_ENTROPY,
    "correct": _ffi.TAMIS_LOGIT_SUM_CORRECT, "top_k": _ffi.TAMIS_LOGIT_SUM_TOP_K, "brier": _ffi.TAMIS_LOGIT_SUM_BRIER,
}
NORMS = {"l1": _ffi.TAMIS_CALIBRATION_L1, "l2": _ffi.TAMIS_CALIBRATION_L2, "max": _ffi.TAMIS_CALIBRATION_MAX}


class LogitSummary:
    """Running sums over tokens: pass it to every :func:`logit_metrics` of a text or a corpus.

    sums: which of "nll", "loss", "entropy", "correct", "top_k" and "brier"; each costs what it needs. n_bins: bins of the
    confidence calibration (torchmetrics 1.9.0 takes 15), 0 for none. Any split of the rows gives the same bits.
    """

    def __init__(self, *sums: str, n_bins: int = 0) -> None:
        self._raw = _ffi.tamis_logit_summary(struct_size=ctypes.sizeof(_ffi.tamis_logit_summary))
        for name in sums or ("nll",):
            self._raw.sums |= choice(name, SUMS, "sums")
        n_bins = int32(n_bins, "n_bins")
        if not 0 <= n_bins <= 65536:
            raise InvalidArgumentError(f"n_bins is {n_bins}, expected 0 to 65536")
        #: float64 [n_bins + 1, 3]: tokens, sum of confidences, correct ones.
        self.bins = np.zeros((n_bins + 1 if n_bins else 0, 3))
        self._raw.n_bins = n_bins
        if n_bins:
            self._raw.bins = pointer(self.bins, c_double)

    @property
    def tokens(self) -> int:
        """Tokens that were neither ignored nor NaN."""
        return int(self._raw.tokens)

    @property
    def nan_rows(self) -> int:
        """Rows with NaN or +inf, which add nothing else."""
        return int(self._raw.nan_rows)

    def _sum(self, name: str) -> float:
        if not self._raw.sums & SUMS[name]:
            raise InvalidArgumentError(f"sums lacks {name!r}, expected LogitSummary({name!r}, ..)")
        return float(getattr(self._raw, {"top_k": "within_top_k"}.get(name, name)))

    def mean(self, name: str = "nll") -> float:
        """Mean over the tokens of "nll", "loss", "entropy", "correct" (accuracy), "top_k" (hits) or "brier"; NaN without tokens."""
        choice(name, SUMS, "name")
        total = self._sum(name)
        return total / self.tokens if self.tokens else float("nan")

    def total(self, name: str = "nll") -> float:
        """The sum itself."""
        choice(name, SUMS, "name")
        return self._sum(name)

    def perplexity(self, units: float | None = None) -> float:
        """exp(NLL / units): of tokens by default; word or byte perplexity with their number."""
        return float(library().tamis_perplexity(self._sum("nll"), self.tokens if units is None else real(units, "units")))

    def bits_per_byte(self, n_bytes: float) -> float:
        """NLL / (ln 2 n_bytes); bits per character with the number of characters."""
        return float(library().tamis_bits_per_unit(self._sum("nll"), real(n_bytes, "n_bytes")))

    def calibration_error(self, norm: str = "l1") -> float:
        """Expected calibration error, "l1", "l2" or "max", as torchmetrics 1.9.0 bins it."""
        if not len(self.bins):
            raise InvalidArgumentError("n_bins is 0, expected LogitSummary(n_bins=15)")
        error = c_double()
        library().tamis_calibration_error(
            pointer(self.bins, c_double), len(self.bins) - 1, choice(norm, NORMS, "norm"), ctypes.byref(error))
        return error.value


def _targets(targets: Any, z: Tensor) -> np.ndarray:
    if hasattr(targets, "detach"):
        targets = targets.detach().numpy()
    array = np.asarray(targets)
    if array.dtype.kind not in "iu" or array.shape != z.shape[:-1]:
        raise InvalidArgumentError(f"targets is {array.dtype}{list(array.shape)}, expected integers {list(z.shape[:-1])}")
    if array.size and array.dtype.itemsize >= 4 and array.dtype != np.int32:
        wide = (array > 2**31 - 1) | (array < -(2**31))
        if wide.any():
            raise InvalidArgumentError(f"targets holds {array[wide].flat[0]}, expected 32-bit ids")
    return np.ascontiguousarray(array, np.int32)


def _rows(logits: ArrayLike, name: str) -> Tensor:
    z = read(logits, name)
    if z.ndim not in (2, 3) or 0 in z.shape:
        raise InvalidArgumentError(f"{name} is {z.dtype}{list(z.shape)}, expected [T, V] or [B, T, V]")
    return z


def _options(temperature: float, label_smoothing: float = 0, top_k: int = 1, ignore_index: int = -100) -> Any:
    options = _ffi.tamis_logit_options()
    library().tamis_logit_options_init(ctypes.byref(options))
    options.temperature = real(temperature, "temperature")
    options.label_smoothing = real(label_smoothing, "label_smoothing")
    options.top_k, options.ignore_index = int32(top_k, "top_k"), int32(ignore_index, "ignore_index")
    return options


def logit_metrics(
    logits: ArrayLike, targets: ArrayLike | None = None, *outputs: str, temperature: float = 1, label_smoothing: float = 0,
    top_k: int = 1, ignore_index: int = -100, summary: LogitSummary | None = None, progress: Progress = False,
    ctx: Context | None = None,
) -> dict[str, np.ndarray]:
    """Statistics of every row of logits [T, V] or [B, T, V] (float32, float16, bfloat16; any strides), in one pass.

    targets: integers [T] or [B, T], or `ignore_index` where a row is skipped. outputs: of those that need targets "nll", "loss"
    (with `label_smoothing`), "probability", "brier", "rank" (1 + number larger), "ties"; of the others "lse", "entropy",
    "varentropy", "collision", "confidence", "margin", "top_k_mass", "mean", "top". Default: "nll", or nothing with `summary`.
    Returns a dict of float32 (top, rank, ties int32) arrays [T] or [B, T]; nats. A row with NaN or +inf gives NaN; a skipped
    one 0 (top -1). Raises InvalidArgumentError.
    """
    z = _rows(logits, "logits")
    names = outputs or (() if summary is not None else ("nll",))
    raw = _ffi.tamis_logit_outputs(struct_size=ctypes.sizeof(_ffi.tamis_logit_outputs))
    found: dict[str, np.ndarray] = {}
    for name in names:
        if name not in FLOATS + INTEGERS:
            raise InvalidArgumentError(f"outputs has {name!r}, expected of {', '.join(FLOATS + INTEGERS)}")
        kind = (np.float32, c_float) if name in FLOATS else (np.int32, c_int32)
        found[name] = np.empty(z.shape[:-1], kind[0])
        setattr(raw, name, pointer(found[name], kind[1]))
    ids = None if targets is None else _targets(targets, z)
    options = _options(temperature, label_smoothing, top_k, ignore_index)
    with ProgressCallback(progress, "logits", bar=False) as callback:
        options.progress = callback
        library().tamis_logit_metrics(
            pointer_of(ctx), ctypes.byref(options), ctypes.byref(z.c()), pointer(ids, c_int32),
            ctypes.byref(raw) if found else None, None if summary is None else ctypes.byref(summary._raw))
    return found


def logit_divergence(
    p: ArrayLike, q: ArrayLike, *outputs: str, temperature: float = 1, progress: Progress = False, ctx: Context | None = None,
) -> dict[str, np.ndarray]:
    """Divergences of softmax(p) and softmax(q), row by row: "kl" (default), "reverse_kl", "js", "total_variation"; float32 [T] or
    [B, T], nats. p and q: [T, V] or [B, T, V] of any float dtypes. Raises InvalidArgumentError."""
    first, second = _rows(p, "p"), _rows(q, "q")
    raw = _ffi.tamis_divergence_outputs(struct_size=ctypes.sizeof(_ffi.tamis_divergence_outputs))
    found: dict[str, np.ndarray] = {}
    for name in outputs or ("kl",):
        if name not in DIVERGENCES:
            raise InvalidArgumentError(f"outputs has {name!r}, expected of {', '.join(DIVERGENCES)}")
        found[name] = np.empty(first.shape[:-1], np.float32)
        setattr(raw, name, pointer(found[name], c_float))
    options = _options(temperature)
    with ProgressCallback(progress, "divergence", bar=False) as callback:
        options.progress = callback
        library().tamis_logit_divergence(
            pointer_of(ctx), ctypes.byref(options), ctypes.byref(first.c()), ctypes.byref(second.c()), ctypes.byref(raw))
    return found


def contrastive_log_probs(
    positive: ArrayLike, negative: ArrayLike, targets: ArrayLike, beta: float = 1, *, ignore_index: int = -100,
    ctx: Context | None = None,
) -> np.ndarray:
    """ln softmax((1 + beta) positive - beta negative)[target] of every row, float32 (cDPO, arXiv 2411.19943): low where the model
    of wrong answers would say the token and that of right ones would not. Raises InvalidArgumentError."""
    first, second = _rows(positive, "positive"), _rows(negative, "negative")
    ids = _targets(targets, first)
    out = np.empty(first.shape[:-1], np.float32)
    options = _options(1, ignore_index=ignore_index)
    library().tamis_contrastive_log_probs(
        pointer_of(ctx), ctypes.byref(options), ctypes.byref(first.c()), ctypes.byref(second.c()), pointer(ids, c_int32),
        real(beta, "beta"), pointer(out, c_float))
    return out


class TemperatureFit(NamedTuple):
    temperature: float
    #: Mean NLL of the targets at that temperature, nats.
    nll: float
    passes: int


def fit_temperature(
    logits: ArrayLike, targets: ArrayLike, *, start: float = 1, ignore_index: int = -100, progress: Progress = False,
    ctx: Context | None = None,
) -> TemperatureFit:
    """The temperature in 1/1000 to 1000 with the least NLL, by Newton's method from `start`: one pass over the logits a step.
    Raises InvalidArgumentError."""
    z = _rows(logits, "logits")
    ids = _targets(targets, z)
    temperature, nll, passes = c_double(), c_double(), c_int32()
    options = _options(start, ignore_index=ignore_index)
    with ProgressCallback(progress, "temperature", bar=False) as callback:
        options.progress = callback
        library().tamis_fit_temperature(
            pointer_of(ctx), ctypes.byref(options), ctypes.byref(z.c()), pointer(ids, c_int32), ctypes.byref(temperature),
            ctypes.byref(nll), ctypes.byref(passes))
    return TemperatureFit(temperature.value, nll.value, passes.value)


def adaptive_calibration_error(confidence: ArrayLike, correct: ArrayLike, n_bins: int = 15, norm: str = "l1") -> float:
    """Calibration error with bins of equal mass: confidences [n] in 0 to 1, correct [n] booleans. Raises InvalidArgumentError."""
    c = np.ascontiguousarray(confidence, np.float32).reshape(-1)
    right = np.ascontiguousarray(np.asarray(correct).reshape(-1) != 0, np.uint8)
    if len(c) != len(right):
        raise InvalidArgumentError(f"correct has {len(right)} entries, expected {len(c)}, as confidence")
    error = c_double()
    library().tamis_adaptive_calibration_error(
        pointer(c, c_float), pointer(right, c_uint8), len(c), int32(n_bins, "n_bins"), choice(norm, NORMS, "norm"),
        ctypes.byref(error))
    return error.value


def sliding_windows(tokens: int, window: int, stride: int) -> list[tuple[int, int, int]]:
    """(begin, scored, end) of every window over a text: the model sees tokens [begin, end), and [scored, end) count, each token
    once. Raises InvalidArgumentError."""
    shape = integer(tokens, "tokens"), integer(window, "window"), integer(stride, "stride")
    count = c_int64()
    library().tamis_sliding_window_count(*shape, ctypes.byref(count))
    found = []
    for i in range(count.value):
        begin, scored, end = c_int64(), c_int64(), c_int64()
        library().tamis_sliding_window(*shape, i, ctypes.byref(begin), ctypes.byref(scored), ctypes.byref(end))
        found.append((begin.value, scored.value, end.value))
    return found


class Perplexity:
    """Perplexity with torchmetrics' `update` and `compute`; logits [B, T, V] (not probabilities), targets [B, T]. Unlike its
    softmax().log(), a token of tiny probability does not give infinity. Raises InvalidArgumentError."""

    def __init__(self, ignore_index: int | None = None, *, ctx: Context | None = None) -> None:
        self._ignore = -100 if ignore_index is None else int32(ignore_index, "ignore_index")
        self._ctx = ctx
        self.reset()

    def reset(self) -> None:
        self.summary = LogitSummary("nll")

    def update(self, preds: ArrayLike, target: ArrayLike) -> None:
        logit_metrics(preds, target, summary=self.summary, ignore_index=self._ignore, ctx=self._ctx)

    def compute(self) -> float:
        return self.summary.perplexity()
