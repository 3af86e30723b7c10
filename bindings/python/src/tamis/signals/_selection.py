"""ssToken (arXiv 2510.18250): which response tokens to train on."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int64, c_uint8
from typing import Any, NamedTuple

import numpy as np

from .. import _ffi
from .._arguments import choice, integer, number, real
from .._arrays import ArrayLike, pointer, read, write
from .._lib import library
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from ._values import extents, flags, integers, values

_RULES = {"mask": _ffi.TAMIS_PROMPT_MASK, "prefix": _ffi.TAMIS_PROMPT_PREFIX}
_SCOPES = {"sample": _ffi.TAMIS_TOKENS_OF_SAMPLE, "batch": _ffi.TAMIS_TOKENS_OF_BATCH}
_ROUNDINGS = {"up": _ffi.TAMIS_ROUND_UP, "down": _ffi.TAMIS_ROUND_DOWN}


def prompt_attention(attention: ArrayLike, prompt: ArrayLike, *, rule: str = "mask", ctx: Context | None = None) -> np.ndarray:
    """Mean over heads of the attention each token pays to the prompt, float64 [tokens].

    Parameters
    ----------
    attention
        Softmax rows of one layer, [heads, tokens, tokens], float32, float16 or bfloat16.
    prompt
        Mask [tokens] of prompt tokens, of all turns: ``labels == -100``.
    rule
        "mask"; "prefix", as the official code: the first n tokens, n of them in the mask.

    Raises InvalidArgumentError.
    """
    a = read(attention, "attention")
    if a.ndim != 3:
        raise InvalidArgumentError(f"attention is {a.dtype}{list(a.shape)}, expected [heads, tokens, tokens]")
    p = flags(prompt, "prompt", (a.shape[2],))
    mass = np.empty(a.shape[1])
    library().tamis_prompt_attention(
        pointer_of(ctx), ctypes.byref(a.c()), pointer(p, c_uint8), choice(rule, _RULES, "rule"), pointer(mass, c_double))
    return mass


def prompt_attention_from_keys(
    q: ArrayLike, k: ArrayLike, prompt: ArrayLike, *, rule: str = "mask", scale: float | None = None,
    softcap: float | None = None, window: int = 0, ctx: Context | None = None,
) -> np.ndarray:
    """The same from what a model with fused attention has, without a table of weights: float64 [tokens].

    Parameters
    ----------
    q, k
        [q_heads, tokens, head_dim] and [kv_heads, tokens, head_dim] of one layer, rotated, as :func:`tamis.attention` takes
        them; ``q.transpose(0, 1)`` of [tokens, q_heads, head_dim] is not copied.
    scale
        None: 1 / sqrt(head_dim).

    Raises InvalidArgumentError, UnsupportedError (dtype or head_dim).
    """
    tq, tk = read(q, "q"), read(k, "k")
    if tq.ndim != 3 or tk.ndim != 3:
        raise InvalidArgumentError(f"q is {list(tq.shape)} and k {list(tk.shape)}, expected [heads, tokens, head_dim] of both")
    options = _ffi.tamis_attention_options()
    library().tamis_attention_options_init(ctypes.byref(options))
    options.scale, options.softcap = number(scale, "scale"), number(softcap, "softcap")
    options.window = integer(window, "window")
    p = flags(prompt, "prompt", (tk.shape[1],))
    mass = np.empty(tq.shape[1])
    library().tamis_prompt_attention_keys(
        pointer_of(ctx), ctypes.byref(options), ctypes.byref(tq.c()), ctypes.byref(tk.c()), pointer(p, c_uint8),
        choice(rule, _RULES, "rule"), pointer(mass, c_double))
    return mass


class TokenScores(NamedTuple):
    """excess: REL = history - current; scores: what tokens are ranked by. float64, 0 outside responses."""

    excess: np.ndarray
    scores: np.ndarray


def sstoken_scores(
    current: ArrayLike, history: ArrayLike, labels: ArrayLike, attention: ArrayLike | None = None, *, gamma: float = 0.5,
) -> TokenScores:
    """``gamma norm(history - current) + (1 - gamma) attention`` of response tokens.

    Parameters
    ----------
    current, history
        Losses of the model and of its own history, [tokens] or [batch, tokens]; NaN is allowed outside responses.
    labels
        Integers of the same shape; -100 is no response token.
    attention
        :func:`prompt_attention` of each sample; may be None with gamma 1.

    Raises InvalidArgumentError.
    """
    y = integers(labels, "labels")
    c, h = values(current, "current", y.shape), values(history, "history", y.shape)
    a = None if attention is None else values(attention, "attention", y.shape)
    excess, scores = np.empty(y.shape), np.empty(y.shape)
    library().tamis_sstoken_scores(
        pointer(c, c_double), pointer(h, c_double), pointer(a, c_double), pointer(y, c_int64), *extents(y.shape),
        real(gamma, "gamma"), pointer(excess, c_double), pointer(scores, c_double))
    return TokenScores(excess, scores)


def select_tokens(
    scores: ArrayLike, labels: ArrayLike, ratio: float = 0.6, *, scope: str = "sample", rounding: str = "up",
) -> np.ndarray:
    """Labels of the response tokens with the largest scores, -100 elsewhere: int64, of the shape of `labels`.

    Keeps ``ceil(n * ratio)`` of the n response tokens of each sample, or of the batch (`scope`); floor with rounding "down".
    Ties go to the lower index. Raises InvalidArgumentError.
    """
    y = integers(labels, "labels")
    s = values(scores, "scores", y.shape)
    selected = np.empty(y.shape, np.int64)
    library().tamis_select_tokens(
        pointer(s, c_double), pointer(y, c_int64), *extents(y.shape), real(ratio, "ratio"),
        choice(rounding, _ROUNDINGS, "rounding"), choice(scope, _SCOPES, "scope"), pointer(selected, c_int64), None)
    return selected


def sstoken(
    current: ArrayLike, history: ArrayLike, labels: ArrayLike, attention: ArrayLike | None = None, *, gamma: float = 0.5,
    ratio: float = 0.6, scope: str = "sample",
) -> np.ndarray:
    """ssToken's new labels: :func:`sstoken_scores`, then :func:`select_tokens`."""
    return select_tokens(sstoken_scores(current, history, labels, attention, gamma=gamma).scores, labels, ratio, scope=scope)


def excess_loss_labels(
    base: ArrayLike, reference: ArrayLike, labels: ArrayLike, ratio: float = 0.6, *, scope: str = "sample",
) -> np.ndarray:
    """The loss-only baseline: the ``int(n * ratio)`` response tokens with the largest base loss - reference loss keep their
    labels."""
    y = integers(labels, "labels")
    difference = values(base, "base", y.shape) - values(reference, "reference", y.shape)
    return select_tokens(difference, y, ratio, scope=scope, rounding="down")


def ema_update(history: ArrayLike, current: ArrayLike, alpha: float, *, ctx: Context | None = None) -> Any:
    """``history = alpha * history + (1 - alpha) * current``, in place; returns `history`.

    Weights of one shape, float32, float16 or bfloat16; history is writable with contiguous rows. A half-precision history loses
    updates below its resolution. Raises InvalidArgumentError.
    """
    h, c = write(history, "history"), read(current, "current")
    library().tamis_ema_update(pointer_of(ctx), ctypes.byref(h.c()), ctypes.byref(c.c()), real(alpha, "alpha"))
    return history
