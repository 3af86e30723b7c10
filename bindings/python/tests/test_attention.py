"""Exact attention and merge against loops in float64."""

import threading

import numpy as np
import oracle
import pytest
from conftest import TOLERANCE, plain, stored

import tamis


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def check(ctx, q, k, v, tolerance=2e-5, **options):
    out, lse = tamis.attention(q, k, v, return_lse=True, ctx=ctx, **options)
    theirs, their_lse = oracle.attention(q, k, v, **options)
    np.testing.assert_allclose(out, theirs, atol=tolerance, rtol=0)
    np.testing.assert_allclose(lse, their_lse, atol=tolerance, rtol=1e-6)


@pytest.mark.parametrize("d", [8, 32, 40, 64, 80, 96, 128, 192, 256])
def test_head_dims(ctx, rng, d):
    check(ctx, normal(rng, 2, 19, d), normal(rng, 2, 37, d), normal(rng, 2, 37, d))


@pytest.mark.parametrize("heads, kv_heads", [(1, 1), (4, 4), (4, 2), (8, 1), (6, 2), (7, 1)])
@pytest.mark.parametrize("lq, lk", [(1, 1), (1, 131), (5, 5), (3, 64), (70, 70), (33, 129)])
def test_heads_and_lengths(ctx, rng, heads, kv_heads, lq, lk):
    check(ctx, normal(rng, heads, lq, 32), normal(rng, kv_heads, lk, 32), normal(rng, kv_heads, lk, 32))


@pytest.mark.parametrize("options", [
    {"causal": False},
    {"q_offset": 0},
    {"q_offset": -7},
    {"q_offset": 5},
    {"q_offset": 10**9},
    {"q_offset": -(10**9)},
    {"window": 1},
    {"window": 9},
    {"window": 10**6},
    {"window": 9, "causal": False},
    {"window": 4, "q_offset": 60},
    {"scale": 0.5},
    {"softcap": 3.0},
    {"softcap": 3.0, "key0_bias": [1.0, -2.0, 0.5, 30.0]},
    {"key0_bias": [5.0, 0.0, -5.0, -100.0], "q_offset": 2},
    {"key0_bias": [5.0, 0.0, -5.0, 2.0], "window": 3},
    {"scale": 2.0, "softcap": 20.0, "window": 11, "q_offset": 20, "key0_bias": [1.0, 2.0, 3.0, 4.0]},
], ids=str)
def test_rules(ctx, rng, options):
    check(ctx, normal(rng, 4, 29, 64), normal(rng, 2, 50, 64), normal(rng, 2, 50, 64), **options)


@pytest.mark.parametrize("lk", [1000, 4097])
def test_decode_over_many_keys(ctx, rng, lk):
    check(ctx, normal(rng, 8, 1, 64), normal(rng, 2, lk, 64), normal(rng, 2, lk, 64))


def test_prefill_of_several_tiles(cpu, rng):
    check(cpu, normal(rng, 2, 300, 64), normal(rng, 1, 700, 64), normal(rng, 1, 700, 64))


@pytest.mark.parametrize("q_type, kv_type, out_type", [
    ("f16", "f16", "f16"), ("bf16", "bf16", "bf16"), ("f32", "bf16", "f32"), ("f32", "f16", "f32"), ("f32", "i8", "f32"),
    ("bf16", "i8", "f16"), ("f16", "f32", "f32"),
])
@pytest.mark.parametrize("lq", [1, 40])
def test_dtypes(ctx, rng, q_type, kv_type, out_type, lq):
    q, q64 = stored(normal(rng, 4, lq, 64), q_type)
    k, k64 = stored(normal(rng, 2, 90, 64), kv_type)
    v, v64 = stored(normal(rng, 2, 90, 64), kv_type)
    out = tamis.Tensor.empty((4, lq, 64), out_type)
    same, lse = tamis.attention(q, k, v, out=out, return_lse=True, ctx=ctx)
    assert same is out
    theirs, their_lse = oracle.attention(q64, k64, v64)
    np.testing.assert_allclose(plain(out), theirs, atol=TOLERANCE[out_type], rtol=0)
    np.testing.assert_allclose(lse, their_lse, atol=2e-2 if (q_type, kv_type) == ("bf16", "bf16") else 5e-5)


@pytest.mark.parametrize("compute", ["f32", "blas", "auto"])
def test_ways_to_compute_agree(cpu, rng, compute):
    q, k, v = (normal(rng, 2, n, 64) for n in (33, 65, 65))
    check(cpu, q, k, v)
    out = tamis.attention(q, k, v, compute=compute, ctx=cpu)
    np.testing.assert_allclose(out, oracle.attention(q, k, v)[0], atol=2e-5)


def test_f32_products_of_bf16_inputs_are_exact(cpu, rng):
    (q, q64), (k, k64), (v, v64) = (stored(normal(rng, 2, 40, 64), "bf16") for _ in range(3))
    out = tamis.attention(q, k, v, compute="f32", out=np.empty((2, 40, 64), np.float32), ctx=cpu)
    np.testing.assert_allclose(out, oracle.attention(q64, k64, v64)[0], atol=2e-5)


def test_batch(ctx, rng):
    q, k, v = normal(rng, 3, 4, 9, 32), normal(rng, 3, 2, 20, 32), normal(rng, 3, 2, 20, 32)
    out, lse = tamis.attention(q, k, v, return_lse=True, ctx=ctx)
    assert out.shape == q.shape and lse.shape == q.shape[:-1]
    for b in range(3):
        np.testing.assert_allclose(out[b], oracle.attention(q[b], k[b], v[b])[0], atol=2e-5)


def test_strides(ctx, rng):
    q = normal(rng, 9, 4, 32).transpose(1, 0, 2)  # [length, heads, d] in memory
    k = normal(rng, 2, 40, 64)[:, ::2, :32]  # rows with gaps
    v = normal(rng, 2, 20, 32)[:, ::-1]  # backwards
    out = np.zeros((9, 4, 32), np.float32).transpose(1, 0, 2)
    tamis.attention(q, k, v, out=out, ctx=ctx)
    np.testing.assert_allclose(out, oracle.attention(q, k, v)[0], atol=2e-5)


def test_broadcast_inputs(ctx, rng):
    q = np.broadcast_to(normal(rng, 1, 5, 32), (4, 5, 32))
    k, v = normal(rng, 1, 12, 32), normal(rng, 1, 12, 32)
    np.testing.assert_allclose(tamis.attention(q, k, v, ctx=ctx), oracle.attention(q, k, v)[0], atol=2e-5)


def test_query_elements_with_a_stride(ctx, rng):
    q = normal(rng, 2, 5, 64)[..., ::2]
    k, v = normal(rng, 2, 12, 32), normal(rng, 2, 12, 32)
    np.testing.assert_allclose(tamis.attention(q, k, v, ctx=ctx), oracle.attention(q, k, v)[0], atol=2e-5)


def test_a_query_without_keys_gives_zero(ctx, rng):
    q, k, v = normal(rng, 2, 6, 32), normal(rng, 2, 6, 32), normal(rng, 2, 6, 32)
    out, lse = tamis.attention(q, k, v, q_offset=-4, return_lse=True, ctx=ctx)
    assert (out[:, :4] == 0).all() and np.isneginf(lse[:, :4]).all()
    np.testing.assert_allclose(out[:, 4:], oracle.attention(q, k, v, q_offset=-4)[0][:, 4:], atol=2e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["q", "k", "v"])
def test_non_finite_values_reach_only_those_who_see_them(ctx, rng, bad, where):
    arrays = {n: normal(rng, 1, 24, 32) for n in "qkv"}
    clean = tamis.attention(*arrays.values(), ctx=ctx)
    arrays[where][0, 13, 5] = bad
    out = tamis.attention(*arrays.values(), ctx=ctx)
    touched = [13] if where == "q" else range(13, 24)
    untouched = [i for i in range(24) if i not in touched]
    np.testing.assert_array_equal(out[0, untouched], clean[0, untouched])
    if np.isnan(bad) or where == "v":
        assert all(not np.isfinite(out[0, i]).all() for i in touched)


def test_large_logits_do_not_overflow(ctx, rng):
    q, k, v = 200 * normal(rng, 2, 8, 64), 200 * normal(rng, 2, 30, 64), normal(rng, 2, 30, 64)
    out = tamis.attention(q, k, v, ctx=ctx)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, oracle.attention(q, k, v)[0], atol=2e-2)


def test_same_bits_for_any_number_of_threads(rng):
    for lq, lk in [(1, 3000), (200, 200)]:
        q, k, v = normal(rng, 4, lq, 64), normal(rng, 2, lk, 64), normal(rng, 2, lk, 64)
        outs = [tamis.attention(q, k, v, ctx=tamis.Context(threads=t)) for t in (1, 2, 3)]
        np.testing.assert_array_equal(outs[0], outs[1])
        np.testing.assert_array_equal(outs[0], outs[2])


def test_python_threads_share_a_context(cpu, rng):
    q, k, v = normal(rng, 4, 50, 64), normal(rng, 2, 50, 64), normal(rng, 2, 50, 64)
    expected = tamis.attention(q, k, v, ctx=cpu)
    wrong = []

    def work():
        for _ in range(20):
            if not (tamis.attention(q, k, v, ctx=cpu) == expected).all():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


# -------------------------------------------------------------------------------------------------------- merge


def test_merge_of_shards_is_attention_over_all_keys(ctx, rng):
    q, k, v = normal(rng, 4, 3, 32), normal(rng, 2, 100, 32), normal(rng, 2, 100, 32)
    whole, whole_lse = oracle.attention(q, k, v, causal=False)
    parts = [
        tamis.attention(q, k[:, a:b], v[:, a:b], causal=False, return_lse=True, ctx=ctx)
        for a, b in [(0, 1), (1, 60), (60, 100)]
    ]
    out, lse = tamis.merge([p[0] for p in parts], [p[1] for p in parts], ctx=ctx)
    np.testing.assert_allclose(out, whole, atol=2e-5)
    np.testing.assert_allclose(lse, whole_lse, atol=2e-5)


def test_merge_into_a_part(ctx, rng):
    parts, lse = [normal(rng, 2, 5, 16) for _ in range(3)], [normal(rng, 2, 5) for _ in range(3)]
    expected = tamis.merge(parts, lse, ctx=ctx)
    out = tamis.merge(parts, lse, out=parts[1], out_lse=lse[1], ctx=ctx)
    assert out[0] is parts[1] and out[1] is lse[1]
    np.testing.assert_array_equal(parts[1], expected[0])
    np.testing.assert_array_equal(lse[1], expected[1])


def test_merge_formula_and_empty_parts(ctx):
    empty = np.full((1, 2), -np.inf, np.float32)
    ones = np.ones((1, 2, 8), np.float32)
    out, lse = tamis.merge([ones, 5 * ones], [np.log([[1.0, 3.0]]).astype(np.float32), np.zeros((1, 2), np.float32)], ctx=ctx)
    np.testing.assert_allclose(out[0, :, 0], [3.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(lse, np.log([[2.0, 4.0]]), rtol=1e-6)
    out, lse = tamis.merge([ones, ones], [empty, empty], ctx=ctx)
    assert (out == 0).all() and np.isneginf(lse).all()


# ---------------------------------------------------------------------------------------------------- bad input


def bad(rng, **changes):
    arguments = {"q": normal(rng, 4, 3, 32), "k": normal(rng, 2, 5, 32), "v": normal(rng, 2, 5, 32)}
    options = {}
    for name, value in changes.items():
        (arguments if name in arguments else options)[name] = value
    return lambda ctx: tamis.attention(**arguments, **options, ctx=ctx)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize("argument, changes", [
    ("q", {"q": zeros(3, 3, 32)}),
    ("q", {"q": zeros(32)}),
    ("q", {"q": zeros(4, 3, 32, dtype=np.float64)}),
    ("q", {"q": "text"}),
    ("q", {"q": zeros(4, 3, 32, dtype=np.int8)}),
    ("q", {"q": zeros(1, 1, 1, 1, 4, 3, 32)}),
    ("q", {"q": zeros(4, 3, 32).astype(">f4")}),
    ("k", {"k": zeros(2, 5, 16)}),
    ("k", {"k": zeros(2, 5, 32, dtype=np.float16)}),
    ("k", {"k": zeros(0, 5, 32), "v": zeros(0, 5, 32)}),
    ("k", {"k": zeros(2, 5, 64)[..., ::2]}),
    ("k", {"k": zeros(2, 0, 32), "v": zeros(2, 0, 32)}),
    ("q", {"q": zeros(4, 0, 32)}),
    ("v", {"v": zeros(2, 6, 32)}),
    ("v", {"v": zeros(1, 5, 32)}),
    ("window", {"window": -1}),
    ("scale", {"scale": float("nan")}),
    ("softcap", {"softcap": -1.0}),
    ("softcap", {"softcap": "x"}),
    ("key0_bias", {"key0_bias": [1.0]}),
    ("q_offset", {"q_offset": 2**70}),
    ("q_offset", {"q_offset": 1.5}),
    ("compute", {"compute": "fast"}),
    ("out", {"out": zeros(4, 3, 16)}),
    ("out", {"out": zeros(4, 3, 32, dtype=np.int32)}),
    ("out", {"out": np.broadcast_to(zeros(1), (4, 3, 32))}),
], ids=lambda x: x if isinstance(x, str) else " ")
def test_bad_input_names_the_argument(cpu, rng, argument, changes):
    with pytest.raises((ValueError, NotImplementedError), match=rf"\b{argument}\b") as caught:
        bad(rng, **changes)(cpu)
    assert isinstance(caught.value, tamis.TamisError)


def test_unsupported_head_dim(cpu):
    with pytest.raises(tamis.TamisError, match="head_dim|q"):
        tamis.attention(zeros(1, 2, 36), zeros(1, 2, 36), zeros(1, 2, 36), ctx=cpu)
    with pytest.raises(tamis.TamisError, match="head_dim|q"):
        tamis.attention(zeros(1, 2, 512), zeros(1, 2, 512), zeros(1, 2, 512), ctx=cpu)


def test_out_must_not_overlap(cpu, rng):
    q = normal(rng, 2, 5, 32)
    with pytest.raises(ValueError, match="out"):
        tamis.attention(q, q, q, out=q, ctx=cpu)


def test_a_failed_call_changes_nothing(cpu, rng):
    out = np.full((2, 5, 32), 3.0, np.float32)
    with pytest.raises(ValueError):
        tamis.attention(normal(rng, 2, 5, 32), normal(rng, 2, 5, 32), normal(rng, 2, 6, 32), out=out, ctx=cpu)
    assert (out == 3).all()


def test_merge_bad_input(cpu):
    part, lse = zeros(2, 3, 8), zeros(2, 3)
    for match, parts, lses in [
        ("parts", [], []), ("lse", [part], []), ("parts", [part, zeros(2, 4, 8)], [lse, lse]),
        ("lse", [part], [zeros(2, 4)]), ("parts", [part.astype(np.float16)], [lse]),
    ]:
        with pytest.raises(ValueError, match=match):
            tamis.merge(parts, lses, ctx=cpu)


# ----------------------------------------------------------------------------------------------------- progress


def test_progress_is_a_share_and_can_cancel(cpu, rng):
    q, k, v = (normal(rng, 2, 600, 64) for _ in range(3))
    seen = []
    tamis.attention(q, k, v, progress=seen.append, ctx=cpu)
    assert seen == sorted(seen) and all(0 <= s <= 1 for s in seen)
    if seen:
        with pytest.raises(tamis.CancelledError):
            tamis.attention(q, k, v, progress=lambda done: False, ctx=cpu)
        with pytest.raises(KeyError, match="mine"):
            tamis.attention(q, k, v, progress=lambda done: {}["mine"], ctx=cpu)
        np.testing.assert_allclose(tamis.attention(q, k, v, ctx=cpu)[:, :9], oracle.attention(
            q[:, :9], k[:, :9], v[:, :9])[0], atol=2e-5)
