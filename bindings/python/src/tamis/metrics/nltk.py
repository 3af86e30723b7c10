"""BLEU with NLTK's arguments and NLTK 3.10.4's results, to the last bit."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Hashable, Sequence
from typing import Any, Callable

import numpy as np

from .._arrays import pointer
from .._lib import library
from ..context import Context, pointer_of
from ..errors import InvalidArgumentError
from ._bleu import batch, bleu_options, count, finish

_METHODS = tuple(f"method{i}" for i in range(8))


class SmoothingFunction:
    """The smoothings of Chen and Cherry (2014), named as in NLTK. A method is passed to `sentence_bleu`, not called.

    epsilon: what stands for no match (method1); alpha: weight of the prior (method6); k: method4.
    """

    def __init__(self, epsilon: float = 0.1, alpha: float = 5, k: float = 5) -> None:
        self.epsilon, self.alpha, self.k = epsilon, alpha, k


def _named(name: str) -> Callable[..., Any]:
    def method(self: SmoothingFunction, *args: Any, **kwargs: Any) -> Any:
        raise InvalidArgumentError(f"SmoothingFunction.{name} names a smoothing for sentence_bleu and corpus_bleu; it isn't called")

    method.__name__ = method.__qualname__ = name
    return method


for _name in _METHODS:
    setattr(SmoothingFunction, _name, _named(_name))


def _smoothing(function: Any) -> tuple[str, dict[str, float]]:
    """The name and the numbers of a method of ours or of NLTK's SmoothingFunction."""
    if function is None:
        return "method0", {}
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", None)
    if name not in _METHODS or not all(hasattr(owner, field) for field in ("epsilon", "alpha", "k")):
        raise InvalidArgumentError(f"smoothing_function is {function!r}, expected a method of SmoothingFunction")
    numbers = {"alpha": owner.alpha, "k": owner.k}
    if name == "method1":
        numbers["value"] = owner.epsilon
    return name, numbers


def sentence_bleu(
    references: Sequence[Sequence[Hashable]], hypothesis: Sequence[Hashable], weights: Any = (0.25, 0.25, 0.25, 0.25),
    smoothing_function: Any = None, auto_reweigh: bool = False, *, exact: bool = True, ctx: Context | None = None,
) -> Any:
    """BLEU of one hypothesis, 0 to 1; a list of scores for a list of weights. Tokens: ids or anything hashable.

    The same float64 as NLTK 3.10.4. Raises InvalidArgumentError (no reference; method6 without a matching 3-gram, where NLTK asserts).
    """
    return corpus_bleu([references], [hypothesis], weights, smoothing_function, auto_reweigh, exact=exact, ctx=ctx)


def corpus_bleu(
    list_of_references: Sequence[Sequence[Sequence[Hashable]]], hypotheses: Sequence[Sequence[Hashable]],
    weights: Any = (0.25, 0.25, 0.25, 0.25), smoothing_function: Any = None, auto_reweigh: bool = False, *, exact: bool = True,
    ctx: Context | None = None,
) -> Any:
    """BLEU of a corpus, 0 to 1, as NLTK 3.10.4; a list of scores for a list of weights."""
    name, numbers = _smoothing(smoothing_function)
    options = bleu_options("nltk", name, weights=weights, auto_reweigh=auto_reweigh, exact=exact, **numbers)
    orders = max(options.max_n, 5) if name in ("method5", "method7") else options.max_n
    found = batch(hypotheses, list_of_references)
    rows = count(found, orders, ctx=ctx)
    if name == "method0":
        _warn(rows.sum(axis=0)[2 : 2 + options.max_n])
    scores = finish(options, rows, corpus=True)[1]
    assert scores is not None
    return scores.tolist() if len(scores) > 1 else float(scores[0])


def sentence_bleus(
    list_of_references: Any, hypotheses: Any, weights: Any = (0.25, 0.25, 0.25, 0.25), smoothing_function: Any = None,
    auto_reweigh: bool = False, *, exact: bool = True, hypothesis_lengths: Any = None, reference_lengths: Any = None,
    ctx: Context | None = None,
) -> np.ndarray:
    """`sentence_bleu` of many sentences in one call: float64 [n], or [n, lists] for a list of weights. Inputs as
    `tamis.metrics.ngram_statistics`: lists, padded arrays with lengths, candidates [B, K, T], `Ragged`."""
    name, numbers = _smoothing(smoothing_function)
    options = bleu_options("nltk", name, weights=weights, auto_reweigh=auto_reweigh, exact=exact, **numbers)
    found = batch(hypotheses, list_of_references, hypothesis_lengths, reference_lengths)
    scores = np.empty((found.hypotheses.count, max(1, options.weight_lists)))
    library().tamis_bleu(pointer_of(ctx), ctypes.byref(options), *found.arguments(), pointer(scores, ctypes.c_double), None)
    return scores[:, 0] if scores.shape[1] == 1 else scores


def _warn(matches: np.ndarray) -> None:
    if len(matches) == 0 or matches[0] == 0:
        return
    for n, found in enumerate(matches, 1):
        if found == 0:
            warnings.warn(
                f"no {n}-gram of the hypotheses is in their references: BLEU without smoothing is all but 0; see SmoothingFunction",
                stacklevel=3)
