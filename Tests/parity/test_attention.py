"""Attention against torch.nn.functional.scaled_dot_product_attention; bfloat16 in and out without a copy."""

import pytest
import tamis
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(3)


def arrays(heads, kv_heads, lq, lk, d, dtype=torch.float32, batch=()):
    return (torch.randn(*batch, heads, lq, d).to(dtype), torch.randn(*batch, kv_heads, lk, d).to(dtype),
            torch.randn(*batch, kv_heads, lk, d).to(dtype))


def error(a, b):
    return (a.double() - b.double()).abs().max().item()


@pytest.mark.parametrize("heads, kv_heads, d", [(4, 4, 64), (8, 2, 128), (6, 1, 96), (2, 2, 256)])
@pytest.mark.parametrize("length", [1, 63, 200])
def test_causal_f32(heads, kv_heads, d, length):
    q, k, v = arrays(heads, kv_heads, length, length, d, batch=(2,))
    out = tamis.attention(q, k, v)
    assert isinstance(out, torch.Tensor) and out.dtype == torch.float32
    assert error(out, sdpa(q, k, v, is_causal=True, enable_gqa=True)) < 2e-5


def test_decode_gqa():
    q, k, v = arrays(32, 8, 1, 3000, 128)
    assert error(tamis.attention(q, k, v), sdpa(q[None], k[None], v[None], enable_gqa=True)[0]) < 2e-5


@pytest.mark.parametrize("window", [1, 16, 500])
def test_sliding_window(window):
    q, k, v = arrays(4, 2, 50, 130, 64)
    i, j = torch.arange(50)[:, None] + 80, torch.arange(130)[None]
    mask = (j <= i) & (j > i - window)
    assert error(tamis.attention(q, k, v, window=window), sdpa(q, k, v, attn_mask=mask, enable_gqa=True)) < 2e-5


def test_key0_bias_and_scale():
    q, k, v = arrays(4, 2, 20, 20, 64)
    bias = torch.tensor([1.0, -2.0, 0.0, 5.0])
    mask = torch.full((20, 20), float("-inf")).triu(1).repeat(4, 1, 1)
    mask[:, :, 0] += bias[:, None]
    out = tamis.attention(q, k, v, key0_bias=bias, scale=0.3)
    assert error(out, sdpa(q, k, v, attn_mask=mask, scale=0.3, enable_gqa=True)) < 2e-5


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("lq", [1, 100])
def test_half_precision(dtype, tolerance, lq):
    q, k, v = arrays(8, 2, lq, 100, 128, dtype)
    out = tamis.attention(q, k, v)
    exact = sdpa(q.double(), k.double(), v.double(), is_causal=lq > 1, enable_gqa=True)
    assert out.dtype == dtype
    ours, theirs = error(out, exact), error(sdpa(q[None], k[None], v[None], is_causal=lq > 1, enable_gqa=True)[0], exact)
    assert ours < tolerance and ours < 4 * theirs + 1e-3


def test_bf16_goes_through_dlpack_without_a_copy():
    x = torch.randn(3, 4, 8).to(torch.bfloat16)
    t = tamis.Tensor(x)
    assert (t.dtype, t.data_ptr, t.shape, t.strides) == ("bf16", x.data_ptr(), (3, 4, 8), x.stride())
    view = x.transpose(0, 1)[1:, ::2]
    t = tamis.Tensor(view)
    assert (t.data_ptr, t.strides) == (view.data_ptr(), view.stride())
    back = torch.from_dlpack(tamis.Tensor(view))
    assert back.dtype == torch.bfloat16 and back.data_ptr() == view.data_ptr() and back.stride() == view.stride()
    new = tamis.Tensor.empty((2, 5), "bf16")
    there = torch.from_dlpack(new)
    assert there.dtype == torch.bfloat16 and there.data_ptr() == new.data_ptr
    there.fill_(1.5)
    assert (new.numpy().astype("float32") == 1.5).all()


def test_writes_into_a_torch_tensor():
    q, k, v = arrays(4, 2, 5, 9, 64)
    out = torch.zeros(5, 4, 64, dtype=torch.bfloat16).transpose(0, 1)
    assert tamis.attention(q, k, v, out=out) is out
    mask = torch.arange(9)[None] <= torch.arange(5)[:, None] + 4
    assert error(out, sdpa(q, k, v, attn_mask=mask, enable_gqa=True)) < 2e-2


def test_results_outlive_their_inputs():
    outs = [tamis.attention(*arrays(2, 2, 9, 9, 32)) for _ in range(50)]
    assert all(torch.isfinite(o).all() for o in outs)


def test_a_tensor_that_requires_grad_is_refused_by_name():
    q, k, v = arrays(2, 2, 3, 3, 32)
    with pytest.raises(ValueError, match="^q .*grad"):
        tamis.attention(q.requires_grad_(), k, v)


def test_merge_of_torch_shards():
    q, k, v = arrays(4, 4, 3, 90, 64)
    parts = [tamis.attention(q, k[:, a:b], v[:, a:b], causal=False, return_lse=True) for a, b in [(0, 30), (30, 90)]]
    out, _ = tamis.merge([p[0] for p in parts], [p[1] for p in parts])
    assert error(out, sdpa(q, k, v)) < 2e-5


def test_convert_rounds_as_torch():
    x = torch.randn(10000) * torch.logspace(-8, 8, 10000)
    for dtype, name in [(torch.bfloat16, "bf16"), (torch.float16, "f16")]:
        assert torch.equal(tamis.convert(x, name), x.to(dtype))


def test_top_k_is_torchs():
    x = torch.randn(5000)
    assert torch.equal(tamis.top_k(x, 300).long(), x.topk(300).indices.sort().values)
