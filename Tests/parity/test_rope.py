"""RoPE against Hugging Face's Llama (half-split pairs) and the original LLaMA (interleaved pairs, complex numbers)."""

import pytest
import tamis
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb


def config(base, scaling=None):
    return LlamaConfig(
        hidden_size=256, num_attention_heads=4, head_dim=64, max_position_embeddings=4096,
        rope_parameters={"rope_theta": base, **(scaling or {"rope_type": "default"})})


@pytest.mark.parametrize("base", [10000.0, 500000.0])
@pytest.mark.parametrize("factor", [1.0, 4.0])
def test_half_split_is_hugging_faces(base, factor):
    torch.manual_seed(0)
    scaling = None if factor == 1 else {"rope_type": "linear", "factor": factor}
    rotary = LlamaRotaryEmbedding(config(base, scaling))
    q, k = torch.randn(1, 4, 50, 64), torch.randn(1, 4, 50, 64)
    positions = torch.randint(0, 4000, (1, 50))
    cos, sin = rotary(q, positions)
    theirs_q, theirs_k = apply_rotary_pos_emb(q, k, cos, sin)
    rule = tamis.RoPE(base=base, scale=1 / factor)
    for x, theirs in ((q, theirs_q), (k, theirs_k)):
        ours = tamis.rope(x, rule, positions=positions[0])
        assert (ours - theirs).abs().max() < 2e-3  # they take the angle in f32
        angle = positions[0].double()[:, None] / factor * base ** (-torch.arange(0, 64, 2).double() / 64)
        a, b = x.double()[..., :32], x.double()[..., 32:]
        exact = torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)
        assert (ours - exact).abs().max() < 1e-5


def test_interleaved_is_the_original_llamas():
    torch.manual_seed(0)
    x = torch.randn(2, 30, 64)
    angle = torch.arange(30).double()[:, None] * 10000.0 ** (-torch.arange(0, 64, 2).double() / 64)
    turn = torch.polar(torch.ones_like(angle), angle)
    theirs = torch.view_as_real(torch.view_as_complex(x.double().reshape(2, 30, 32, 2)) * turn).flatten(-2)
    ours = tamis.rope(x, tamis.RoPE("interleaved"))
    assert (ours - theirs).abs().max() < 1e-5


def test_bf16():
    x = torch.randn(2, 9, 64).to(torch.bfloat16)
    ours = tamis.rope(x, first=5)
    assert ours.dtype == torch.bfloat16
    exact = tamis.rope(x.float(), first=5)
    assert torch.equal(ours, exact.to(torch.bfloat16))
