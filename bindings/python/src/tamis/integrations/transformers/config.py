"""What a model's attention does: TamisConfig, and how it is attached to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...context import Context
from ...dhsa import BoundaryPredictor
from ...errors import InvalidArgumentError, UnsupportedError
from ...retrieval import DenseAttention, Method, StreamingLLM, TokenSelect
from .calls import Statistics

#: Methods of `TamisConfig.prefill` that list key tiles (tamis.sparse_prefill), then those that read a TamisCache.
SPARSE_PREFILL = (
    "dhsa", "dhsa_topk", "dhsa_a", "dhsa_vs", "dhsa_vsb", "block", "a_shape", "vertical_slash", "block_topk", "minference",
    "flexprefill", "xattention", "sparge",
)
CACHED_PREFILL = ("streaming", "tokenselect")
PREFILL = ("dense", *SPARSE_PREFILL, *CACHED_PREFILL)
DECODE = ("dense", "streaming", "tokenselect", "dhsa")
POSITIONS = ("auto", "compact", "natural")


@dataclass
class TamisConfig:
    """The attention of a model in libtamis. ``configure(model, config)`` attaches it; one config may serve several models.

    Prefill (calls with many queries)
    ---------------------------------
    prefill
        "dense"; a sparse prefill method: "dhsa", "dhsa_topk", "dhsa_a", "dhsa_vs", "dhsa_vsb", "block", "a_shape",
        "vertical_slash", "block_topk", "minference", "flexprefill", "xattention", "sparge" (:func:`tamis.sparse_prefill`); or
        "tokenselect", "streaming": the decode methods, which serve a prompt in chunks and need a :class:`TamisCache`.
    density, budget, coverage, query_block, key_block, sinks, local, instruction_tokens
        Options of the sparse methods; None is the method's own default (include/tamis/sparse_prefill.h).
    dense_below
        Prompts of fewer keys are dense; None: 4096.
    options
        Further keyword arguments of :func:`tamis.sparse_prefill`.
    predictor
        A :class:`tamis.BoundaryPredictor` for "dhsa" (prefill or decode), or the path of its weights; None: chunks of one
        length.
    share_boundaries
        "dhsa": the boundaries that the first sparse layer finds serve all layers.
    share_masks
        The tiles that the first sparse layer of a kind (sliding, full) selects serve the other layers of that kind.
    dense_layers
        The first so many layers are dense, at prefill and at decode; or a list of layers.
    sparse_sliding
        Sparse prefill in sliding-window layers as well.

    Decode (one query, or up to decode_up_to after a prompt)
    --------------------------------------------------------
    decode
        "dense", "streaming", "tokenselect" or "dhsa". All but dense need a :class:`TamisCache`. Sliding-window layers are dense
        within their window.
    top_k, n_sink, n_recent, chunk, similarity
        Budget of "tokenselect" and "streaming" (:class:`tamis.TokenSelect`, :class:`tamis.StreamingLLM`).
    positions
        "compact": attended tokens are renumbered, so the model never sees a position beyond the budget; needs a rotary
        embedding
        that :class:`tamis.RoPE` can say. "natural": tokens stand where they stand in the text. "auto": compact where possible.
    decode_budget
        Tokens a step of "dhsa" attends, the first `sinks` and the last `local` (128 each, unless given above) among them.
    decode_up_to
        Calls of up to so many queries on a filled cache count as decode (speculative decoding, rests of chunked prompts).

    Sinks
    -----
    gamma
        ZeroTuning (arXiv 2505.11739): the weight of a text's first token times gamma, renormalised. A number, [heads] or
        [layers, heads]; at least 1e-4; 1 changes nothing.

    act
        ACT (arXiv 2406.15765): flags [layers, heads] of the heads in which sinks other than the first token lose weight; the
        `heads`
        of :func:`tamis.act_search`. A layer with such a head is dense, and at decode reads all its keys; no beams.
    act_options
        `threshold`, `beta`, `min_rows` of :func:`tamis.act_attention`.

    ctx: a :class:`tamis.Context`; None: :func:`tamis.default_context`.

    Raises InvalidArgumentError, which lists the names that are known.
    """

    prefill: str = "dense"
    density: float | None = None
    budget: int | None = None
    coverage: float | None = None
    query_block: int | None = None
    key_block: int | None = None
    sinks: int | None = None
    local: int | None = None
    instruction_tokens: int | None = None
    dense_below: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    predictor: Any = None
    share_boundaries: bool = True
    share_masks: bool = False
    dense_layers: int | Sequence[int] = 0
    sparse_sliding: bool = False

    decode: str = "dense"
    top_k: int = 2048
    n_sink: int = 128
    n_recent: int = 512
    chunk: int = 512
    similarity: float | None = 0.9
    positions: str = "auto"
    decode_budget: int = 2048
    decode_up_to: int = 16

    gamma: Any = None
    act: Any = None
    act_options: Mapping[str, Any] = field(default_factory=dict)
    ctx: Context | None = None

    def __post_init__(self) -> None:
        _one_of(self.prefill, PREFILL, "prefill")
        _one_of(self.decode, DECODE, "decode")
        _one_of(self.positions, POSITIONS, "positions")
        if self.density is not None and not 0 < self.density <= 1:
            raise InvalidArgumentError(f"density is {self.density!r}, expected a number above 0 and up to 1")
        for name in ("top_k", "n_sink", "n_recent", "decode_budget", "decode_up_to"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise InvalidArgumentError(f"{name} is {value!r}, expected an integer of at least 0")
        if self.predictor is not None and "dhsa" not in (self.prefill, self.decode):
            raise InvalidArgumentError(
                f"predictor is given, but prefill is {self.prefill!r} and decode {self.decode!r}; only 'dhsa' has one")
        if self.gamma is not None:
            gamma = np.asarray(self.gamma, np.float64)
            if gamma.ndim > 2 or not np.all(np.isfinite(gamma)) or not np.all(gamma >= 1e-4):
                raise InvalidArgumentError(
                    "gamma: expected a number, [heads] or [layers, heads] of finite numbers of at least 1e-4")

        if self.act is not None:
            flags = np.asarray(self.act)
            if flags.ndim != 2 or not np.isin(flags, (0, 1)).all():
                raise InvalidArgumentError(f"act has shape {list(flags.shape)}, expected flags [layers, heads]")

    def apply(self, model: Any) -> Any:
        """:func:`configure`; returns the model."""
        return configure(model, self)

    @property
    def needs_cache(self) -> bool:
        """Does it need a TamisCache?"""
        return self.decode != "dense" or self.prefill in CACHED_PREFILL

    def sparse_options(self) -> dict[str, Any]:
        """Keyword arguments of tamis.sparse_prefill."""
        named = {
            name: value
            for name in ("density", "budget", "coverage", "query_block", "key_block", "sinks", "local", "instruction_tokens",
                         "dense_below")
            if (value := getattr(self, name)) is not None
        }
        return {**named, **self.options}

    def is_dense_layer(self, layer: int) -> bool:
        dense = self.dense_layers
        return layer < dense if isinstance(dense, int) else layer in dense


def _one_of(value: Any, names: Sequence[str], argument: str) -> None:
    if value not in names:
        raise InvalidArgumentError(f"{argument} is {value!r}, expected one of {', '.join(map(repr, names))}")


class LayerState:
    """What one attention module of a model needs at a call; the library's side of `module.layer_idx`."""

    def __init__(
        self, model: ModelState, layer: int, heads: int, bias: tuple[float, ...] | None, act: np.ndarray | None = None
    ) -> None:
        self.model = model
        self.config = model.config
        self.layer = layer
        self.heads = heads
        self.dense = model.config.is_dense_layer(layer)
        #: ln gamma of each head; None where all are 1.
        self.bias = bias
        #: Which heads ACT calibrates; None: none of them.
        self.act = act
        self._methods: dict[Any, Method] = {}

    def method(self, kind: str, positions: str, window: int | None, scale: float | None, softcap: float | None) -> Method:
        """The method of a tamis.Selector."""
        key = (kind, positions, window, scale, softcap)
        found = self._methods.get(key)
        if found is None:
            c = self.config
            common = {"scale": scale, "softcap": softcap, "key0_bias": self.bias}
            if kind == "dense":
                found = DenseAttention(window=window, **common)
            else:
                budget = {
                    "n_sink": c.n_sink, "n_recent": c.n_recent, "chunk": min(c.chunk, c.n_recent), "positions": positions}
                found = (
                    StreamingLLM(**budget, **common) if kind == "streaming"
                    else TokenSelect(top_k=c.top_k, similarity=c.similarity, **budget, **common))
            self._methods[key] = found
        return found

    def __deepcopy__(self, memo: Any) -> LayerState:
        return self


class ModelState:
    """A config attached to a model, what its layers share within one forward pass, and its statistics."""

    def __init__(self, config: TamisConfig) -> None:
        self.config = config
        self.statistics = Statistics()
        #: What earlier layers of this pass left for later ones.
        self.shared: dict[Any, Any] = {}
        #: ACT's statistics of the texts in transformers' own caches: (layer, batch element) -> tamis.ActState.
        self.act_states: dict[Any, Any] = {}
        self.sparse_options = config.sparse_options()
        self._last_layer = -1
        self._predictor = config.predictor

    def begin(self, layer: int) -> None:
        """A layer's call begins. Layers come in order: one that is not after the last begins a new pass."""
        if layer <= self._last_layer:
            self.shared.clear()
        self._last_layer = layer

    @property
    def predictor(self) -> Any:
        """The config's BoundaryPredictor, loaded once."""
        if self._predictor is not None and not isinstance(self._predictor, BoundaryPredictor):
            self._predictor = BoundaryPredictor.load(self._predictor, ctx=self.config.ctx)
        return self._predictor


def configure(model: Any, config: TamisConfig | None = None) -> Any:
    """Attaches a config to a transformers model, replacing the one before, and returns the model. What takes effect is
    ``model.set_attn_implementation("tamis")``. None: dense attention.

    Raises InvalidArgumentError (a gamma or act that does not fit the model), UnsupportedError (no attention layers that use
    transformers' AttentionInterface).
    """
    config = TamisConfig() if config is None else config
    modules = [m for m in model.modules() if isinstance(getattr(m, "layer_idx", None), int) and hasattr(m, "scaling")]
    if not modules:
        raise UnsupportedError(f"{type(model).__name__} has no attention layers that transformers' AttentionInterface serves")
    text = model.config.get_text_config(decoder=True)
    heads = text.num_attention_heads
    layers = text.num_hidden_layers
    bias = None
    if config.gamma is not None:
        gamma = np.asarray(config.gamma, np.float64)
        try:
            bias = np.log(np.broadcast_to(gamma, (layers, heads)))
        except ValueError:
            raise InvalidArgumentError(
                f"gamma has shape {list(gamma.shape)}, expected a number, [{heads}] or [{layers}, {heads}]") from None
    act = None if config.act is None else np.asarray(config.act, np.uint8)
    if act is not None and act.shape != (layers, heads):
        raise InvalidArgumentError(f"act has shape {list(act.shape)}, expected [{layers}, {heads}]")
    state = ModelState(config)
    for module in modules:
        i = module.layer_idx
        own = None if bias is None or not bias[i].any() else tuple(float(x) for x in bias[i])
        module._tamis = LayerState(state, i, heads, own, None if act is None or not act[i].any() else act[i])
    return model


def state_of(model: Any) -> ModelState | None:
    """What :func:`configure` attached."""
    for module in model.modules():
        found = module.__dict__.get("_tamis")
        if found is not None:
            return found.model
    return None


def statistics(model: Any) -> Statistics:
    """The statistics of a configured model. Raises InvalidArgumentError where :func:`configure` was not called."""
    state = state_of(model)
    if state is None:
        raise InvalidArgumentError("the model has no TamisConfig: call tamis.integrations.transformers.configure(model) first")
    return state.statistics
