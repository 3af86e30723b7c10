"""The attention function that `attn_implementation="tamis"` names."""

from __future__ import annotations

import time
import warnings
from typing import Any

import torch
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from ...errors import InvalidArgumentError, UnsupportedError
from .cache import CachedStates
from .config import CACHED_PREFILL, LayerState, ModelState, TamisConfig
from .masks import MaskRule, Part, RuleMask, read_table
from .prefill import attend_tensors
from .serving import attend_cached

#: For modules that configure() did not see: dense attention.
_PLAIN = TamisConfig()
_warned: set[str] = set()


def attend(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    dropout: float = 0.0, scaling: float | None = None, is_causal: bool | None = None,
    softcap: float | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention function: query [batch, heads, q_len, head_dim], key and value [batch, kv_heads, k_len,
    head_dim];
    gives ([batch, q_len, heads, head_dim], None)."""
    began = time.perf_counter()
    _refuse(module, query, key, value, dropout, kwargs)
    state = module.__dict__.get("_tamis") or module.__dict__.get("_tamis_plain")
    if state is None:
        state = module._tamis_plain = LayerState(
            ModelState(_PLAIN), getattr(module, "layer_idx", None) or 0, query.shape[1], None)
    state.model.begin(state.layer)
    cached = isinstance(key, CachedStates)
    rule = _rule(module, query, key.states if cached else key, attention_mask, is_causal)
    if cached:
        if rule is None or not rule.causal:
            raise UnsupportedError(
                "attention_mask is neither causal, nor a sliding window, nor padding before or after the texts: a TamisCache "
                "cannot serve it; use transformers' DynamicCache")
        out, phase, method, density, keys = attend_cached(
            state, key.layer, query, rule, scaling, softcap, kwargs.get("position_ids"))
    else:
        phase = "prefill" if query.shape[2] > 1 else "decode"
        asked = getattr(state.config, phase)
        if asked in CACHED_PREFILL if phase == "prefill" else asked != "dense" and key.shape[2] > 1:
            raise InvalidArgumentError(
                f"{phase} is {asked!r}, which reads the library's cache, but the model was given none: pass "
                "cache=tamis.integrations.transformers.TamisCache(model)")
        if rule is None:
            out = _torch_attention(module, query, key, value, attention_mask, scaling, softcap, is_causal)
            method, density = "torch", 1.0
        else:
            out, method, density = attend_tensors(state, query, key, value, rule, scaling, softcap)
        keys = key.shape[2]
    state.model.statistics.add(
        state.layer, phase, method, density < 1, query.shape[2], keys, density, time.perf_counter() - began)
    return out, None


def _refuse(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, dropout: float, extra: Any
) -> None:
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        raise UnsupportedError(
            "attn_implementation='tamis' has no backward pass: wrap the call in torch.inference_mode() or torch.no_grad(), or "
            "train with model.set_attn_implementation('sdpa')")
    if dropout:
        raise UnsupportedError(
            f"dropout is {dropout}, expected 0: attn_implementation='tamis' is for inference; call model.eval()")
    if extra.get("output_attentions"):
        raise UnsupportedError(
            "output_attentions is set, but attn_implementation='tamis' never has the attention weights: use 'eager' for them")
    for name in ("position_bias", "s_aux", "sinks"):
        if extra.get(name) is not None:
            raise UnsupportedError(f"{type(module).__name__} passes {name}, which attn_implementation='tamis' does not have")


def _rule(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, is_causal: bool | None
) -> MaskRule | None:
    """What the queries may see; None when it is no rule."""
    if isinstance(mask, RuleMask):
        return mask.rule
    q_len, k_len = query.shape[2], key.shape[2]
    if mask is None:
        # As torch's attention: the causal pattern starts at the first key, and a single query sees all.
        causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
        if causal and q_len > 1:
            n = min(q_len, k_len)
            return MaskRule(True, None, (Part(0, n, 0, n),)) if n == q_len else None
        return MaskRule(False if q_len > 1 else True, None, (Part(0, k_len, 0, q_len),))
    # A table, read once: every layer of a pass gets the same one.
    version = (0 if mask.is_inference() else mask._version, tuple(mask.shape))
    known = mask.__dict__.get("_tamis_rule")
    if known is None or known[0] != version:
        rule = read_table(mask) if mask.ndim == 4 and mask.shape[2:] == (q_len, k_len) else None
        known = mask._tamis_rule = (version, rule)
    return known[1]


def _torch_attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None,
    scaling: float | None, softcap: float | None, is_causal: bool | None,
) -> torch.Tensor:
    """Attention under a mask that is no rule, with the whole table of scores where there is a soft cap."""
    _warn_once(
        "attention_mask is neither causal, nor a sliding window, nor padding before or after the texts: torch computes "
        "these calls, densely")
    if softcap is None:
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, is_causal=is_causal)[0]
    groups = query.shape[1] // key.shape[1]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = query.float() @ repeat_kv(key, groups).float().transpose(2, 3) * scale
    scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = scores.softmax(-1).nan_to_num(0.0).to(value.dtype)
    return (weights @ repeat_kv(value, groups)).transpose(1, 2).contiguous()


def _warn_once(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        warnings.warn(text, stacklevel=3)
