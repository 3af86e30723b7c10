"""ACT (arXiv 2406.15765) against float64 loops over whole tables of weights.

    c_j = mean over the rows that see j of p_ij;   S = {j >= 1 : c_j > threshold};   m_i = sum over S of p_ij
    p'_ij = beta p_ij (j in S),   p_ij (1 + (1 - beta) m_i / (1 - m_i)) (j not in S);   a row with 1 - m_i < 1e-6 stays
"""

import numpy as np
import oracle
import pytest
from conftest import plain, stored

import tamis


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def weights(q, k, *, q_offset=None, window=0, scale=None, softcap=0.0, key0_bias=None):
    """p [H, Lq, Lk] and which are legal [Lq, Lk]; float64."""
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    heads, lq, d = q.shape
    lk = k.shape[1]
    offset = lk - lq if q_offset is None else q_offset
    i, j = np.arange(lq)[:, None] + offset, np.arange(lk)[None]
    legal = j <= i
    if window:
        legal &= j > i - window
    p = np.zeros((heads, lq, lk))
    for h in range(heads):
        z = (d**-0.5 if scale is None else scale) * q[h] @ k[h // (heads // k.shape[0])].T
        if softcap:
            z = softcap * np.tanh(z / softcap)
        if key0_bias is not None:
            z[:, 0] += key0_bias[h]
        z = np.where(legal, z, -np.inf)
        top = z.max(-1, keepdims=True)
        e = np.exp(z - np.where(np.isfinite(top), top, 0))
        p[h] = e / np.maximum(e.sum(-1, keepdims=True), 1e-300)
    return p, legal


def calibrated(p, legal, *, threshold=0.1, beta=0.4, min_rows=1, heads=None, before=None):
    """p' and the sinks of each head. `before`: (sums [H, n], counts [n]) of earlier rows."""
    n = legal.shape[1]
    counts = legal.sum(0).astype(np.float64)
    sums = p.sum(1)
    if before is not None:
        counts[: len(before[1])] += before[1]
        sums[:, : before[0].shape[1]] += before[0]
    out, sinks = p.copy(), []
    for h in range(len(p)):
        means = sums[h] / np.maximum(counts, 1)
        assert np.abs(means[counts > 0] - threshold).min(initial=1) > 3e-5 * threshold, "too near the threshold to tell: another seed"
        s = [j for j in range(1, n) if counts[j] >= min_rows and means[j] > threshold] if heads is None or heads[h] else []
        sinks.append(s)
        for i in range(p.shape[1]):
            m = p[h, i, s].sum()
            if 1 - m < 1e-6:
                continue
            out[h, i] *= 1 + (1 - beta) * m / (1 - m)
            out[h, i, s] = beta * p[h, i, s]
    return out, sinks, (sums, counts)


def check(ctx, q, k, v, tolerance=1e-5, q64=None, k64=None, v64=None, **options):
    """One call without a state; returns the oracle's weights before and after, and the sinks."""
    q64, k64, v64 = (np.asarray(x if y is None else y, np.float64) for x, y in ((q, q64), (k, k64), (v, v64)))
    rule = {key: options[key] for key in ("q_offset", "window", "scale", "softcap", "key0_bias") if key in options}
    act = {key: options[key] for key in ("threshold", "beta", "min_rows", "heads") if key in options}
    p, legal = weights(q64, k64, **rule)
    after, sinks, _ = calibrated(p, legal, **act)
    values = np.repeat(v64, len(q64) // len(v64), 0)
    out, lse = tamis.act_attention(q, k, v, return_lse=True, ctx=ctx, **options)
    np.testing.assert_allclose(plain(out), after @ values, atol=tolerance * max(1, np.abs(values).max()), rtol=0)
    np.testing.assert_allclose(lse, oracle.attention(q64, k64, v64, **rule)[1], atol=max(2e-5, tolerance), rtol=1e-6)
    return p, after, sinks


def test_three_tokens_by_hand(cpu):
    """The row [.2, .5, .3] with S = {1} and beta .4 becomes [.32, .2, .48]."""
    d = 8
    k = np.zeros((1, 3, d), np.float32)
    k[0, :, 0] = np.log([0.2, 0.5, 0.3])
    q = np.zeros((1, 3, d), np.float32)
    q[0, :, 0] = 1
    v = np.eye(3, d, dtype=np.float32)[None]
    # row 1 is [2/7, 5/7]: c = [.., (5/7 + .5) / 2 = .607, .3]
    state = tamis.ActState(1, ctx=cpu)
    out = tamis.act_attention(q, k, v, scale=1, threshold=0.5, state=state, ctx=cpu)
    np.testing.assert_allclose(out[0, 2, :3], [0.32, 0.2, 0.48], atol=1e-7)
    np.testing.assert_allclose(out[0, 1, :2], [1 - 0.4 * 5 / 7, 0.4 * 5 / 7], atol=1e-7)
    np.testing.assert_allclose(out[0, 0, :3], [1, 0, 0], atol=0)
    assert state.sinks(0).tolist() == [1]
    # token 2, seen by one row alone, is a sink at .1; with two rows asked for it is none
    tamis.act_attention(q, k, v, scale=1, state=(s := tamis.ActState(1, ctx=cpu)), ctx=cpu)
    assert s.sinks(0).tolist() == [1, 2]
    tamis.act_attention(q, k, v, scale=1, min_rows=2, state=(s := tamis.ActState(1, ctx=cpu)), ctx=cpu)
    assert s.sinks(0).tolist() == [1]


@pytest.mark.parametrize("n", [1, 2, 5, 31, 32, 33, 100, 257, 600])
@pytest.mark.parametrize("d", [8, 64])
def test_prefill(cpu, rng, n, d):
    _, _, sinks = check(cpu, normal(rng, 4, n, d), normal(rng, 2, n, d), normal(rng, 2, n, d), threshold=min(0.02, 3 / n), beta=0.3)
    assert n == 1 or any(sinks)


@pytest.mark.parametrize("heads, kv_heads", [(1, 1), (4, 1), (6, 2), (7, 1), (8, 8)])
@pytest.mark.parametrize("lq, lk", [(1, 90), (3, 90), (7, 90), (8, 90), (40, 300), (65, 65)])
def test_heads_and_lengths(cpu, rng, heads, kv_heads, lq, lk):
    check(cpu, normal(rng, heads, lq, 32), normal(rng, kv_heads, lk, 32), normal(rng, kv_heads, lk, 32), threshold=0.03)


@pytest.mark.parametrize("lq", [1, 5, 40])
@pytest.mark.parametrize("options", [
    {"window": 1}, {"window": 7}, {"window": 33, "softcap": 2.0}, {"scale": 0.5}, {"softcap": 1.5},
    {"key0_bias": [2.0, -3.0, 0.0, 40.0]}, {"q_offset": 0}, {"q_offset": -3}, {"q_offset": 70}, {"q_offset": 10**9},
    {"beta": 0.0}, {"beta": 0.9}, {"threshold": 0.0}, {"threshold": 0.3}, {"min_rows": 3}, {"heads": [1, 0, 0, 1]},
    {"window": 9, "softcap": 3.0, "key0_bias": [1.0, 2.0, 3.0, 4.0], "scale": 0.7, "q_offset": 11, "threshold": 0.2},
], ids=str)
def test_rules(cpu, rng, lq, options):
    q, k, v = normal(rng, 4, lq, 32), normal(rng, 2, 60, 32), normal(rng, 2, 60, 32)
    check(cpu, q, k, v, **{"threshold": 0.05, **options})
    if "key0_bias" not in options:
        check(cpu, q, k, v, compute="blas", **{"threshold": 0.05, **options})


@pytest.mark.parametrize("sharpness", [3.0, 12.0, 60.0])
@pytest.mark.parametrize("lq", [2, 7, 50])
def test_rows_with_most_of_their_mass_in_sinks(cpu, rng, lq, sharpness):
    """m near 1: o_S must not be taken from the whole."""
    q, k, v = normal(rng, 2, lq, 32), normal(rng, 2, 50, 32), normal(rng, 2, 50, 32)
    k[:, [3, 20]] += sharpness * q.mean((0, 1)) / np.linalg.norm(q.mean((0, 1)))
    q += sharpness * q.mean((0, 1)) / np.linalg.norm(q.mean((0, 1)))
    p, after, sinks = check(cpu, q, k, v, threshold=0.2, beta=0.1)
    m = np.array([p[h][:, sinks[h]].sum(-1) for h in range(2)])
    assert sharpness < 10 or m.max() > 0.99


def test_no_sinks_or_beta_one_is_attention(cpu, rng):
    for lq in (1, 50):
        q, k, v = normal(rng, 4, lq, 64), normal(rng, 2, 50, 64), normal(rng, 2, 50, 64)
        expected = tamis.attention(q, k, v, return_lse=True, ctx=cpu)
        for options in ({"threshold": 1.0}, {"beta": 1.0, "threshold": 0.01}, {"heads": np.zeros(4, bool)}, {"min_rows": 1000}):
            found = tamis.act_attention(q, k, v, return_lse=True, ctx=cpu, **options)
            for a, b in zip(found, expected):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
@pytest.mark.parametrize("lq", [1, 4, 50])
def test_other_heads_have_the_bits_of_attention(cpu, rng, dtype, lq):
    q = normal(rng, 4, lq, 64)
    (k, _), (v, _) = (stored(normal(rng, 2, 80, 64), dtype) for _ in range(2))
    found = tamis.act_attention(q, k, v, heads=[False, True, False, True], threshold=0.02, return_lse=True, ctx=cpu)
    expected = tamis.attention(q, k, v, return_lse=True, ctx=cpu)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0][[0, 2]], expected[0][[0, 2]])
    assert (found[0][[1, 3]] != expected[0][[1, 3]]).any()


@pytest.mark.parametrize("lq", [1, 40])
def test_invariants_of_the_weights(cpu, rng, lq):
    """Rows sum to 1, the sinks' mass is beta m, ratios of the others stay, token 0 is never reduced."""
    n, d, beta = 60, 64, 0.4
    q, k = normal(rng, 2, lq, d), normal(rng, 1, n, d)
    q[:, :, 0] += 3
    k[:, [0, 9, 30], 0] += 6
    eye = np.eye(n, d, dtype=np.float32)[None]
    at = {"q_offset": 0 if lq == 40 else n - 1, "ctx": cpu}
    after = tamis.act_attention(q, k, eye, beta=beta, **at)[..., :n]
    before = tamis.attention(q, k, eye, **at)[..., :n]
    sinks = calibrated(*weights(q, k, q_offset=at["q_offset"]), beta=beta)[1]
    ones = tamis.act_attention(q, k, np.ones((1, n, d), np.float32), beta=beta, **at)
    np.testing.assert_allclose(ones, 1, atol=2e-6)
    for h in range(2):
        s = sinks[h]
        assert s and 0 not in s
        rest = [j for j in range(n) if j not in s]
        m = before[h][:, s].sum(-1, dtype=np.float64)
        np.testing.assert_allclose(after[h][:, s].sum(-1, dtype=np.float64), beta * m, atol=1e-6)
        np.testing.assert_allclose(after[h][:, s], beta * before[h][:, s], atol=1e-6)
        assert (after[h][:, 0] >= before[h][:, 0] - 1e-7).all()
        for i in range(lq):
            if 1 - m[i] > 1e-3:
                seen = [j for j in rest if before[h, i, j] > 1e-3]
                np.testing.assert_allclose(
                    after[h, i, seen] / before[h, i, seen], 1 + (1 - beta) * m[i] / (1 - m[i]), rtol=5e-4)


@pytest.mark.parametrize("q_type, kv_type, out_type, tolerance", [
    ("f32", "f16", "f32", 1e-5), ("f16", "f16", "f16", 2e-3), ("f32", "bf16", "f32", 1e-5), ("bf16", "bf16", "bf16", 2e-2),
    ("bf16", "bf16", "f32", 2e-2), ("f32", "i8", "f32", 5e-3), ("bf16", "i8", "f16", 5e-3),
])
@pytest.mark.parametrize("lq", [1, 6, 90])
def test_dtypes(cpu, rng, q_type, kv_type, out_type, tolerance, lq):
    q, q64 = stored(normal(rng, 4, lq, 64), q_type)
    k, k64 = stored(normal(rng, 2, 90, 64), kv_type)
    v, v64 = stored(normal(rng, 2, 90, 64), kv_type)
    out = tamis.Tensor.empty((4, lq, 64), out_type)
    # in the widest gap between means, where 16-bit products cannot cross it
    p, legal = weights(q64, k64)
    means = np.sort((p.sum(1) / legal.sum(0)).ravel())
    means = means[(means > 0.02) & (means < 0.08)]
    at = np.diff(means).argmax()
    check(cpu, q, k, v, tolerance, q64, k64, v64, out=out, threshold=float(means[at : at + 2].mean()))


def test_outputs_of_two_bytes_in_slices(cpu, rng):
    """More than 64 MiB of f32 outputs: made one KV head after the other."""
    heads, n, d = 32, 2100, 256
    q, k, v = (normal(rng, h, n, d).astype(np.float16) for h in (heads, 2, 2))
    flags = np.arange(heads) % 16 == 3
    out = tamis.act_attention(q, k, v, heads=flags, threshold=0.002, window=64, ctx=cpu)
    wide = tamis.act_attention(q, k, v, heads=flags, threshold=0.002, window=64, out=np.empty(q.shape, np.float32), ctx=cpu)
    np.testing.assert_array_equal(out, wide.astype(np.float16))
    plain_out = tamis.attention(q, k, v, window=64, ctx=cpu)
    np.testing.assert_array_equal(out[~flags], plain_out[~flags])
    assert (out[flags] != plain_out[flags]).any()


def test_strides(cpu, rng):
    q = normal(rng, 30, 4, 32).transpose(1, 0, 2)
    k = normal(rng, 2, 80, 64)[:, ::2, :32]
    v = normal(rng, 2, 40, 32)[:, ::-1]
    out = np.zeros((30, 4, 64), np.float32).transpose(1, 0, 2)[..., ::2]
    check(cpu, q, k, v, out=out, threshold=0.04)


# ------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("cuts", [[20, 21, 22, 23, 60], [1, 2, 3, 50, 51, 60], [59, 60], [60]], ids=str)
@pytest.mark.parametrize("window", [0, 13])
def test_running_statistics(cpu, rng, cuts, window):
    """Each call's rows are added before its sinks are found: what the oracle does with the sums of the calls before."""
    n, d = 60, 32
    q, k, v = normal(rng, 4, n, d), normal(rng, 2, n, d), normal(rng, 2, n, d)
    heads = [True, True, False, True]
    state, before, start = tamis.ActState(4, ctx=cpu), None, 0
    values = np.repeat(v.astype(np.float64), 2, 0)
    for end in cuts:
        rows = slice(start, end)
        out = tamis.act_attention(
            q[:, rows], k[:, :end], v[:, :end], threshold=0.06, heads=heads, state=state, window=window or None, ctx=cpu)
        p, legal = weights(q[:, rows], k[:, :end], window=window)
        after, sinks, before = calibrated(p, legal, threshold=0.06, heads=heads, before=before)
        np.testing.assert_allclose(out, after @ values[:, :end], atol=1e-5)
        for h in range(4):
            assert state.sinks(h).tolist() == sinks[h]
        start = end


def test_decode_steps_have_the_statistics_of_one_long_prefill(cpu, rng):
    """After the last step the columns' sums are those of one prefill: the same sinks, and the last row is its last row."""
    n, d = 80, 32
    q, k, v = normal(rng, 4, n, d), normal(rng, 2, n, d), normal(rng, 2, n, d)
    k[:, 17] *= 3
    whole, steps = tamis.ActState(4, ctx=cpu), tamis.ActState(4, ctx=cpu)
    prefill = tamis.act_attention(q, k, v, state=whole, threshold=0.03, ctx=cpu)
    tamis.act_attention(q[:, :60], k[:, :60], v[:, :60], state=steps, threshold=0.03, ctx=cpu)
    for t in range(60, n):
        row = tamis.act_attention(q[:, t : t + 1], k[:, : t + 1], v[:, : t + 1], state=steps, threshold=0.03, ctx=cpu)
    for h in range(4):
        np.testing.assert_array_equal(whole.sinks(h), steps.sinks(h))
    assert sum(len(whole.sinks(h)) for h in range(4)) > 0
    np.testing.assert_allclose(row[:, 0], prefill[:, -1], atol=1e-5)


def test_reset_and_reuse(cpu, rng):
    q, k, v = normal(rng, 2, 40, 16), normal(rng, 1, 40, 16), normal(rng, 1, 40, 16)
    state = tamis.ActState(2, ctx=cpu)
    assert state.sinks(1).tolist() == []
    first = tamis.act_attention(q, k, v, state=state, threshold=0.05, ctx=cpu)
    sinks = state.sinks(1)
    assert len(sinks)
    state.reset()
    assert state.sinks(1).tolist() == []
    again = tamis.act_attention(q, k, v, state=state, threshold=0.05, heads=[0, 1], ctx=cpu)  # heads may change now
    np.testing.assert_array_equal(again[1], first[1])
    np.testing.assert_array_equal(state.sinks(1), sinks)
    assert state.sinks(0).tolist() == []
    state.close()
    with pytest.raises(ValueError, match="closed"):
        state.sinks(0)


def test_keys_beyond_the_rows_are_not_seen(cpu, rng):
    q, k, v = normal(rng, 2, 30, 16), normal(rng, 1, 50, 16), normal(rng, 1, 50, 16)
    a, b = tamis.ActState(2, ctx=cpu), tamis.ActState(2, ctx=cpu)
    np.testing.assert_array_equal(
        tamis.act_attention(q, k, v, q_offset=0, state=a, threshold=0.05, ctx=cpu),
        tamis.act_attention(q, k[:, :30], v[:, :30], state=b, threshold=0.05, ctx=cpu))
    np.testing.assert_array_equal(a.sinks(0), b.sinks(0))


def test_a_failed_or_cancelled_call_leaves_the_state(cpu, rng):
    q, k, v = normal(rng, 2, 300, 16), normal(rng, 1, 300, 16), normal(rng, 1, 300, 16)
    state = tamis.ActState(2, ctx=cpu)
    tamis.act_attention(q[:, :50], k[:, :50], v[:, :50], state=state, threshold=0.03, ctx=cpu)
    sinks = [state.sinks(h) for h in range(2)]
    for stop_at in range(1, 40):
        calls = []

        def progress(done):
            assert not calls or done >= calls[-1]
            calls.append(done)
            return len(calls) < stop_at

        try:
            tamis.act_attention(q[:, 50:], k, v, state=state, threshold=0.03, progress=progress, ctx=cpu)
        except tamis.CancelledError:
            for h in range(2):
                np.testing.assert_array_equal(state.sinks(h), sinks[h])
            continue
        assert stop_at > 3 and calls[-1] == 1
        break
    else:
        raise AssertionError("never done")
    whole = tamis.ActState(2, ctx=cpu)
    tamis.act_attention(q, k, v, state=whole, threshold=0.03, ctx=cpu)
    np.testing.assert_array_equal(state.sinks(0), whole.sinks(0))


def test_threads_give_the_same_bits(rng):
    q, k, v = normal(rng, 4, 700, 64), normal(rng, 2, 700, 64), normal(rng, 2, 700, 64)
    k[:, 33] += 2
    runs = []
    for threads in (1, 2, 3):
        ctx = tamis.Context("cpu", threads=threads)
        state = tamis.ActState(4, ctx=ctx)
        out = tamis.act_attention(q, k, v, threshold=0.01, beta=0.1, state=state, ctx=ctx)
        runs.append([out, *(state.sinks(h) for h in range(4))])
    for other in runs[1:]:
        for a, b in zip(runs[0], other):
            np.testing.assert_array_equal(a, b)


def test_not_a_number_reaches_its_rows_only(cpu, rng):
    q, k, v = normal(rng, 2, 60, 32), normal(rng, 1, 60, 32), normal(rng, 1, 60, 32)
    clean = tamis.act_attention(q, k, v, threshold=0.04, ctx=cpu)
    assert np.isfinite(clean).all()
    q[1, 40, 3] = np.nan
    out = tamis.act_attention(q, k, v, threshold=0.04, ctx=cpu)
    assert np.isnan(out[1, 40]).all() and np.isfinite(np.delete(out[1], 40, 0)).all()
    np.testing.assert_array_equal(out[0], clean[0])
    # its weights count as nothing, and the row counts as one that sees
    p, legal = weights(q, k)
    p[1, 40] = 0
    after = calibrated(p, legal, threshold=0.04)[0]
    np.testing.assert_allclose(np.delete(out[1], 40, 0), np.delete(after[1] @ v[0], 40, 0), atol=1e-5)


def test_opencl_says_so(ctx, rng):
    if ctx.device == "cpu":
        return
    q, k = normal(rng, 2, 4, 16), normal(rng, 1, 4, 16)
    with pytest.raises(tamis.UnsupportedError, match="CPU context"):
        tamis.act_attention(q, k, k, ctx=ctx)


@pytest.mark.parametrize("name, options", [
    ("threshold", {"threshold": -0.1}), ("threshold", {"threshold": float("nan")}), ("beta", {"beta": -0.1}),
    ("beta", {"beta": 1.1}), ("beta", {"beta": float("nan")}), ("min_rows", {"min_rows": 0}), ("min_rows", {"min_rows": 1.5}),
    ("heads", {"heads": [1, 0]}), ("heads", {"heads": [1, 0, 2, 0]}), ("state", {"state": 3}),
    ("scale", {"scale": float("inf")}), ("softcap", {"softcap": -1.0}), ("window", {"window": -1}),
    ("key0_bias", {"key0_bias": [1.0]}), ("compute", {"compute": "fast"}), ("out", {"out": np.zeros((4, 3, 16), np.float32)}),
], ids=str)
def test_bad_input(cpu, rng, name, options):
    q, k = normal(rng, 4, 20, 16), normal(rng, 2, 20, 16)
    with pytest.raises(tamis.InvalidArgumentError, match=name):
        tamis.act_attention(q, k, k, ctx=cpu, **options)


def test_bad_shapes_and_states(cpu, rng):
    q, k = normal(rng, 4, 20, 16), normal(rng, 2, 20, 16)
    with pytest.raises(tamis.InvalidArgumentError, match="ndim"):
        tamis.act_attention(q[None], k[None], k[None], ctx=cpu)
    with pytest.raises(tamis.InvalidArgumentError, match="state"):
        tamis.act_attention(q, k, k, state=tamis.ActState(3, ctx=cpu), ctx=cpu)
    with pytest.raises(tamis.InvalidArgumentError, match="context"):
        tamis.act_attention(q, k, k, state=tamis.ActState(4, ctx=tamis.Context("cpu")), ctx=cpu)
    state = tamis.ActState(4, ctx=cpu)
    tamis.act_attention(q[:, :10], k[:, :10], k[:, :10], state=state, heads=[1, 1, 0, 1], ctx=cpu)
    with pytest.raises(tamis.InvalidArgumentError, match="q_offset is 0; expected 10"):
        tamis.act_attention(q, k, k, state=state, heads=[1, 1, 0, 1], ctx=cpu)
    with pytest.raises(tamis.InvalidArgumentError, match=r"heads\[2\] is 1; expected 0"):
        tamis.act_attention(q[:, 10:], k, k, state=state, ctx=cpu)
    with pytest.raises(tamis.InvalidArgumentError, match="k has 15 keys; expected at least 20"):
        tamis.act_attention(q[:, 10:], k[:, :15], k[:, :15], q_offset=10, state=state, heads=[1, 1, 0, 1], ctx=cpu)
    for head in (-1, 4):
        with pytest.raises(tamis.InvalidArgumentError, match="head is"):
            state.sinks(head)
    for heads in (0, -1, 1 << 20):
        with pytest.raises(tamis.InvalidArgumentError, match="q_heads"):
            tamis.ActState(heads, ctx=cpu)


# ------------------------------------------------------------------------------------------------------ search


def test_search_keeps_heads_that_beat_the_baseline():
    good, bad = {(1, 2): 0.3, (3, 0): 0.2}, {(0, 1): -0.5}

    def score(flags):
        return 1 + sum(w for pair, w in {**good, **bad}.items() if flags[pair])

    found = tamis.act_search(score, 4, 3)
    assert found.heads.shape == (4, 3) and set(zip(*np.nonzero(found.heads))) == set(good)
    assert found.baseline == 1 and found.best == pytest.approx(1.5) and found.evaluations == 1 + 12 + 1
    assert found.effects[1, 2] == pytest.approx(0.3) and found.effects[0, 1] == pytest.approx(-0.5) and found.effects[2, 2] == 0
    some = tamis.act_search(score, 4, 3, candidates=[(3, 0), (0, 1), (3, 0)])
    assert set(zip(*np.nonzero(some.heads))) == {(3, 0)} and some.evaluations == 3 and np.isnan(some.effects[1, 2])


def test_search_is_never_worse_than_the_baseline():
    none = tamis.act_search(lambda flags: 0.5, 2, 2)
    assert not none.heads.any() and none.best == none.baseline == 0.5 and none.evaluations == 5
    # each helps alone, together they harm
    found = tamis.act_search(lambda flags: [0, 1, -1][min(flags.sum(), 2)] + 0.1 * flags[0, 1], 1, 3)
    assert found.heads.tolist() == [[False, True, False]] and found.best == pytest.approx(1.1)
    nan = tamis.act_search(lambda flags: float("nan") if flags[0, 0] else float(flags[0, 1]), 1, 2)
    assert nan.heads.tolist() == [[False, True]] and nan.effects.tolist() == [[-np.inf, 1]]


def test_search_stops_and_refuses():
    with pytest.raises(tamis.CancelledError, match="evaluation 2"):
        tamis.act_search(lambda flags: None if flags.any() else 0.0, 2, 2)
    with pytest.raises(tamis.InvalidArgumentError, match="layers"):
        tamis.act_search(lambda flags: 0.0, 0, 2)
    with pytest.raises(tamis.InvalidArgumentError, match="candidates"):
        tamis.act_search(lambda flags: 0.0, 2, 2, candidates=[(2, 0)])
    with pytest.raises(tamis.InvalidArgumentError, match="score"):
        tamis.act_search(lambda flags: "good", 2, 2)
