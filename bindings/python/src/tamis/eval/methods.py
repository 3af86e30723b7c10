"""Methods under evaluation: a name of :func:`tamis.sparse_prefill` with its options, and the attention of a prompt with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..attention import attention
from ..context import Context
from ..dhsa import BoundaryPredictor
from ..errors import InvalidArgumentError
from ..sparse_attention import SparseMask, SparseStats, sparse_attention
from ..sparse_prefill import _METHODS, SparseOptions, sparse_prefill, sparse_select

#: Methods whose budget is `density`.
WITH_DENSITY = (
    "dhsa", "dhsa_topk", "dhsa_a", "dhsa_vs", "dhsa_vsb", "block", "compat_dhsa", "compat_dhsa_topk", "compat_dhsa_vsb")
NAMES = tuple(_METHODS)
_OPTIONS = {f.name for f in fields(SparseOptions)} - {"method"}


@dataclass
class EvalMethod:
    """A method, the options it runs with and the name it has in the tables: ``name`` or ``name@variant``."""

    label: str
    #: Fields of :class:`tamis.SparseOptions`.
    options: dict[str, Any] = field(default_factory=dict)
    #: "dhsa" with a predictor: the boundaries that the first layer finds serve all layers.
    share_boundaries: bool = True

    @property
    def name(self) -> str:
        return self.label.split("@", 1)[0]

    @property
    def dense(self) -> bool:
        """Plain exact attention, not lists of all tiles."""
        return self.name == "dense"

    def prompt(self, ctx: Context | None = None) -> PromptAttention:
        """Attention of a new prompt."""
        return PromptAttention(self, ctx)

    def shown(self) -> dict[str, Any]:
        """The options as JSON can say them."""
        def plain(value: Any) -> Any:
            return getattr(value, "path", "predictor") if isinstance(value, BoundaryPredictor) else value

        return {name: plain(value) for name, value in self.options.items()}


class PromptAttention:
    """What one prompt's layers share: the boundaries of "dhsa". Call it for each layer in turn."""

    def __init__(self, method: EvalMethod, ctx: Context | None) -> None:
        self.method, self.ctx = method, ctx
        self.stats = SparseStats()
        self._boundaries: np.ndarray | None = None

    def __call__(self, q: Any, k: Any, v: Any, **rule: Any) -> Any:
        """Output of one layer; q [heads, n, head_dim], k and v [kv_heads, n, head_dim]; rule: as :func:`tamis.attention`."""
        if self.method.dense:
            return attention(q, k, v, ctx=self.ctx, **rule)
        keep = "predictor" in self.method.options and self.method.share_boundaries
        answer = sparse_prefill(
            q, k, v, self.method.name, ctx=self.ctx, stats=self.stats, return_mask=keep, **self._options(), **rule)
        if not keep:
            return answer
        out, mask = answer
        if mask is not None and self._boundaries is None:
            self._boundaries = mask.boundaries
        return out

    def select(self, q: Any, k: Any, **rule: Any) -> SparseMask:
        """The selection alone."""
        options = {name: value for name, value in self._options().items() if name not in ("dense_below", "pv_threshold")}
        mask = sparse_select(q, k, self.method.name, ctx=self.ctx, **options, **rule)
        if self.method.share_boundaries and self._boundaries is None and "predictor" in self.method.options:
            self._boundaries = mask.boundaries
        return mask

    def attend(self, q: Any, k: Any, v: Any, mask: SparseMask, *, return_lse: bool = False, **rule: Any) -> Any:
        """The attention alone."""
        threshold = self.method.options.get("pv_threshold")
        if threshold is None:
            threshold = 50.0 if self.method.name == "sparge" else 0.0
        return sparse_attention(q, k, v, mask, ctx=self.ctx, return_lse=return_lse, pv_threshold=threshold, **rule)

    def _options(self) -> dict[str, Any]:
        options = {"dense_below": 0, **self.method.options}
        if self._boundaries is not None and "predictor" in options:
            del options["predictor"]
            options["boundaries"] = self._boundaries
        return options


def parse_methods(
    labels: Sequence[str], settings: Iterable[str] = (), *, density: float | None = None,
    defaults: dict[str, dict[str, Any]] | None = None, ctx: Context | None = None,
) -> list[EvalMethod]:
    """Methods from the words of a command line.

    labels
        Names of :func:`tamis.sparse_prefill`; ``name@variant`` is the same method a second time, with settings of its own.
    settings
        ``option=value`` for all methods that have not set it, ``name.option=value``, ``name@variant.option=value``; later ones
        win over earlier ones and the more specific over the general. Values are JSON, else text; ``predictor=PATH`` loads it.
    density
        Of the methods whose budget it is.
    defaults
        Options before any setting, by method; "" for all.

    Raises InvalidArgumentError.
    """
    given: dict[str, dict[str, Any]] = {}
    for word in settings:
        target, option, value = _setting(word)
        if target and target not in labels and target not in {label.split("@", 1)[0] for label in labels}:
            raise InvalidArgumentError(f"--set {word}: {target} is none of the methods, {', '.join(labels)}")
        given.setdefault(target, {})[option] = value
    methods = []
    for label in labels:
        name = label.split("@", 1)[0]
        if name not in NAMES:
            raise InvalidArgumentError(f"method is {label!r}, expected one of {', '.join(NAMES)}, or one of them with @variant")
        if label in (method.label for method in methods):
            raise InvalidArgumentError(f"method {label!r} is given twice; {label}@variant gives the second a name of its own")
        own = defaults or {}
        options = {**own.get("", {}), **own.get(name, {})}
        if density is not None and name in WITH_DENSITY:
            options["density"] = density
        for key in dict.fromkeys(("", name, label)):
            options.update(given.get(key, {}))
        if "budget" in options:
            options.pop("density", None)
        options = {key: value for key, value in options.items() if value is not None}
        share = options.pop("share_boundaries", True)
        if isinstance(options.get("predictor"), str):
            options["predictor"] = load_predictor(options["predictor"], ctx)
        if name == "dense":
            # Of its mask, for the picture; attention itself needs none.
            options = {key: value for key, value in options.items() if key in ("query_block", "key_block")}
        methods.append(EvalMethod(label, options, bool(share)))
    return methods


def load_predictor(path: str, ctx: Context | None) -> BoundaryPredictor:
    """A predictor that remembers its file's name, for the report."""
    predictor = BoundaryPredictor.load(path, ctx=ctx)
    predictor.path = Path(path).name  # type: ignore[attr-defined]
    return predictor


def _setting(word: str) -> tuple[str, str, Any]:
    left, sign, text = word.partition("=")
    target, _, option = left.rpartition(".")
    if not sign or option not in _OPTIONS | {"share_boundaries"}:
        raise InvalidArgumentError(
            f"--set {word}: expected option=value or method.option=value, option one of "
            f"{', '.join(sorted(_OPTIONS | {'share_boundaries'}))}")
    try:
        return target, option, json.loads(text)
    except json.JSONDecodeError:
        return target, option, text
