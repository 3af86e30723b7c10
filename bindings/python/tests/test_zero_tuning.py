"""ZeroTuning: key0_bias = ln gamma is the post-softmax formula in every form of attention, and the search finds what matters.

    a'_0 = gamma a_0 / D,   a'_j = a_j / D,   D = 1 + (gamma - 1) a_0        (arXiv 2505.11739)
"""

import numpy as np
import pytest
from conftest import stored

import tamis

GAMMA = np.array([0.3, 1.0, 4.0, 50.0], np.float32)
D = 64


def scaled(a, gamma):
    """Post-scale of weights a [heads, rows, keys], in float64."""
    a = np.array(a, np.float64)
    a[..., 0] *= np.asarray(gamma, np.float64)[:, None]
    return a / a.sum(-1, keepdims=True)


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def identity(kv_heads, n):
    """Values whose attention output is the row of weights."""
    return np.ascontiguousarray(np.broadcast_to(np.eye(n, D, dtype=np.float32), (kv_heads, n, D)))


def oracle_weights(q, k, scale=D**-0.5):
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    k = np.repeat(k, q.shape[0] // k.shape[0], 0)
    z = scale * q @ k.transpose(0, 2, 1)
    z = np.where(np.tri(k.shape[1], dtype=bool)[-q.shape[1] :], z, -np.inf)
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


FORMS = [("auto", 60), ("auto", 1), ("auto", 3), ("f32", 33), ("blas", 60), ("blas", 1)]


def skip_blas(ctx, compute):
    if compute == "blas" and ctx.device != "cpu":
        pytest.skip("the plain form is of the CPU alone")


@pytest.mark.parametrize("compute, lq", FORMS)
@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16", "i8"])
def test_bias_is_the_post_scale(ctx, rng, compute, lq, kv_type):
    skip_blas(ctx, compute)
    n = 60
    q = normal(rng, 4, lq, D)
    k, k64 = stored(normal(rng, 2, n, D), kv_type)
    v, _ = stored(identity(2, n), kv_type)
    out, lse = tamis.attention(q, k, v, key0_bias=tamis.zero_tuning_bias(GAMMA), compute=compute, return_lse=True, ctx=ctx)
    plain, plain_lse = tamis.attention(q, k, v, compute=compute, return_lse=True, ctx=ctx)
    # int8 decode rounds the weights themselves
    tolerance = 2e-3 if kv_type == "i8" and lq < 33 else 1e-6
    np.testing.assert_allclose(out[..., :n], scaled(oracle_weights(q, k64), GAMMA), atol=5 * tolerance, rtol=0)
    np.testing.assert_allclose(out[..., :n], scaled(plain[..., :n], GAMMA), atol=tolerance, rtol=0)
    np.testing.assert_allclose(out.sum(-1), 1, atol=max(2e-6, tolerance))
    # ratios of the others are what they were
    a, b = out[..., 1:n].astype(np.float64), plain[..., 1:n].astype(np.float64)
    if tolerance == 1e-6:
        seen = b > 1e-3
        ratio = np.broadcast_to(1 / (1 + (GAMMA[:, None, None] - 1) * plain[..., :1]), a.shape)
        np.testing.assert_allclose(a[seen] / b[seen], ratio[seen], rtol=2e-3)
    # the log-sum-exp grows by ln D
    growth = np.log(1 + (GAMMA[:, None] - 1) * plain[..., 0])
    np.testing.assert_allclose(lse - plain_lse, growth, atol=1e-3 if kv_type == "i8" else 1e-5)


@pytest.mark.parametrize("compute, lq", FORMS)
@pytest.mark.parametrize("kv_type", ["f32", "f16", "bf16", "i8"])
def test_gamma_one_is_bit_identical(ctx, rng, compute, lq, kv_type):
    skip_blas(ctx, compute)
    q = normal(rng, 4, lq, D)
    k, _ = stored(normal(rng, 2, 60, D), kv_type)
    v, _ = stored(normal(rng, 2, 60, D), kv_type)
    bias = tamis.zero_tuning_bias(np.ones(4))
    assert (bias == 0).all()
    for options in ({}, {"softcap": 5.0}, {"window": 7}):
        plain = tamis.attention(q, k, v, compute=compute, return_lse=True, ctx=ctx, **options)
        same = tamis.attention(q, k, v, compute=compute, return_lse=True, ctx=ctx, key0_bias=bias, **options)
        for a, b in zip(plain, same):
            np.testing.assert_array_equal(a, b)
        # a head with gamma 1 does not notice the gammas of the others
        options["key0_bias"] = tamis.zero_tuning_bias(GAMMA)
        mixed = tamis.attention(q, k, v, compute=compute, return_lse=True, ctx=ctx, **options)
        for a, b in zip(plain, mixed):
            np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("lq", [1, 40])
def test_heads_are_independent(ctx, rng, lq):
    q, k, v = normal(rng, 4, lq, D), normal(rng, 2, 50, D), normal(rng, 2, 50, D)
    together = tamis.attention(q, k, v, key0_bias=tamis.zero_tuning_bias(GAMMA), ctx=ctx)
    for h in range(4):
        alone = tamis.zero_tuning_bias(np.where(np.arange(4) == h, GAMMA, 1))
        np.testing.assert_array_equal(tamis.attention(q, k, v, key0_bias=alone, ctx=ctx)[h], together[h])


@pytest.mark.parametrize("lq", [1, 40])
def test_limits_and_monotony(ctx, rng, lq):
    q, k, v = normal(rng, 2, lq, D), normal(rng, 2, 50, D), normal(rng, 2, 50, D)
    out = tamis.attention(q, k, v, key0_bias=tamis.zero_tuning_bias([1e30, 1e30]), ctx=ctx)
    np.testing.assert_allclose(out, np.broadcast_to(v[:, :1], out.shape), atol=1e-6)
    last = 0
    for gamma in (1e-4, 0.1, 0.5, 1, 1.5, 4, 100):
        a0 = tamis.attention(q, k, identity(2, 50), key0_bias=tamis.zero_tuning_bias([gamma] * 2), ctx=ctx)[..., 0]
        if lq == 40:
            a0 = a0[:, 1:]  # some other key is seen
        assert (a0 > last).all()
        last = a0
    # row 0 sees token 0 alone: whatever gamma, it stays
    q = normal(rng, 2, 50, D)
    for gamma in (1e-4, 7.0):
        out = tamis.attention(q, k, v, key0_bias=tamis.zero_tuning_bias([gamma] * 2), ctx=ctx)
        np.testing.assert_allclose(out[:, 0], v[:, 0], atol=1e-6)


METHODS = {
    "dense": tamis.DenseAttention,
    "streaming": lambda **o: tamis.StreamingLLM(n_sink=4, n_recent=24, chunk=16, **o),
    "tokenselect": lambda **o: tamis.TokenSelect(top_k=12, n_sink=4, n_recent=24, chunk=16, **o),
    "natural": lambda **o: tamis.TokenSelect(top_k=12, n_sink=4, n_recent=24, chunk=16, positions="natural", **o),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
@pytest.mark.parametrize("c", [1, 14])
def test_cached_attention(ctx, rng, method, dtype, c):
    n = 60
    cache = tamis.KVCache(kv_heads=2, head_dim=D, max_tokens=256, dtype=dtype, page_tokens=16, rope=tamis.RoPE(), ctx=ctx)
    sequence = cache.sequence()
    sequence.append(normal(rng, 2, n, D), identity(2, n))
    q = normal(rng, 4, c, D)
    make = METHODS[method]
    plain = tamis.Selector(cache, make(), q_heads=4)
    biased = tamis.Selector(cache, make(key0_bias=tamis.zero_tuning_bias(GAMMA)), q_heads=4)
    np.testing.assert_array_equal(plain.retrieve(sequence, q), biased.retrieve(sequence, q))
    a, b = plain.attend(sequence, q), biased.attend(sequence, q)
    tolerance = 2e-3 if dtype == "i8" and ctx.device == "cpu" else 2e-6
    np.testing.assert_allclose(b[..., :n], scaled(a[..., :n], GAMMA), atol=tolerance, rtol=0)
    np.testing.assert_array_equal(a[1], b[1])  # gamma 1
    same = tamis.Selector(cache, make(key0_bias=np.zeros(4, np.float32)), q_heads=4).attend(sequence, q)
    np.testing.assert_array_equal(a, same)


@pytest.mark.parametrize("dtype", ["f32", "i8"])
def test_a_decode_step_is_the_last_row_of_a_prefill(ctx, rng, dtype):
    cache = tamis.KVCache(kv_heads=2, head_dim=D, max_tokens=256, dtype=dtype, page_tokens=16, ctx=ctx)
    whole, steps = cache.sequence(), cache.sequence()
    k, v, q = normal(rng, 2, 70, D), normal(rng, 2, 70, D), normal(rng, 4, 70, D)
    selector = tamis.Selector(cache, tamis.DenseAttention(key0_bias=tamis.zero_tuning_bias(GAMMA)), q_heads=4)
    whole.append(k, v)
    prefill = selector.attend(whole, q)
    tensors = tamis.attention(q, k, v, key0_bias=tamis.zero_tuning_bias(GAMMA), ctx=ctx)
    for t in range(70):
        steps.append(k[:, t : t + 1], v[:, t : t + 1])
        row = selector.attend(steps, q[:, t : t + 1])
        np.testing.assert_allclose(row[:, 0], prefill[:, t], atol=3e-5 if dtype == "f32" else 2e-2)
        if dtype == "f32":
            np.testing.assert_allclose(row[:, 0], tensors[:, t], atol=3e-5)


def test_bias():
    gamma = np.array([[1, 2], [0.5, 1e-4]], np.float64)
    bias = tamis.zero_tuning_bias(gamma)
    assert bias.dtype == np.float32 and bias[0, 0] == 0
    np.testing.assert_allclose(bias, np.log(gamma), rtol=1e-6)
    assert tamis.zero_tuning_bias(1.0).shape == () and tamis.zero_tuning_bias([3e38])[0] == pytest.approx(np.log(3e38), rel=1e-6)
    for bad in (0, -1, 1e-5, np.nan, np.inf, -np.inf):
        with pytest.raises(tamis.InvalidArgumentError, match=r"gamma\[1\]"):
            tamis.zero_tuning_bias([1, bad])
    with pytest.raises(tamis.InvalidArgumentError, match="n is 0"):
        tamis.zero_tuning_bias([])


# ------------------------------------------------------------------------------------------------------ search


def planted(effect, best_log=0.7):
    """A score that is best where the heads of `effect` (by head index, in all layers) have ln gamma = best_log."""

    def score(gamma):
        x = np.log(gamma.astype(np.float64)).mean(0)
        return 10 - sum(w * (x[h] - best_log) ** 2 for h, w in effect.items())

    return score


def test_search_finds_two_planted_heads():
    found = tamis.zero_tuning_search(planted({2: 1.0, 5: 3.0}), 4, 8, share=0.25)
    assert (found.up, found.down, found.neutral, found.tuned) == (2, 0, 6, 2)
    assert found.gamma == 2.0  # ln 2 = 0.693 is the grid's nearest to 0.7
    np.testing.assert_array_equal(found.gammas[0], [1, 1, 2, 1, 1, 2, 1, 1])
    assert (found.gammas == found.gammas[0]).all() and found.gammas.shape == (4, 8)
    assert found.baseline == pytest.approx(10 - 4 * 0.49) and found.best > 9.999
    assert found.evaluations == 1 + 8 + 15
    assert np.argsort(-found.effects)[:2].tolist() == [5, 2] and (found.effects[[0, 1, 3, 4, 6, 7]] == 0).all()
    np.testing.assert_allclose(found.bias, np.log(found.gammas))


def test_the_share_keeps_the_largest_effects():
    found = tamis.zero_tuning_search(planted({1: 1.0, 4: 5.0, 6: 3.0, 7: 2.0}), 1, 8, share=0.3)
    assert found.up == 4 and found.tuned == 2
    np.testing.assert_array_equal(np.flatnonzero(found.gammas[0] != 1), [4, 6])
    assert tamis.zero_tuning_search(planted({1: 1.0}), 1, 2, share=0.01).tuned == 1  # at least one


def test_heads_that_want_less():
    found = tamis.zero_tuning_search(lambda g: -float(np.abs(g[:, [0, 2, 3]] - 0.5).sum()), 2, 4, share=0.6)
    assert (found.up, found.down) == (0, 3) and found.gamma == 0.5
    np.testing.assert_array_equal(found.gammas[1], [0.5, 1, 0.5, 1])  # of three equal effects the lower units


def test_units():
    def score(gamma):
        return float(gamma[1, 2] == 2) + float((gamma[1] == 2).all())

    one = tamis.zero_tuning_search(score, 3, 4, unit="layer_heads", gamma_min=2, gamma_max=2)
    assert one.up == 1 and one.tuned == 1 and one.gammas[1, 2] == 2 and one.gammas.sum() == 13 and len(one.effects) == 12
    layer = tamis.zero_tuning_search(score, 3, 4, unit="layers", gamma_min=2, gamma_max=2)
    assert layer.up == 1 and (layer.gammas == [[1] * 4, [2] * 4, [1] * 4]).all() and layer.effects.tolist() == [0, 2, 0]


def test_never_worse_than_the_baseline_and_ties():
    calls = []

    def flat(gamma):
        calls.append(gamma)
        return 1.0

    found = tamis.zero_tuning_search(flat, 2, 3)
    assert found.tuned == 0 and found.gamma == 1 and (found.gammas == 1).all() and found.best == found.baseline == 1
    assert found.neutral == 3 and found.evaluations == len(calls) == 4  # nothing to put on the grid
    # whatever the probe promised, the grid may be worse everywhere
    def promising(gamma):
        return 1 if (gamma == 1).all() else 2 if (gamma == 2).sum() == 1 else 0

    probe = tamis.zero_tuning_search(promising, 1, 4, gamma_min=3)
    assert probe.up == 4 and probe.tuned == 0 and probe.best == 1 and (probe.gammas == 1).all()
    # the earlier of equal gammas
    ties = tamis.zero_tuning_search(lambda g: float((g != 1).any()), 1, 2, gamma_min=0.5, gamma_max=3, gamma_step=0.5)
    assert ties.gamma == 0.5 and ties.tuned == 1 and ties.gammas[0].tolist() == [0.5, 1]


def test_nan_is_minus_infinity():
    found = tamis.zero_tuning_search(lambda g: float("nan") if g[0, 0] != 1 else float(g[0, 1] != 1), 1, 3, share=0.34)
    assert found.effects.tolist() == [-np.inf, 1, 0] and (found.up, found.down, found.neutral) == (1, 1, 1)
    assert found.tuned == 1 and found.gammas[0, 1] != 1
    nothing = tamis.zero_tuning_search(lambda g: float("nan"), 1, 3)
    assert nothing.baseline == nothing.best == -np.inf and nothing.neutral == 3 and nothing.tuned == 0
    rescue = tamis.zero_tuning_search(lambda g: float("nan") if (g == 1).all() else 0.0, 1, 3)
    assert rescue.up == 3 and rescue.best == 0 and rescue.baseline == -np.inf


def test_search_is_deterministic():
    score = planted({0: 1.0, 2: 0.3, 3: 0.31})
    a, b = (tamis.zero_tuning_search(score, 2, 6) for _ in range(2))
    np.testing.assert_array_equal(a.gammas, b.gammas)
    np.testing.assert_array_equal(a.effects, b.effects)


def test_stopping():
    with pytest.raises(tamis.CancelledError, match="evaluation 3"):
        tamis.zero_tuning_search(lambda g: None if (g[0] != 1).nonzero()[0].tolist() == [1] else 0.0, 1, 4)

    def fails(gamma):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tamis.zero_tuning_search(fails, 1, 4)
    with pytest.raises(tamis.InvalidArgumentError, match="score"):
        tamis.zero_tuning_search(lambda g: "good", 1, 4)


@pytest.mark.parametrize("name, options", [
    ("layers", {"layers": 0}), ("layers", {"layers": 1.5}), ("heads", {"heads": -1}), ("heads", {"heads": 2**25}),
    ("unit", {"unit": "rows"}), ("probe_gamma", {"probe_gamma": 0}), ("probe_gamma", {"probe_gamma": 1}),
    ("probe_gamma", {"probe_gamma": float("nan")}), ("share", {"share": 0}), ("share", {"share": 1.1}),
    ("share", {"share": float("nan")}), ("gamma_min", {"gamma_min": 1e-6}), ("gamma_max", {"gamma_max": 0.1}),
    ("gamma_max", {"gamma_max": float("inf")}), ("gamma_step", {"gamma_step": 0}), ("gamma_step", {"gamma_step": -1}),
    ("gamma_step", {"gamma_step": 1e-9}), ("gamma_step", {"gamma_step": float("nan")}),
])
def test_bad_input(name, options):
    def never(gamma):
        raise AssertionError("the score was asked for")

    with pytest.raises(tamis.InvalidArgumentError, match=name):
        tamis.zero_tuning_search(never, **{"layers": 2, "heads": 4, **options})
