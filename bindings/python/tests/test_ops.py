"""convert, rope, top_k."""

import numpy as np
import oracle
import pytest
from conftest import plain

import tamis

SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 65504.0, 65519.9, 65520.0, 1e30, -1e30, 6e-8, 2.98e-8, 2.99e-8, 1e-45, 3.0e38, np.inf, -np.inf,
     1.00048828125, 1.0014648, 1.00390625, 1.01171875, 0.1, 3.14159274], np.float32)


def test_f16_is_numpys(ctx, rng):
    x = np.concatenate([SPECIAL, (rng.standard_normal(1000) * 10.0 ** rng.integers(-9, 6, 1000)).astype(np.float32)])
    with np.errstate(over="ignore", under="ignore"):
        expected = x.astype(np.float16)
    np.testing.assert_array_equal(tamis.convert(x, "f16", ctx=ctx).view(np.uint16), expected.view(np.uint16))


def test_f16_back_is_exact(ctx):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    back = tamis.convert(every, "f32", ctx=ctx)
    np.testing.assert_array_equal(back, every.astype(np.float32))
    assert np.isnan(back).sum() == np.isnan(every).sum() > 0


def test_bf16_rounds_to_nearest_even(ctx, rng):
    x = np.concatenate([SPECIAL, (rng.standard_normal(1000) * 10.0 ** rng.integers(-30, 30, 1000)).astype(np.float32)])
    out = tamis.Tensor.empty(x.shape, "bf16")
    tamis.convert(x, out=out, ctx=ctx)
    bits = out.numpy().view(np.uint16)
    np.testing.assert_array_equal(bits, oracle.bfloat16_bits(x))


def test_bf16_back_is_exact(ctx):
    bits = np.arange(2**16, dtype=np.uint16)
    back = tamis.convert(tamis.Tensor(bits, dtype="bf16"), "f32", ctx=ctx)
    np.testing.assert_array_equal(back, oracle.from_bfloat16(bits))


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_nan_stays_nan(ctx, dtype):
    x = np.array([0x7FC00000, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(plain(tamis.convert(x, dtype, ctx=ctx))).all()


def test_i8_scales_each_row(ctx, rng):
    x = rng.standard_normal((3, 5, 40)).astype(np.float32)
    x[1, 2] = 0
    out = tamis.convert(x, "i8", ctx=ctx)
    assert isinstance(out, tamis.Tensor) and out.shape == x.shape and out.scale.shape == (3, 5)
    np.testing.assert_allclose(out.scale, np.abs(x).max(-1) / 127, rtol=1e-6)
    assert out.scale[1, 2] == 0
    back = tamis.convert(out, "f32", ctx=ctx)
    np.testing.assert_allclose(back, out.numpy() * out.scale[..., None], rtol=1e-6)
    assert (np.abs(back - x) <= out.scale[..., None] * 0.5001).all()
    assert np.abs(out.numpy()).max() == 127


def test_i8_of_non_finite_values(ctx):
    x = np.array([[1.0, np.nan, -2.0, np.inf, -np.inf, 0.5]], np.float32)
    out = tamis.convert(x, "i8", ctx=ctx)
    np.testing.assert_allclose(out.scale, [2 / 127], rtol=1e-6)
    np.testing.assert_array_equal(out.numpy()[0, [1, 3, 4]], 0)
    assert out.numpy()[0, 2] == -127


@pytest.mark.parametrize("source", ["f32", "f16", "bf16", "i8"])
@pytest.mark.parametrize("target", ["f32", "f16", "bf16", "i8"])
def test_every_pair(ctx, rng, source, target):
    x = rng.standard_normal((4, 33)).astype(np.float32)
    a = tamis.convert(x, source, ctx=ctx)
    b = tamis.convert(a, target, ctx=ctx)
    back = tamis.convert(b, "f32", ctx=ctx)
    np.testing.assert_allclose(back, x, atol=0.06)


def test_convert_strides(ctx, rng):
    x = rng.standard_normal((6, 5, 4)).astype(np.float32).transpose(2, 0, 1)[:, ::-2]
    out = np.zeros((4, 5, 3), np.float16).transpose(0, 2, 1)
    tamis.convert(x, out=out, ctx=ctx)
    np.testing.assert_array_equal(out, x.astype(np.float16))


def test_convert_bad_input(cpu):
    x = np.zeros((2, 3), np.float32)
    for match, call in [
        ("dtype", lambda: tamis.convert(x, ctx=cpu)),
        ("dtype", lambda: tamis.convert(x, "f64", ctx=cpu)),
        ("to|out", lambda: tamis.convert(x, out=np.zeros((3, 2), np.float32), ctx=cpu)),
        ("to|out|scale", lambda: tamis.convert(x, out=np.zeros((2, 3), np.int8), ctx=cpu)),
        ("out", lambda: tamis.convert(x, out=np.broadcast_to(np.float32(0), (2, 3)), ctx=cpu)),
        ("i32|dtype|to", lambda: tamis.convert(x, "i32", ctx=cpu)),
    ]:
        with pytest.raises(tamis.TamisError, match=match):
            call()


# --------------------------------------------------------------------------------------------------------- RoPE


@pytest.mark.parametrize("rule", [
    tamis.RoPE(), tamis.RoPE("interleaved"), tamis.RoPE(rotary_dims=16), tamis.RoPE("interleaved", rotary_dims=10),
    tamis.RoPE(base=500000.0, scale=0.25), tamis.RoPE("none"),
], ids=str)
def test_rope_styles(ctx, rng, rule):
    x = rng.standard_normal((2, 3, 11, 48)).astype(np.float32)
    np.testing.assert_allclose(
        tamis.rope(x, rule, first=1000, ctx=ctx), oracle.rope(x, 1000 + np.arange(11), rule), atol=1e-5)
    places = rng.integers(0, 100000, 11)
    np.testing.assert_allclose(tamis.rope(x, rule, positions=places, ctx=ctx), oracle.rope(x, places, rule), atol=1e-5)


def test_rope_far_out(ctx, rng):
    x = rng.standard_normal((1, 2, 64)).astype(np.float32)
    places = np.array([1048576, 2**24 + 1])
    np.testing.assert_allclose(tamis.rope(x, positions=places, ctx=ctx), oracle.rope(x, places, tamis.RoPE()), atol=1e-5)


def test_rope_in_place_and_dtypes(ctx, rng):
    x = rng.standard_normal((2, 7, 32)).astype(np.float32)
    expected = oracle.rope(x, np.arange(7), tamis.RoPE())
    half = tamis.rope(x.astype(np.float16), ctx=ctx)
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, expected, atol=5e-3)
    assert tamis.rope(x, out=x, ctx=ctx) is x
    np.testing.assert_allclose(x, expected, atol=1e-5)


def test_rope_keeps_relative_positions(ctx, rng):
    q, k = rng.standard_normal((2, 1, 1, 64)).astype(np.float32)
    dots = [float((tamis.rope(q, first=p + 9, ctx=ctx) * tamis.rope(k, first=p, ctx=ctx)).sum()) for p in (0, 77, 4000)]
    np.testing.assert_allclose(dots, dots[0], atol=1e-4)


def test_rope_bad_input(cpu):
    x = np.zeros((2, 3, 32), np.float32)
    for match, call in [
        ("positions", lambda: tamis.rope(x, positions=[0, 1], ctx=cpu)),
        ("positions", lambda: tamis.rope(x, positions=[0.0, 1.0, 2.0], ctx=cpu)),
        ("style", lambda: tamis.rope(x, tamis.RoPE("spiral"), ctx=cpu)),
        ("rotary_dims", lambda: tamis.rope(x, tamis.RoPE(rotary_dims=33), ctx=cpu)),
        ("rotary_dims", lambda: tamis.rope(x, tamis.RoPE(rotary_dims=64), ctx=cpu)),
        ("base", lambda: tamis.rope(x, tamis.RoPE(base=-1.0), ctx=cpu)),
        ("scale", lambda: tamis.rope(x, tamis.RoPE(scale=float("nan")), ctx=cpu)),
        ("x", lambda: tamis.rope(x.astype(np.int8), ctx=cpu)),
        ("out", lambda: tamis.rope(x, out=np.zeros((2, 3, 16), np.float32), ctx=cpu)),
    ]:
        with pytest.raises(tamis.TamisError, match=match):
            call()


# -------------------------------------------------------------------------------------------------------- top-k


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 1000, 20011])
def test_top_k_of_random_scores(ctx, rng, n):
    scores = rng.standard_normal(n).astype(np.float32)
    for k in {0, 1, n // 3, max(n - 1, 0), n, n + 5}:
        np.testing.assert_array_equal(tamis.top_k(scores, k, ctx=ctx), oracle.top_k(scores, k))


def test_top_k_ties_go_to_the_lower_index(ctx, rng):
    scores = rng.integers(0, 4, 5000).astype(np.float32)
    for k in (1, 7, 1250, 2600, 4999):
        np.testing.assert_array_equal(tamis.top_k(scores, k, ctx=ctx), oracle.top_k(scores, k))
    np.testing.assert_array_equal(tamis.top_k(np.zeros(999, np.float32), 10, ctx=ctx), np.arange(10))


def test_top_k_specials(ctx):
    s = np.array([np.nan, -np.inf, 1.0, np.inf, -0.0, 0.0, np.nan, -np.inf, -5.0], np.float32)
    for k in range(10):
        np.testing.assert_array_equal(tamis.top_k(s, k, ctx=ctx), oracle.top_k(s, k))
    negative_nan = np.array([0xFFC00001, 0x3F800000, 0x7FC00000], np.uint32).view(np.float32)
    np.testing.assert_array_equal(tamis.top_k(negative_nan, 1, ctx=ctx), [1])
    np.testing.assert_array_equal(tamis.top_k(negative_nan, 2, ctx=ctx), [0, 1])


def test_top_k_denormals_and_extremes(ctx):
    s = np.array([1e-45, 3e-45, -1e-45, 3.4e38, -3.4e38, 0.0], np.float32)
    for k in range(7):
        np.testing.assert_array_equal(tamis.top_k(s, k, ctx=ctx), oracle.top_k(s, k))


def test_top_k_bad_input(cpu):
    for match, scores, k in [
        ("k", np.zeros(3, np.float32), -1), ("k", np.zeros(3, np.float32), 1.5), ("scores", np.zeros((3, 1), np.float32), 1),
        ("scores", np.zeros(3), 1), ("scores", np.zeros(6, np.float32)[::2], 1), ("scores", None, 1),
    ]:
        with pytest.raises(ValueError, match=match):
            tamis.top_k(scores, k, ctx=cpu)
