"""Rotary embeddings: the rule a model uses, and keys turned back to where they were before it.

transformers hands over keys and queries after rotation. A method that renumbers tokens (TokenSelect, StreamingLLM) needs them
as they
were, so a TamisCache with a rule turns them back, at the positions that the model used.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from ...kv import RoPE
from ...ops import rope
from .tensors import rows, view


def rope_of(model: Any, layer_type: str | None, head_dim: int) -> RoPE | None:
    """The rule of a model's layers of one type, if :class:`tamis.RoPE` can say it (rope_type "default" or "linear") and the
    model's own
    code agrees with it numerically; else None."""
    config = model.config.get_text_config(decoder=True)
    said = getattr(config, "rope_parameters", None)
    if not said:
        return None
    if layer_type in said:
        said = said[layer_type]
    kind = said.get("rope_type", "default")
    if kind not in ("default", "linear") or "rope_theta" not in said:
        return None
    dims = int(head_dim * said.get("partial_rotary_factor", 1.0))
    scale = 1.0 / said.get("factor", 1.0) if kind == "linear" else 1.0
    rule = RoPE("half", 0 if dims == head_dim else dims, float(said["rope_theta"]), scale)
    return rule if _agrees(model, layer_type, rule, head_dim) else None


def _agrees(model: Any, layer_type: str | None, rule: RoPE, head_dim: int) -> bool:
    """Does the model rotate as the rule says? Tried on a few rows."""
    for module in model.modules():
        rotate = getattr(sys.modules[type(module).__module__], "apply_rotary_pos_emb", None)
        if hasattr(module, "rotary_emb") and rotate is not None:
            break
    else:
        return False
    x = torch.linspace(-1, 1, 7 * head_dim).reshape(1, 1, 7, head_dim)
    positions = torch.tensor([[0, 1, 2, 3, 5, 17, 40]])
    try:
        try:
            cos, sin = module.rotary_emb(x, positions, layer_type)
        except TypeError:
            cos, sin = module.rotary_emb(x, positions)
        theirs = rotate(x, x, cos, sin)[1]
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):
        return False
    ours = rope(x.numpy(), rule, positions=positions[0].numpy())
    return theirs.shape == ours.shape and bool(np.abs(ours - theirs.numpy()).max() < 1e-4)


def turn_back(x: torch.Tensor, rule: RoPE, first: int, ctx: Any) -> torch.Tensor:
    """x [heads, n, head_dim], rotated at positions first, first + 1, ..: as it was before, float32 contiguous."""
    n = x.shape[-2]
    out = torch.empty(x.shape, dtype=torch.float32)
    places = {"first": -first} if n == 1 else {"positions": np.arange(-first, -first - n, -1)}
    rope(view(rows(x), "x"), rule, out=view(out, "out"), ctx=ctx, **places)
    return out
