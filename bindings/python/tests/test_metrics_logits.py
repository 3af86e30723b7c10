"""tamis.metrics from logits against plain numpy in float64, analytic cases and invariants."""

import ctypes
import math

import numpy as np
import pytest
from conftest import stored

import tamis
from tamis import _ffi, metrics

ALL = ("nll", "loss", "lse", "entropy", "varentropy", "collision", "confidence", "margin", "probability", "brier", "top_k_mass",
       "mean", "top", "rank", "ties")


def oracle(z, y, k=1, temperature=1.0, smoothing=0.0):
    """One row, float64."""
    raw = np.asarray(z, np.float64)
    z = raw / temperature
    there = z > -np.inf
    m = z.max()
    e = np.where(there, np.exp(np.where(there, z - m, 0)), 0)
    p = e / e.sum()
    lse = m + math.log(e.sum())
    logs = np.where(there, z - lse, 0)
    mean_log = (p * logs).sum()
    order = np.sort(z)[::-1]
    nll = lse - z[y]
    mean = z[there].mean()
    return {
        "lse": lse, "nll": nll, "loss": (1 - smoothing) * nll + smoothing * (lse - mean), "entropy": -mean_log,
        "varentropy": (p * (logs - mean_log) ** 2).sum(), "collision": (p * p).sum(), "confidence": p.max(),
        "margin": order[0] - order[1] if len(z) > 1 else np.inf, "probability": math.exp(-nll),
        "brier": 1 - 2 * math.exp(-nll) + (p * p).sum(), "top_k_mass": np.sort(p)[::-1][:k].sum(), "mean": mean,
        "top": int(z.argmax()), "rank": 1 + int((raw > raw[y]).sum()), "ties": int((raw == raw[y]).sum()) - 1,
    }


def compare(found, values, targets, where="", **options):
    """`values` [T, V] float64 as stored."""
    for t in range(len(values)):
        wanted = oracle(values[t], targets[t], **options)
        there = values[t][values[t] > -np.inf] / options.get("temperature", 1)
        spread = ((there - there.max()) ** 2 * np.exp(there - there.max())).sum() / np.exp(there - there.max()).sum()
        for name, array in found.items():
            a, b = array[t], wanted[name]
            if name in ("top", "rank", "ties"):
                assert a == b, (where, t, name, a, b)
            elif name == "varentropy":
                assert abs(a - b) <= 1e-6 * max(1, spread), (where, t, name, a, b)
            elif not (math.isinf(b) and a == b):
                assert abs(a - b) <= 1e-6 * max(1, abs(b)), (where, t, name, a, b)


def language(rng, rows, vocabulary):
    """Logits as models have them: a wide bulk, a few candidates far above, offsets that differ from row to row."""
    z = rng.normal(0, 2.5, (rows, vocabulary)) + rng.normal(0, 6, (rows, 1))
    for row in z:
        row[rng.integers(0, vocabulary, 4)] += rng.uniform(3, 25, 4)
    return z


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("vocabulary", [1, 2, 7, 31, 64, 257, 2048, 2049, 5000, 40000])
def test_every_output_is_that_of_float64(ctx, rng, dtype, vocabulary):
    z, values = stored(language(rng, 5, vocabulary), dtype)
    y = rng.integers(0, vocabulary, 5)
    y[0], y[1] = values[0].argmax(), values[1].argmin()
    k = min(3, vocabulary)
    found = metrics.logit_metrics(z, y, *ALL, top_k=3, label_smoothing=0.1, ctx=ctx)
    compare(found, values, y, (dtype, vocabulary), k=k, smoothing=0.1)
    for name in ALL:  # each by itself: another kernel
        one = metrics.logit_metrics(z, y, name, top_k=3, label_smoothing=0.1, ctx=ctx)
        compare(one, values, y, (dtype, vocabulary, name), k=k, smoothing=0.1)


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.9, 20])
def test_temperature(ctx, rng, temperature):
    z, values = stored(language(rng, 4, 4100), "f32")
    y = rng.integers(0, 4100, 4)
    found = metrics.logit_metrics(z, y, *ALL, temperature=temperature, top_k=5, ctx=ctx)
    compare(found, values, y, temperature=temperature, k=5)


def test_a_large_vocabulary_and_flat_rows(cpu, rng):
    z = np.stack([np.zeros(1 << 18), rng.normal(0, 0.01, 1 << 18), rng.normal(0, 1, 1 << 18)]).astype(np.float32)
    y = np.array([5, 6, 7])
    compare(metrics.logit_metrics(z, y, *ALL, top_k=70000, ctx=cpu), z.astype(np.float64), y, k=70000)


def test_uniform_rows(ctx):
    v = 1000
    found = metrics.logit_metrics(np.full((2, v), 3.25, np.float32), [0, 999], *ALL, top_k=10, ctx=ctx)
    for name, value in {
        "nll": math.log(v), "entropy": math.log(v), "lse": 3.25 + math.log(v), "varentropy": 0, "collision": 1 / v, "confidence": 1 / v,
        "margin": 0, "top_k_mass": 10 / v, "mean": 3.25, "top": 0, "rank": 1, "ties": v - 1,
    }.items():
        assert found[name] == pytest.approx(value, abs=2e-6), name  # rank + ties: V in the worst case


def test_one_hot_is_certain_to_the_last_bit(ctx):
    z = np.zeros((1, 5000), np.float32)
    z[0, 4321] = 1e4
    found = metrics.logit_metrics(z, [4321], *ALL, ctx=ctx)
    assert found["nll"][0] == 0 and found["entropy"][0] == 0 and found["confidence"][0] == 1 and found["lse"][0] == 1e4
    assert found["brier"][0] == 0 and found["margin"][0] == 1e4 and found["top"][0] == 4321
    assert metrics.logit_metrics(z, [0], ctx=ctx)["nll"][0] == 1e4


def test_a_vocabulary_of_one(ctx):
    found = metrics.logit_metrics(np.array([[7.5], [-2]], np.float32), [0, 0], *ALL, ctx=ctx)
    assert (found["nll"] == 0).all() and (found["entropy"] == 0).all() and np.isinf(found["margin"]).all()
    assert found["lse"].tolist() == [7.5, -2] and found["rank"].tolist() == [1, 1] and (found["top_k_mass"] == 1).all()


def test_shifts_change_nothing(ctx, rng):
    z = (rng.integers(-200, 200, (3, 3000)) / 16).astype(np.float32)
    y = rng.integers(0, 3000, 3)
    base = metrics.logit_metrics(z, y, *ALL, ctx=ctx)
    for c in (512.0, -4096.0, 32768.0):  # exact in f32
        moved = metrics.logit_metrics(z + np.float32(c), y, *ALL, ctx=ctx)
        for name in ("nll", "entropy", "varentropy", "confidence", "brier", "rank"):
            assert moved[name] == pytest.approx(base[name], abs=1e-6), (c, name)


def test_removed_entries_are_a_smaller_vocabulary(ctx, rng):
    z = language(rng, 4, 6000).astype(np.float32)
    keep = np.sort(rng.permutation(6000)[:2500])
    masked = np.full_like(z, -np.inf)
    masked[:, keep] = z[:, keep]
    masked[3, :] = -np.inf
    masked[3, 5900] = 3
    y = rng.integers(0, 2500, 3)
    names = [n for n in ALL if n != "top"]
    found = metrics.logit_metrics(masked[:3], keep[y], *names, top_k=4, label_smoothing=0.2, temperature=1.5, ctx=ctx)
    small = metrics.logit_metrics(z[:3, keep], y, *names, top_k=4, label_smoothing=0.2, temperature=1.5, ctx=ctx)
    for name in names:
        assert found[name] == pytest.approx(small[name], rel=1e-6, abs=1e-6), name
    last = metrics.logit_metrics(masked[3:], [5900], *ALL, ctx=ctx)
    assert last["nll"][0] == 0 and last["entropy"][0] == 0 and last["top"][0] == 5900
    assert metrics.logit_metrics(masked[3:], [0], "nll", ctx=ctx)["nll"][0] == np.inf


def test_rows_that_have_no_distribution(ctx, rng):
    z = language(rng, 8, 5000).astype(np.float32)
    z[1, 4000], z[2, 17], z[3], z[4, 4999], z[5, 0] = np.nan, np.inf, -np.inf, -np.nan, np.nan
    y = rng.integers(0, 5000, 8)
    y[6] = -100
    summary = metrics.LogitSummary("nll", "entropy", "correct")
    found = metrics.logit_metrics(z, y, *ALL, summary=summary, ctx=ctx)
    for name in ALL:
        bad = found[name][1:6]
        if name in ("top", "rank", "ties"):
            assert (bad == (-1 if name == "top" else 0)).all(), name
        else:
            assert np.isnan(bad).all(), name
        assert found[name][6] == (-1 if name == "top" else 0), name
    assert summary.nan_rows == 5 and summary.tokens == 2
    compare({n: a[[0, 7]] for n, a in found.items()}, z[[0, 7]].astype(np.float64), y[[0, 7]])
    halves = metrics.logit_metrics(np.repeat(z[:, :, None], 2, 2)[:, :, 0].astype(np.float16), y, "entropy", "lse", ctx=ctx)
    assert np.isnan(halves["entropy"][1:6]).all() and not np.isnan(halves["lse"][[0, 6, 7]]).any()


def test_strides(ctx, rng):
    z = language(rng, 12, 2500).astype(np.float32)
    y = rng.integers(0, 2500, 12)
    plain = metrics.logit_metrics(z, y, *ALL, ctx=ctx)
    wide = np.zeros((12, 2600), np.float32)
    wide[:, 50:2550] = z
    for view in (np.asfortranarray(z), np.repeat(z, 3, 1)[:, ::3], wide[:, 50:2550], z[:, ::-1].copy()[:, ::-1]):
        found = metrics.logit_metrics(view, y, *ALL, ctx=ctx)
        for name in ALL:
            assert (found[name] == plain[name]).all(), name
    batch = metrics.logit_metrics(z.reshape(3, 4, 2500).transpose(1, 0, 2), y.reshape(3, 4).T, *ALL, ctx=ctx)
    for name in ALL:
        assert (batch[name].T.reshape(-1) == plain[name]).all(), name


def test_threads_and_splits_change_no_bit(rng):
    z, _ = stored(language(rng, 7, 90000), "bf16")
    y = rng.integers(0, 90000, 7)
    bits = []
    for threads in (1, 2, 3):
        with tamis.Context("cpu", threads=threads) as ctx:
            summary = metrics.LogitSummary("nll", "entropy", "brier", n_bins=15)
            found = metrics.logit_metrics(z, y, *ALL, top_k=20, summary=summary, ctx=ctx)
            bits.append([found[n].tobytes() for n in ALL] + [summary.total(n) for n in ("nll", "entropy", "brier")])
    assert bits[0] == bits[1] == bits[2]
    words = np.asarray(z.numpy()).view(np.uint16)
    summary = metrics.LogitSummary("nll", "entropy", "brier", n_bins=15)
    for low, high in ((0, 1), (1, 4), (4, 7)):
        metrics.logit_metrics(tamis.Tensor(words[low:high], dtype="bf16"), y[low:high], summary=summary)
    assert [summary.total(n) for n in ("nll", "entropy", "brier")] == bits[0][len(ALL):]


def test_summary(ctx, rng):
    z = (rng.normal(0, 1, (400, 50)) * rng.uniform(0.2, 6, (400, 1))).astype(np.float32)
    y = np.where(rng.random(400) < 0.5, z.argmax(-1), rng.integers(0, 50, 400))
    y[::7] = -1
    summary = metrics.LogitSummary(*metrics._logits.SUMS, n_bins=10)
    found = metrics.logit_metrics(
        z, y, "nll", "entropy", "confidence", "top", "rank", "brier", "loss", top_k=4, label_smoothing=0.3, ignore_index=-1,
        summary=summary, ctx=ctx)
    use = y >= 0
    assert summary.tokens == use.sum() and summary.nan_rows == 0
    for name in ("nll", "entropy", "brier", "loss"):
        assert summary.total(name) == pytest.approx(found[name][use].astype(np.float64).sum(), rel=1e-6)
    right = (found["top"] == y)[use]
    assert summary.total("correct") == right.sum() and summary.total("top_k") == (found["rank"][use] <= 4).sum()
    assert summary.perplexity() == pytest.approx(math.exp(found["nll"][use].mean()), rel=1e-6)
    assert summary.bits_per_byte(1000) == pytest.approx(found["nll"][use].sum() / math.log(2) / 1000, rel=1e-6)
    c = found["confidence"][use].astype(np.float64)
    which = np.clip(np.floor(c * 10).astype(int), 0, 10)
    ece = sum(abs(right[which == i].mean() - c[which == i].mean()) * (which == i).mean() for i in range(11) if (which == i).any())
    gaps = [abs(right[which == i].mean() - c[which == i].mean()) for i in range(11) if (which == i).any()]
    assert summary.calibration_error() == pytest.approx(ece, abs=1e-6)
    assert summary.calibration_error("max") == pytest.approx(max(gaps), abs=1e-6)
    assert summary.calibration_error("l2") >= summary.calibration_error() > 0
    assert summary.bins[:, 0].sum() == use.sum()


def test_confidence_of_one_has_a_bin_of_its_own(ctx):
    z = np.zeros((3, 10), np.float32)
    z[0, 3] = z[1, 4] = 1e4
    summary = metrics.LogitSummary("correct", n_bins=15)
    metrics.logit_metrics(z, [3, 0, 0], summary=summary, ctx=ctx)
    assert summary.bins[15].tolist() == [2, 2, 1] and summary.bins[1, 0] == 1  # 0.1 lies in [1/15, 2/15)
    assert summary.calibration_error() == pytest.approx(2 / 3 * 0.5 + 1 / 3 * 0.9)


def test_adaptive_calibration():
    c = np.array([0.1, 0.9, 0.4, 0.4, 0.8, 0.6], np.float32)
    right = np.array([0, 1, 1, 0, 1, 0])
    # In order .1 .4 .4 | .6 .8 .9 : means .3 and .7667, accuracies 1/3 and 2/3.
    assert metrics.adaptive_calibration_error(c, right, 2) == pytest.approx((1 / 3 - 0.3 + 0.76666667 - 2 / 3) / 2, abs=1e-7)
    assert metrics.adaptive_calibration_error(c, right, 2, "max") == pytest.approx(0.1, abs=1e-7)
    assert metrics.adaptive_calibration_error([], [], 5) == 0
    with pytest.raises(ValueError, match=r"confidence\[1\]"):
        metrics.adaptive_calibration_error([0.5, 1.5], [0, 1])


def test_temperature_fit(ctx, rng):
    z = rng.normal(0, 1, (600, 40))
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    y = np.array([rng.choice(40, p=row) for row in p])
    scaled = (z * 3).astype(np.float32)
    fit = metrics.fit_temperature(scaled, y, ctx=ctx)

    def nll(t):
        x = scaled.astype(np.float64) / t
        return (np.log(np.exp(x).sum(-1)) - x[np.arange(600), y]).mean()

    assert 2.4 < fit.temperature < 3.8 and fit.passes < 15
    assert fit.nll == pytest.approx(nll(fit.temperature), abs=1e-6)
    assert all(nll(fit.temperature) <= nll(fit.temperature * f) for f in (0.99, 1.01))
    for start in (0.05, 50):
        assert metrics.fit_temperature(scaled, y, start=start, ctx=ctx).temperature == pytest.approx(fit.temperature, rel=1e-4)
    certain = np.zeros((3, 5), np.float32)
    certain[:, 2] = 4
    assert metrics.fit_temperature(certain, [2, 2, 2], ctx=ctx).temperature < 0.5  # the colder the better
    with pytest.raises(ValueError, match="targets"):
        metrics.fit_temperature(certain, [-100] * 3, ctx=ctx)


# ------------------------------------------------------------------------------------------------ two models


def divergences(p, q):
    """One row, float64."""
    a, b = (x - x.max() - np.log(np.exp(x - x.max()).sum()) for x in (p, q))
    P, Q = np.exp(a), np.exp(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        M = np.log((P + Q) / 2)
        kl = np.where(P > 0, P * (a - b), 0).sum()
        reverse = np.where(Q > 0, Q * (b - a), 0).sum()
        js = (np.where(P > 0, P * (a - M), 0).sum() + np.where(Q > 0, Q * (b - M), 0).sum()) / 2
    return {"kl": kl, "reverse_kl": reverse, "js": js, "total_variation": abs(P - Q).sum() / 2}


@pytest.mark.parametrize("dtypes", [("f32", "f32"), ("bf16", "bf16"), ("f16", "f32"), ("bf16", "f16")])
@pytest.mark.parametrize("vocabulary", [1, 9, 2050, 40001])
def test_divergences_are_those_of_float64(ctx, rng, dtypes, vocabulary):
    p = language(rng, 4, vocabulary)
    q = p + rng.normal(0, [[0.01], [0.3], [2], [8]], p.shape) + rng.normal(0, 50, (4, 1)) * (dtypes == ("f32", "f32"))
    (zp, vp), (zq, vq) = stored(p, dtypes[0]), stored(q, dtypes[1])
    found = metrics.logit_divergence(zp, zq, *metrics._logits.DIVERGENCES, ctx=ctx)
    for t in range(4):
        for name, value in divergences(vp[t], vq[t]).items():
            assert abs(found[name][t] - value) <= 2e-6 * max(1, abs(value)), (t, name, found[name][t], value)


def test_equal_rows_diverge_by_nothing(ctx, rng):
    z = language(rng, 3, 40000).astype(np.float32)
    z[1, 5:300] = -np.inf
    found = metrics.logit_divergence(z, z.copy(), *metrics._logits.DIVERGENCES, ctx=ctx)
    assert all((a == 0).all() for a in found.values())
    assert (metrics.logit_divergence(z, z, temperature=1.7, ctx=ctx)["kl"] == 0).all()


def test_support_and_nan(ctx, rng):
    p, q = (language(rng, 6, 3000).astype(np.float32) for _ in range(2))
    q[0, 11] = -np.inf  # Q = 0 < P
    p[1, 11] = -np.inf
    p[2, 2999] = np.nan
    q[3, 0] = np.inf
    q[4] = -np.inf
    p[5, ::2], q[5, 1::2] = -np.inf, -np.inf  # nothing in common
    p[0, 11] = -200  # its exponential is 0 in f32, but not in mathematics
    found = metrics.logit_divergence(p, q, *metrics._logits.DIVERGENCES, ctx=ctx)
    assert found["kl"][0] == np.inf and np.isfinite(found["reverse_kl"][0])
    assert found["reverse_kl"][1] == np.inf and np.isfinite(found["kl"][1])
    assert all(np.isnan(a[2:5]).all() for a in found.values())
    assert found["kl"][5] == found["reverse_kl"][5] == np.inf
    assert found["js"][5] == pytest.approx(math.log(2), abs=1e-6) and found["total_variation"][5] == pytest.approx(1, abs=1e-6)


def test_divergence_with_temperature(ctx, rng):
    p, q = (language(rng, 3, 5000).astype(np.float32) for _ in range(2))
    found = metrics.logit_divergence(p, q, *metrics._logits.DIVERGENCES, temperature=2.5, ctx=ctx)
    for t in range(3):
        for name, value in divergences(p[t] / 2.5, q[t] / 2.5).items():
            assert abs(found[name][t] - value) <= 2e-6 * max(1, abs(value)), (t, name)


def test_contrastive(ctx, rng):
    p, n = (language(rng, 5, 4500).astype(np.float32) for _ in range(2))
    y = rng.integers(0, 4500, 5)
    y[4] = -100
    for beta in (0, 0.5, 1, 3):
        z = (1 + beta) * p.astype(np.float64) - beta * n
        wanted = [z[t, y[t]] - z[t].max() - np.log(np.exp(z[t] - z[t].max()).sum()) for t in range(4)]
        found = metrics.contrastive_log_probs(p, n, y, beta, ctx=ctx)
        assert found[:4] == pytest.approx(wanted, rel=2e-6, abs=2e-6) and found[4] == 0
    own = metrics.logit_metrics(p, y, ctx=ctx)["nll"]
    assert metrics.contrastive_log_probs(p, p, y, ctx=ctx)[:4] == pytest.approx(-own[:4], abs=1e-5)
    moved = metrics.contrastive_log_probs(p, n + np.float32(64), y, ctx=ctx)
    assert moved == pytest.approx(metrics.contrastive_log_probs(p, n, y, ctx=ctx), rel=1e-6, abs=1e-5)
    p[0, 7] = n[0, 7] = n[1, 7] = -np.inf
    p[2, 7], n[3, 7] = np.inf, np.inf
    found = metrics.contrastive_log_probs(p, n, y, ctx=ctx)
    assert np.isfinite(found[0]) and np.isnan(found[1:4]).all()


# ------------------------------------------------------------------------------------------------ windows, bad input


@pytest.mark.parametrize("tokens,window,stride", [(0, 5, 2), (1, 5, 2), (5, 5, 5), (6, 5, 2), (23, 8, 3), (1000, 64, 64), (9, 4, 1)])
def test_windows_score_every_token_once(tokens, window, stride):
    seen = []
    for i, (begin, scored, end) in enumerate(metrics.sliding_windows(tokens, window, stride)):
        assert 0 <= begin <= scored < end <= tokens and end - begin <= window
        assert scored == 0 if i == 0 else end - scored <= stride and end - begin == window
        seen += range(scored, end)
    assert seen == list(range(tokens))


def test_bad_arguments(cpu):
    z = np.zeros((3, 4), np.float32)
    for call, words in [
        (lambda: metrics.logit_metrics(z, [0, 4, 1], ctx=cpu), r"targets\[1\] is 4"),
        (lambda: metrics.logit_metrics(z, [0, -1, 1], ctx=cpu), r"targets\[1\] is -1"),
        (lambda: metrics.logit_metrics(z, [0, 1], ctx=cpu), "targets"),
        (lambda: metrics.logit_metrics(z, np.array([0, 1, 2**40]), ctx=cpu), "targets"),
        (lambda: metrics.logit_metrics(z, [0.5, 1, 2], ctx=cpu), "targets"),
        (lambda: metrics.logit_metrics(z, None, "nll", ctx=cpu), "targets is NULL"),
        (lambda: metrics.logit_metrics(z, None, summary=metrics.LogitSummary(), ctx=cpu), "targets is NULL"),
        (lambda: metrics.logit_metrics(z, None, "nil", ctx=cpu), "nil"),
        (lambda: metrics.logit_metrics(z[0], [0], ctx=cpu), "logits"),
        (lambda: metrics.logit_metrics(z.astype(np.int8), [0, 0, 0], ctx=cpu), "logits"),
        (lambda: metrics.logit_metrics(z, [0, 0, 0], temperature=0, ctx=cpu), "temperature"),
        (lambda: metrics.logit_metrics(z, [0, 0, 0], temperature=math.nan, ctx=cpu), "temperature"),
        (lambda: metrics.logit_metrics(z, [0, 0, 0], label_smoothing=1.5, ctx=cpu), "label_smoothing"),
        (lambda: metrics.logit_metrics(z, [0, 0, 0], top_k=0, ctx=cpu), "top_k"),
        (lambda: metrics.logit_divergence(z, z[:, :3], ctx=cpu), "q is"),
        (lambda: metrics.contrastive_log_probs(z, z, [0, 0, 0], -1, ctx=cpu), "beta"),
        (lambda: metrics.sliding_windows(5, 2, 3), "stride"),
        (lambda: metrics.sliding_windows(-1, 2, 2), "tokens"),
        (lambda: metrics.LogitSummary("nil"), "nil"),
        (lambda: metrics.LogitSummary("nll").mean("brier"), "brier"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    z[1] = 7
    assert metrics.logit_metrics(z, [1, 1, 1], top_k=99, ctx=cpu)["nll"] == pytest.approx(math.log(4))


def test_an_output_must_not_lie_in_another(cpu):
    z, y, out = np.zeros((4, 8), np.float32), np.zeros(4, np.int32), np.full(6, 7, np.float32)
    read = tamis._arrays.read(z, "z").c()
    raw = _ffi.tamis_logit_outputs(struct_size=ctypes.sizeof(_ffi.tamis_logit_outputs))
    address = ctypes.cast(out.ctypes.data, ctypes.POINTER(ctypes.c_float))
    raw.nll = address
    raw.lse = ctypes.cast(out.ctypes.data + 8, ctypes.POINTER(ctypes.c_float))
    call = tamis._lib.library().tamis_logit_metrics
    ids = ctypes.cast(y.ctypes.data, ctypes.POINTER(ctypes.c_int32))
    with pytest.raises(ValueError, match="outputs->lse"):
        call(cpu._handle.pointer, None, ctypes.byref(read), ids, ctypes.byref(raw), None)
    raw.lse = ctypes.cast(z.ctypes.data, ctypes.POINTER(ctypes.c_float))
    with pytest.raises(ValueError, match="logits"):
        call(cpu._handle.pointer, None, ctypes.byref(read), ids, ctypes.byref(raw), None)
    assert (out == 7).all()


def test_progress_and_cancellation(cpu):
    z = np.zeros((3000, 20000), np.float16)  # several rounds
    calls = []
    metrics.logit_metrics(z, None, "lse", progress=calls.append, ctx=cpu)
    assert calls and calls == sorted(calls) and 0 < calls[0] < 1
    with pytest.raises(tamis.CancelledError):
        metrics.logit_metrics(z, None, "lse", progress=lambda done: False, ctx=cpu)


def test_perplexity_object(ctx, rng):
    z = language(rng, 12, 300).astype(np.float32).reshape(3, 4, 300)
    y = rng.integers(0, 300, (3, 4))
    y[0, 0] = -100
    metric = metrics.Perplexity(ignore_index=-100, ctx=ctx)
    for i in range(3):
        metric.update(z[i : i + 1], y[i : i + 1])
    nll = metrics.logit_metrics(z, y, ctx=ctx)["nll"]
    assert metric.compute() == pytest.approx(math.exp(nll[y >= 0].mean()), rel=1e-6)
