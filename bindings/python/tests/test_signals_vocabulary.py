"""tamis.signals over vocabularies: function tokens, Text2Token, LM-head keys, against float64 loops of the formulas."""

import math
from collections import Counter

import numpy as np
import pytest

import tamis
from conftest import stored
from tamis import signals
from tamis.signals import Target

BAD = tamis.InvalidArgumentError


# --------------------------------------------------------------------------------------------- function tokens


def function_oracle(counts, share):
    total, reached, found = sum(int(c) for c in counts), 0, set()
    for v in sorted(range(len(counts)), key=lambda v: (-int(counts[v]), v)):
        if reached >= share * total:
            break
        reached += int(counts[v])
        found.add(v)
    return np.array([v in found for v in range(len(counts))])


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9, 1])
def test_function_tokens_against_loops(rng, share):
    for n in (1, 2, 7, 300):
        counts = np.floor(rng.pareto(1, n) * 5).astype(np.uint64)
        counts[0] += np.uint64(1)
        assert np.array_equal(signals.function_tokens(counts, share), function_oracle(counts, share))


def test_function_tokens_by_hand():
    assert signals.function_tokens([1, 5, 3, 1]).tolist() == [False, True, False, False]
    assert signals.function_tokens([3, 4, 3, 0]).tolist() == [False, True, False, False]  # 4 of 10 is the line itself
    assert signals.function_tokens([3, 3, 4], 0.5).tolist() == [True, False, True]         # the lower of equals crosses it
    assert signals.function_tokens([0, 2, 0], 1).tolist() == [False, True, False]
    huge = np.array([2**62, 2**62, 1], np.uint64)
    assert signals.function_tokens(huge[:2], 0.6).tolist() == [True, True]
    with pytest.raises(BAD, match=r"counts\[2\] is 1"):
        signals.function_tokens(huge)


def test_uniform_counts_give_two_fifths_of_the_vocabulary():
    for n in (1, 2, 5, 10, 35, 333, 128_000):
        for each in (1, 7):
            found = signals.function_tokens(np.full(n, each))
            # 0.4 n in rational arithmetic: 2 n / 5
            assert found.sum() == -(-2 * n // 5) and found[: found.sum()].all()


def test_token_counts(rng):
    documents = [rng.integers(0, 30, rng.integers(0, 40)) for _ in range(20)]
    counts, holding = signals.token_counts(documents, 30)
    every, once = Counter(), Counter()
    for d in documents:
        every.update(d.tolist())
        once.update(set(d.tolist()))
    assert counts.tolist() == [every[v] for v in range(30)] and holding.tolist() == [once[v] for v in range(30)]
    padded = np.array([[1, 2, 99], [2, 2, 2]])
    counts, holding = signals.token_counts(padded, 3, lengths=[2, 3])
    assert counts.tolist() == [0, 1, 4] and holding.tolist() == [0, 1, 2]
    with pytest.raises(BAD, match="token 2 of sequence 0 is 99"):
        signals.token_counts(padded, 3)


def test_losses_by_type(rng):
    function = rng.random(20) < 0.4
    tokens = [rng.integers(0, 20, n) for n in (0, 1, 2, 30, 17)]
    nll = [rng.exponential(size=len(t)) for t in tokens]
    mask = [rng.random(len(t)) < 0.7 for t in tokens]
    for use in (None, mask):
        sums, counts = np.zeros(4), np.zeros(4, int)
        for i, row in enumerate(tokens):
            for t in range(1, len(row)):
                if use is None or use[i][t]:
                    group = 2 * (not function[row[t - 1]]) + (not function[row[t]])
                    sums[group] += nll[i][t]
                    counts[group] += 1
        unread = [np.where(np.ones(len(x)) if use is None else use[i], x, np.nan) for i, x in enumerate(nll)]
        for row in unread:
            row[:1] = np.nan  # the first token is not counted
        found = signals.function_nll(tokens, unread, function, mask=use)
        assert np.allclose(found.sums, sums, rtol=1e-13) and found.counts.tolist() == counts.tolist()
        assert np.allclose(found.means, sums / counts)
    padded = np.array([[0, 1, 1, 0], [1, 0, 7, 7]])
    found = signals.function_nll(padded, np.array([[9, 1, 2, 4], [9, 8, np.nan, np.nan.real]]), [True, False], lengths=[4, 2])
    assert found.sums.tolist() == [0, 1, 12, 2] and found.counts.tolist() == [0, 1, 2, 1] and math.isnan(found.means[0])


def test_bad_input_of_function_tokens():
    for share in (0, -1, 1.1, math.nan):
        with pytest.raises(BAD, match="share is"):
            signals.function_tokens([1], share)
    with pytest.raises(BAD, match="all 0"):
        signals.function_tokens([0, 0])
    with pytest.raises(BAD, match="counts is"):
        signals.function_tokens([1, -1])
    with pytest.raises(BAD, match="vocabulary is 0"):
        signals.token_counts([[1]], 0)
    with pytest.raises(BAD, match="token 1 of sequence 0 is 3"):
        signals.function_nll([[0, 3]], [[0, 0]], [True, False])
    with pytest.raises(BAD, match=r"nll\[1\] is nan"):
        signals.function_nll([[0, 1]], [[0, np.nan]], [True, False])
    with pytest.raises(BAD, match=r"nll\[0\] is"):
        signals.function_nll([[0, 1]], [[0]], [True, False])
    with pytest.raises(BAD, match=r"flags\[1\] is 2"):
        signals.function_nll([[0, 1]], [[0, 0]], np.array([0, 2]))


# -------------------------------------------------------------------------------------------------- Text2Token


def test_text_targets(rng):
    idf = signals.inverse_document_frequency([0, 1, 5, 10], 10)
    assert np.allclose(idf, [math.log(11 / (1 + d)) + 1 for d in (0, 1, 5, 10)], rtol=1e-15) and idf[3] == 1
    tokens = rng.integers(0, 40, 100)
    weights, excluded = rng.random(40), rng.random(40) < 0.3
    weights[5] = 0
    wanted = {v: n * weights[v] for v, n in Counter(tokens.tolist()).items() if not excluded[v] and weights[v] > 0}
    total = sum(wanted.values())
    found = signals.text_target(tokens, weights, excluded)
    assert found.tokens.tolist() == sorted(wanted)
    assert np.allclose(found.q, [wanted[v] / total for v in sorted(wanted)], rtol=1e-13) and found.q.sum() == pytest.approx(1)
    empty = signals.text_target([3, 3], np.ones(4), [0, 0, 0, 1])
    assert len(empty.tokens) == len(empty.q) == 0


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_model_targets(rng, ctx, dtype):
    logits, exact = stored(3 * rng.normal(size=(6, 9000)), dtype)
    rows, excluded = np.array([1, 1, 0, 1, 1, 0]), rng.random(9000) < 0.2
    mean = exact[rows == 1].mean(0)
    p = np.where(excluded, 0, np.exp(mean - mean.max()))
    p /= p.sum()
    top = np.sort(np.argsort(-p, kind="stable")[:32])
    found = signals.model_target(logits, rows=rows, excluded=excluded, ctx=ctx)
    assert found.tokens.tolist() == top.tolist() and np.allclose(found.q, p[top] / p[top].sum(), rtol=1e-12)
    whole = signals.model_target(logits, k=10**6, ctx=ctx)
    assert len(whole.tokens) == 9000
    one = tamis.Context("cpu", threads=1)
    alone = signals.model_target(logits, rows=rows, excluded=excluded, ctx=one)
    assert np.array_equal(alone.q, found.q)  # the same bits whatever the threads


def test_model_target_ties_and_infinities():
    z = np.array([[0, 1, 1, 1, -np.inf]], np.float32)
    assert signals.model_target(z, k=2).tokens.tolist() == [1, 2]
    assert signals.model_target(z, k=9).tokens.tolist() == [0, 1, 2, 3]
    assert signals.model_target(z.T.copy().T, k=1).q.tolist() == [1]
    with pytest.raises(BAD, match="no token"):
        signals.model_target(z, excluded=[1, 1, 1, 1, 0])
    with pytest.raises(BAD, match="no row"):
        signals.model_target(z, rows=[0])
    for bad in (np.nan, np.inf):
        z[0, 3] = bad
        with pytest.raises(BAD, match=r"logits\[0\]\[3\] is"):
            signals.model_target(z)
    with pytest.raises(BAD, match="k is 0"):
        signals.model_target(z, k=0)


def test_mixed_targets(rng):
    a = Target(np.array([1, 4, 9], np.int32), np.array([0.5, 0.25, 0.25]))
    b = Target(np.array([0, 4], np.int32), np.array([0.5, 0.5]))
    mixed = signals.mix_targets(a, b, 0.25)
    assert mixed.tokens.tolist() == [0, 1, 4, 9]
    assert np.allclose(mixed.q, [0.125, 0.375, 0.3125, 0.1875], rtol=1e-15)
    assert signals.mix_targets(a, b, 0).tokens.tolist() == [1, 4, 9]
    assert signals.mix_targets(a, b, 1).q.tolist() == [0.5, 0.5]
    nothing = Target(np.empty(0, np.int32), np.empty(0))
    assert signals.mix_targets(a, nothing, 0.7).q.tolist() == a.q.tolist()
    assert signals.mix_targets(nothing, b, 0.7).q.tolist() == b.q.tolist()
    for lam in (-0.1, 1.1, math.nan):
        with pytest.raises(BAD, match="lambda is"):
            signals.mix_targets(a, b, lam)
    with pytest.raises(BAD, match=r"a->tokens\[1\] is 1 after 1"):
        signals.mix_targets(Target(np.array([1, 1]), np.array([0.5, 0.5])), b)
    with pytest.raises(BAD, match=r"b->q\[0\] is 0"):
        signals.mix_targets(a, Target(np.array([1]), np.array([0.0])))


def log_softmax(z):
    return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_divergence_from_sparse_targets(rng, ctx, dtype):
    logits, exact = stored(4 * rng.normal(size=(5, 700)), dtype)
    targets = []
    for n in (1, 5, 32, 700):
        q = rng.random(n)
        targets.append(Target(np.sort(rng.choice(700, n, replace=False)), q / q.sum()))
    targets.append(Target(np.empty(0, np.int32), np.empty(0)))
    logs = log_softmax(exact)
    wanted = [sum(q * (math.log(q) - logs[i, v]) for v, q in zip(t.tokens, t.q)) for i, t in enumerate(targets)]
    assert np.allclose(signals.target_kl(logits, targets, ctx=ctx), wanted, rtol=1e-12, atol=1e-12)


def test_divergence_analytic():
    z = np.log(np.array([[0.5, 0.25, 0.25]], np.float32))
    same = Target(np.arange(3), np.array([0.5, 0.25, 0.25]))
    assert abs(signals.target_kl(z, [same])[0]) < 1e-7
    uniform = np.zeros((1, 1000), np.float32)
    assert signals.target_kl(uniform, [Target(np.array([3]), np.ones(1))])[0] == pytest.approx(math.log(1000), rel=1e-14)
    assert signals.target_kl(uniform + 1e6, [Target(np.array([3]), np.ones(1))])[0] == pytest.approx(math.log(1000), rel=1e-9)
    z[0, 0] = -np.inf
    assert signals.target_kl(z, [same])[0] == np.inf
    z[0, 0] = np.nan
    assert math.isnan(signals.target_kl(z, [same])[0])
    with pytest.raises(BAD, match="adds up to 0.5"):
        signals.target_kl(z, [Target(np.array([0]), np.array([0.5]))])
    with pytest.raises(BAD, match=r"targets->tokens\[0\] is 3"):
        signals.target_kl(z, [Target(np.array([3]), np.ones(1))])
    with pytest.raises(BAD, match="targets has 2 rows"):
        signals.target_kl(z, [same, same])


def test_overlap_with_the_text(rng, ctx):
    logits = (3 * rng.normal(size=(4, 200))).astype(np.float32)
    texts = [rng.integers(0, 200, n) for n in (0, 1, 50, 400)]
    found = signals.text_overlap(logits, texts, 20, ctx=ctx)
    p = np.exp(log_softmax(logits.astype(np.float64)))
    for i, text in enumerate(texts):
        words = set(text.tolist())
        top = np.argsort(-logits[i], kind="stable")[:20]
        assert found.overlap[i] == sum(v in words for v in top.tolist()) / 20
        assert found.mass[i] == pytest.approx(sum(p[i, v] for v in words), rel=1e-12, abs=1e-15)
    ties = signals.text_overlap(np.zeros((1, 6), np.float32), [[0, 1]], 2)
    assert ties.overlap[0] == 1 and ties.mass[0] == pytest.approx(1 / 3)
    for k in (0, 201):
        with pytest.raises(BAD, match=f"k is {k}"):
            signals.text_overlap(logits, texts, k)
    with pytest.raises(BAD, match="token 0 of sequence 1 is 200"):
        signals.text_overlap(logits, [[], [200], [], []])
    with pytest.raises(BAD, match="texts has 1"):
        signals.text_overlap(logits, [[1]])


def test_bad_input_of_text_targets():
    with pytest.raises(BAD, match=r"documents\[1\] is 5"):
        signals.inverse_document_frequency([0, 5], 4)
    with pytest.raises(BAD, match=r"idf\[1\] is -1"):
        signals.text_target([0, 1], [1, -1])
    with pytest.raises(BAD, match=r"idf\[1\] is nan"):
        signals.text_target([0, 1], [1, np.nan])
    with pytest.raises(BAD, match="token 1 of sequence 0 is 2"):
        signals.text_target([0, 2], [1, 1])


# ------------------------------------------------------------------------------------------------ KeyNavi, ICN


def ranks_of(values):
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    for v in order:
        ranks[v] = (np.sum(values < values[v]) + np.sum(values <= values[v]) - 1) / 2
    return ranks


def spearman(values):
    x, y = ranks_of(np.asarray(values)), np.arange(len(values), dtype=float)
    x, y = x - x.mean(), y - y.mean()
    return 0.0 if not x.any() or not y.any() else (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())


def diagnostic_oracle(logits, clusters, keys, correct, main, top):
    ranked = np.argsort(-logits, kind="stable")[:top]
    heads = {clusters[v] for v in ranked[:main]}
    rest = [(r + 1, v) for r, v in enumerate(ranked) if r >= main]
    inside = [x for x in rest if clusters[x[1]] in heads]
    outside = [x for x in rest if clusters[x[1]] not in heads]
    right = [bool(correct[v]) for v in ranked]
    share = [c / top for c in Counter(clusters[v] for v in ranked).values()]
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    return {
        "inside": len(inside), "outside": len(outside), "share": len(inside) / (top - main),
        "inside_rank": np.mean([r for r, _ in inside]), "outside_rank": np.mean([r for r, _ in outside]),
        "inside_accuracy": np.mean([correct[v] for _, v in inside]),
        "outside_accuracy": np.mean([correct[v] for _, v in outside]),
        "precision": np.mean([np.mean(right[: i + 1]) for i in range(top)]),
        "entropy": -sum(p * math.log(p) for p in share),
        "correlation": spearman([unit[ranked[0]] @ unit[v] for v in ranked[1:]]),
    }, ranked


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_the_diagnostic_against_loops(rng, dtype):
    w, keys = stored(rng.normal(size=(300, 12)), dtype)
    z, logits = stored(keys @ rng.normal(size=12), dtype)
    clusters = rng.integers(0, 25, 300)
    correct = rng.random(300) < 0.3
    for main, top in ((10, 100), (1, 2), (5, 300)):
        found = signals.key_diagnostic(z, clusters, keys=w, correct=correct, main=main, top=top)
        with np.errstate(invalid="ignore", divide="ignore"):
            if top == 2:
                inside = clusters[found.ranked[1]] == clusters[found.ranked[0]]
                assert found.inside == inside and found.outside == 1 - inside and found.correlation == 0
                assert math.isnan(found.outside_rank if inside else found.inside_rank)
                continue
            wanted, ranked = diagnostic_oracle(logits, clusters, keys, correct, main, top)
        assert found.ranked.tolist() == ranked.tolist()
        for name, value in wanted.items():
            assert getattr(found, name) == pytest.approx(value, rel=1e-9), name
    bare = signals.key_diagnostic(z, clusters)
    assert math.isnan(bare.correlation) and math.isnan(bare.precision) and math.isnan(bare.inside_accuracy)


def test_correlation_of_keys(rng):
    # logit = h . k: keys near the top one's rank high, so rho is negative
    keys = rng.normal(size=(2000, 16)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    logits = keys @ keys[7]
    clusters = np.zeros(2000, int)
    found = signals.key_diagnostic(logits, clusters, keys=keys)
    assert found.ranked[0] == 7 and found.correlation == pytest.approx(-1) and found.share == 1 and found.entropy == 0
    # orthogonal keys: every cosine is 0
    found = signals.key_diagnostic(rng.normal(size=128).astype(np.float32), np.arange(128), keys=np.eye(128, dtype=np.float32))
    assert found.correlation == 0 and found.entropy == pytest.approx(math.log(100)) and found.share == 0
    # keys without regard to the logits: rho near 0
    found = signals.key_diagnostic(rng.normal(size=2000).astype(np.float32), clusters, keys=keys, main=10, top=1000)
    assert abs(found.correlation) < 0.1


def test_duplicate_keys_have_equal_logits_and_cosine_one(rng):
    keys = rng.normal(size=(50, 33)).astype(np.float32)
    keys[30] = keys[4]
    near, cosines = signals.key_topm_neighbors(keys, [4, 30], 3)
    assert near[0, 0] == 30 and near[1, 0] == 4 and cosines[0, 0] == cosines[1, 0] == 1
    assert np.array_equal(cosines[0], cosines[1])
    logits = keys.astype(np.float64) @ rng.normal(size=33)
    assert logits[30] == logits[4]
    doubled = np.tile(keys[:1], (20, 1))
    found = signals.key_diagnostic(np.arange(20, dtype=np.float32), np.zeros(20, int), keys=doubled, main=1, top=20)
    assert found.correlation == 0


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_nearest_keys(rng, ctx, dtype):
    w, keys = stored(rng.normal(size=(600, 10)), dtype)
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    tokens = rng.permutation(600)[:37]
    near, cosines = signals.key_topm_neighbors(w, tokens, 8, ctx=ctx)
    for i, v in enumerate(tokens):
        c = unit @ unit[v]
        c[v] = -np.inf
        assert near[i].tolist() == np.argsort(-c, kind="stable")[:8].tolist()
        assert np.allclose(cosines[i], c[near[i]], atol=1e-6)
    whole, _ = signals.key_topm_neighbors(w, None, 1, ctx=ctx)
    assert whole.shape == (600, 1) and np.array_equal(whole[tokens, 0], near[:, 0])


def test_keys_of_zeros_are_near_to_none():
    keys = np.array([[1, 0], [0, 0], [-1, 0], [0, 2]], np.float32)
    near, cosines = signals.key_topm_neighbors(keys, None, 3)
    assert near[0].tolist() == [1, 3, 2] and cosines[0].tolist() == [0, 0, -1]
    assert near[1].tolist() == [0, 2, 3] and cosines[1].tolist() == [0, 0, 0]


def test_clusters_of_the_lm_head_come_from_cluster(rng):
    centres = 10 * rng.normal(size=(4, 8))
    labels = rng.integers(0, 4, 200)
    keys = (centres[labels] + rng.normal(size=(200, 8))).astype(np.float32)
    clusters = tamis.cluster(keys, k=4, normalise=False).labels
    found = signals.key_diagnostic(keys @ keys[0], clusters, keys=keys, main=1, top=50)
    assert found.share > 0.9 and found.correlation < 0


def test_decorrelated_rank():
    clusters = np.array([0, 0, 1, 1, 2, 0])
    assert signals.decorrelated_rank([1, 0, 3, 5, 2, 4], clusters).tolist() == [1, 3, 4, 0, 5, 2]
    assert signals.decorrelated_rank([5, 4], clusters).tolist() == [5, 4]
    assert signals.decorrelated_rank([], clusters).tolist() == []
    with pytest.raises(BAD, match=r"ranked\[0\] is 6"):
        signals.decorrelated_rank([6], clusters)
    with pytest.raises(BAD, match=r"clusters\[1\] is -1"):
        signals.decorrelated_rank([1], [0, -1])


def test_first_tokens(rng):
    logits = np.array([1, 3, 3, np.nan, 2], np.float32)
    used = []
    for wanted in (1, 2, 4, 0, 3):
        assert signals.icn_first_token(logits, used) == wanted
        used.append(wanted)
    with pytest.raises(tamis.NotFoundError, match="all 5 tokens"):
        signals.icn_first_token(logits, used)
    assert signals.icn_first_token(logits, {1}) == 2
    assert signals.icn_first_token(logits, np.array([0, 1, 1, 0, 0], bool)) == 4
    assert signals.icn_first_token(np.full(3, -np.inf, np.float32), [0]) == 1
    with pytest.raises(BAD, match="used"):
        signals.icn_first_token(logits, [5])


def test_bad_input_of_keys(rng):
    z, clusters, keys = rng.normal(size=50).astype(np.float32), np.zeros(50, int), np.ones((50, 2), np.float32)
    for main, top, match in ((0, 10, "main is 0"), (10, 10, "main is 10"), (1, 51, "top is 51"), (1, 0, "top is 0")):
        with pytest.raises(BAD, match=match):
            signals.key_diagnostic(z, clusters, main=main, top=top)
    with pytest.raises(BAD, match=r"clusters\[\d+\] is -1"):
        signals.key_diagnostic(z, clusters - 1, top=20)
    with pytest.raises(BAD, match="clusters has 49"):
        signals.key_diagnostic(z, clusters[1:], top=20)
    with pytest.raises(BAD, match="keys has 49 rows"):
        signals.key_diagnostic(z, clusters, keys=keys[1:], top=20)
    keys[17, 1] = np.nan
    with pytest.raises(BAD, match=r"keys\[17\]\[1\] is nan"):
        signals.key_diagnostic(z, clusters, keys=keys, top=50)
    with pytest.raises(BAD, match=r"keys\[17\]\[1\] is nan"):
        signals.key_topm_neighbors(keys, [0], 2)
    for m in (0, 50):
        with pytest.raises(BAD, match=f"m is {m}"):
            signals.key_topm_neighbors(np.ones((50, 2), np.float32), [0], m)
    with pytest.raises(BAD, match=r"ids\[0\] is 50"):
        signals.key_topm_neighbors(np.ones((50, 2), np.float32), [50], 1)
