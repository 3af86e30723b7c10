"""TamisCache: the keys and values of a transformers model in the library's cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from ..._arrays import dtype_name
from ...context import Context
from ...errors import InvalidArgumentError
from ...kv import KVCache, KVMemory, RoPE, Sequence
from .config import CACHED_PREFILL, POSITIONS, state_of
from .positions import rope_of

_MAX_ROWS = 2**31 - 1
_DEFAULT_TOKENS = 2**22


class CachedStates(torch.Tensor):
    """What TamisCache.update gives where transformers expects all keys or values: the new ones, and where the others are. Only
    the
    attention of this package can read it; anything else is an error."""

    states: torch.Tensor
    layer: TamisLayer

    @classmethod
    def of(cls, states: torch.Tensor, layer: TamisLayer) -> CachedStates:
        seen = states.as_subclass(cls)
        seen.states, seen.layer = states, layer
        return seen

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("__get__", "size", "dim", "as_subclass"):
            return super().__torch_function__(func, types, args, kwargs or {})
        raise InvalidArgumentError(
            "a TamisCache holds the keys and values: only attn_implementation='tamis' can read it "
            "(model.set_attn_implementation('tamis')), or pass another cache")


class TamisLayer(CacheLayerMixin):
    """One layer of a TamisCache: how long it is, and the keys and values that wait for the attention call to say which are
    padding."""

    is_sliding = False
    is_croppable = True
    supports_early_init = False

    def __init__(self, cache: TamisCache, index: int) -> None:
        super().__init__()
        self.cache = cache
        self.index = index
        #: Tokens of a batch element, padding included.
        self.length = 0
        self._pending: tuple[torch.Tensor, torch.Tensor] | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.is_initialized = True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self._pending is not None:
            raise InvalidArgumentError(
                f"layer {self.index} was updated twice without attention in between: the last pass failed, or another "
                "attn_implementation than 'tamis' is set; call reset() on the cache")
        self.lazy_initialization(key_states, value_states)
        self.cache._prepare(key_states)
        self._pending = key_states, value_states
        self.length += key_states.shape[-2]
        return CachedStates.of(key_states, self), CachedStates.of(value_states, self)

    def take(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The new keys and values [batch, kv_heads, n, head_dim], once."""
        if self._pending is None:
            raise InvalidArgumentError(f"layer {self.index} of the TamisCache has no new keys and values")
        pending, self._pending = self._pending, None
        return pending

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        self.length, self._pending = 0, None

    @property
    def batch_size(self) -> int:
        return len(self.cache.texts)


class Text:
    """One batch element: its sequences, one for each store, and how its tokens lie in the batch."""

    def __init__(self, sequences: list[Sequence]) -> None:
        self.sequences = sequences
        #: Padding tokens before the text.
        self.pad = 0
        #: Position that the model gave the first token.
        self.first_position = 0
        #: Chunks of DHSA decode: layer -> tamis.ChunkIndex, and the boundaries its prompt was given.
        self.chunks: dict[int, Any] = {}
        self.boundaries: dict[int, Any] = {}

    def fork(self) -> Text:
        twin = Text([s.fork() for s in self.sequences])
        twin.pad, twin.first_position = self.pad, self.first_position
        twin.boundaries = dict(self.boundaries)
        return twin

    def close(self) -> None:
        for s in self.sequences:
            s.close()


class Store:
    """Layers with one rotary rule share a tamis.KVCache."""

    def __init__(self, rope: RoPE | None) -> None:
        self.rope = rope
        self.layers: list[int] = []
        self.kv: KVCache | None = None


class TamisCache(Cache):
    """Keys and values in a :class:`tamis.KVCache`; attention at decode reads them there, in full or the few that a method
    selects.
    Pass it to ``generate(cache=..)`` or to the model's forward; needs ``attn_implementation="tamis"``.

    model
        The model, configured or not; from its config come layers and rotary rule.
    dtype
        Storage: "f32", "f16", "bf16" or "i8" (a scale for each row); None: the model's.
    scoring_copy
        "bf16" or "i8": a second copy of the keys that TokenSelect scores instead of the keys.
    max_tokens
        Capacity over the whole batch, in tokens; memory is taken page by page. None: 4 million.
    page_tokens
        A multiple of 16.
    positions
        "compact": keys are turned back to what they were before rotation, and "tokenselect" and "streaming" renumber the
        tokens they
        attend. Needs a rotary embedding that :class:`tamis.RoPE` can say. "natural": keys are stored as the model rotated them.
        "auto": compact where the model's TamisConfig uses such a method and asks for it, or says "auto" and the embedding
        allows it.
    ctx
        None: that of the model's TamisConfig.

    Batches are padded on the left (or not at all); padding tokens are not stored. Beam search shares pages between beams.
    Raises InvalidArgumentError, UnsupportedError.
    """

    def __init__(
        self, model: Any, *, dtype: Any = None, scoring_copy: Any = None, max_tokens: int | None = None, page_tokens: int = 64,
        positions: str = "auto", ctx: Context | None = None,
    ) -> None:
        if positions not in POSITIONS:
            raise InvalidArgumentError(f"positions is {positions!r}, expected one of {', '.join(map(repr, POSITIONS))}")
        text = model.config.get_text_config(decoder=True)
        super().__init__(layers=[TamisLayer(self, i) for i in range(text.num_hidden_layers)])
        state = state_of(model)
        self.dtype = None if dtype is None else dtype_name(dtype)
        self._made_with = {
            "scoring_copy": scoring_copy, "page_tokens": page_tokens,
            "ctx": ctx if ctx is not None or state is None else state.config.ctx}
        self._max_tokens = max_tokens
        self.texts: list[Text] = []
        self.selectors: dict[Any, Any] = {}
        #: ACT's statistics of the texts: (layer, text) -> tamis.ActState. They cannot be taken apart: gone when texts move or
        #: shrink.
        self.act_states: dict[Any, Any] = {}
        self._make_stores(model, text, _wanted_positions(positions, state))

    def _make_stores(self, model: Any, text: Any, positions: str) -> None:
        types = getattr(text, "layer_types", None)
        if types is None:
            kind = "sliding_attention" if getattr(text, "sliding_window", None) else "full_attention"
            types = [kind] * text.num_hidden_layers
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        rules: dict[str, RoPE | None] = {kind: None for kind in types}
        if positions != "natural":
            for kind in rules:
                # A sliding window keeps positions as they are.
                if kind == "full_attention":
                    rules[kind] = rope_of(model, kind, head_dim)
                    if rules[kind] is None and positions == "compact":
                        raise InvalidArgumentError(
                            "positions is 'compact', but the model's rotary embedding is none that tamis.RoPE can say: "
                            f"{getattr(text, 'rope_parameters', None)}; use positions='natural'")
        self.stores: list[Store] = []
        #: For each layer its store's place in `stores`, and its place among that store's layers.
        self.places: list[tuple[int, int]] = []
        for layer, kind in enumerate(types):
            rule = rules[kind]
            at = next((i for i, store in enumerate(self.stores) if store.rope == rule), None)
            if at is None:
                self.stores.append(Store(rule))
                at = len(self.stores) - 1
            self.places.append((at, len(self.stores[at].layers)))
            self.stores[at].layers.append(layer)

    def _prepare(self, keys: torch.Tensor) -> None:
        """Opens the caches and sequences when the first keys tell the shape."""
        batch, kv_heads, _, head_dim = keys.shape
        if not self.texts:
            if self.stores[0].kv is None:
                capacity = self._max_tokens
                if capacity is None:
                    capacity = min(_DEFAULT_TOKENS, _MAX_ROWS // kv_heads // 4096 * 4096)
                for store in self.stores:
                    store.kv = KVCache(
                        layers=len(store.layers), kv_heads=kv_heads, head_dim=head_dim,
                        dtype=self.dtype or dtype_name(keys.dtype),
                        max_tokens=capacity, rope=store.rope, **self._made_with)
            self.texts = [Text([store.kv.sequence() for store in self.stores]) for _ in range(batch)]
        elif len(self.texts) != batch:
            raise InvalidArgumentError(f"the batch is {batch}, but the TamisCache holds {len(self.texts)} texts")

    # -- the Cache API

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._rearrange([i for i in range(len(self.texts)) for _ in range(repeats)])

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._rearrange([int(i) for i in torch.arange(len(self.texts))[indices]] if self.texts else [])

    def _rearrange(self, order: list[int]) -> None:
        """Texts in a new order. A text taken twice is forked: the copies share its pages."""
        self._settled("reorder")
        if order != list(range(len(self.texts))):
            self.act_states.clear()
        used: set[int] = set()
        texts = []
        for i in order:
            texts.append(self.texts[i].fork() if i in used else self.texts[i])
            used.add(i)
        for i, text in enumerate(self.texts):
            if i not in used:
                text.close()
        self.texts = texts

    def crop(self, tokens_to_remove: int) -> None:
        """Removes the last ``-tokens_to_remove`` tokens of every text (a number of at most 0, as transformers' caches have
        it)."""
        self._settled("crop")
        if tokens_to_remove > 0:
            raise InvalidArgumentError(f"tokens_to_remove is {tokens_to_remove}, expected 0 or a negative number")
        if tokens_to_remove == 0 or not self.texts:
            return
        self.act_states.clear()
        length = max(0, self.layers[0].length + tokens_to_remove)
        for text in self.texts:
            for sequence in text.sequences:
                sequence.truncate(max(0, length - text.pad))
            text.chunks.clear()
        for layer in self.layers:
            layer.length = length

    def reset(self) -> None:
        for text in self.texts:
            text.close()
        self.texts = []
        self.act_states.clear()
        for layer in self.layers:
            layer.reset()

    def activate_past_recording(self) -> None:
        """Nothing to do: every token is kept."""

    def memory(self) -> list[KVMemory]:
        """What the library's caches take: one for layers stored before rotation, one for the others."""
        return [store.kv.memory() for store in self.stores if store.kv is not None]

    def _settled(self, what: str) -> None:
        if any(layer._pending is not None for layer in self.layers):
            raise InvalidArgumentError(
                f"cannot {what} a TamisCache in the middle of a forward pass, or after one that failed: reset() it")

    def selector(self, key: Any, make: Callable[[], Any]) -> Any:
        found = self.selectors.get(key)
        if found is None:
            found = self.selectors[key] = make()
        return found


def _wanted_positions(positions: str, state: Any) -> str:
    """"auto" of a cache is what the model's config asks for."""
    if positions != "auto":
        return positions
    if state is None or not {state.config.prefill, state.config.decode} & set(CACHED_PREFILL):
        return "natural"
    return str(state.config.positions)
