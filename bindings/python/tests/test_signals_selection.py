"""tamis.signals: ssToken against float64 loops of its formulas."""

import math

import numpy as np
import pytest

import tamis
from conftest import stored
from tamis import signals

NONE = -100
BAD = tamis.InvalidArgumentError


def labels_of(rng, batch, tokens, share=0.6):
    labels = rng.integers(0, 50, (batch, tokens))
    return np.where(rng.random((batch, tokens)) < share, labels, NONE)


def softmax_attention(q, k, scale):
    """[heads, tokens, tokens] in float64, causal."""
    group = len(q) // len(k)
    out = np.zeros((len(q), q.shape[1], k.shape[1]))
    for h in range(len(q)):
        for t in range(q.shape[1]):
            z = scale * (k[h // group, : t + 1] @ q[h, t])
            p = np.exp(z - z.max())
            out[h, t, : t + 1] = p / p.sum()
    return out


def mass_oracle(attention, prompt):
    heads, tokens, _ = attention.shape
    pairs = [(h, j) for h in range(heads) for j in range(tokens) if prompt[j]]
    return np.array([sum(attention[h, t, j] for h, j in pairs) / heads for t in range(tokens)])


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("rule", ["mask", "prefix"])
def test_prompt_attention_of_a_table(rng, cpu, dtype, rule):
    q, k = rng.normal(size=(4, 23, 8)), rng.normal(size=(2, 23, 8))
    table, exact = stored(softmax_attention(q, k, 0.5), dtype)
    prompt = np.zeros(23, bool)
    prompt[[0, 1, 2, 9, 10, 17]] = True  # three turns
    counted = prompt if rule == "mask" else np.arange(23) < 6
    found = signals.prompt_attention(table, prompt, rule=rule, ctx=cpu)
    assert np.allclose(found, mass_oracle(exact, counted), rtol=0, atol=1e-12)


def test_prompt_attention_of_a_transposed_table(rng):
    table = rng.random((11, 11, 3)).astype(np.float32)
    prompt = rng.random(11) < 0.5
    found = signals.prompt_attention(table.transpose(2, 0, 1), prompt)
    assert np.allclose(found, mass_oracle(table.transpose(2, 0, 1).astype(np.float64), prompt), atol=1e-12)


def test_prompt_attention_on_every_device(rng, ctx):
    check_mass_from_keys(rng, ctx, "f32", 37)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
@pytest.mark.parametrize("tokens", [1, 37, 1100])
def test_prompt_attention_from_keys_needs_no_table(rng, cpu, dtype, tokens):
    check_mass_from_keys(rng, cpu, dtype, tokens)


def check_mass_from_keys(rng, ctx, dtype, tokens):
    q, k = rng.normal(size=(4, tokens, 16)), rng.normal(size=(2, tokens, 16))
    tq, q = stored(q, "f32" if dtype == "i8" else dtype)
    tk, k = stored(k, dtype)
    prompt = rng.random(tokens) < 0.4
    rows = slice(max(0, tokens - 90), None)  # across two runs of queries; the oracle is slow
    some = np.arange(tokens)[rows]
    found = signals.prompt_attention_from_keys(tq, tk, prompt, ctx=ctx)[rows]
    wanted = []
    for t in some:
        total = 0.0
        for h in range(4):
            z = k[h // 2, : t + 1] @ q[h, t] / 4
            p = np.exp(z - z.max())
            total += p[prompt[: t + 1]].sum() / p.sum()
        wanted.append(total / 4)
    assert np.allclose(found, wanted, rtol=0, atol={"f32": 2e-6, "f16": 1e-4, "bf16": 5e-3, "i8": 2e-4}[dtype])


def test_both_ways_to_the_prompt_attention_agree(rng):
    q, k = rng.normal(size=(40, 4, 16)).astype(np.float32), rng.normal(size=(40, 2, 16)).astype(np.float32)
    q, k = q.transpose(1, 0, 2), k.transpose(1, 0, 2)  # [tokens, heads, d] of a model, not copied
    prompt = np.isin(np.arange(40), [0, 1, 2, 3, 20, 21])
    for rule in ("mask", "prefix"):
        a = signals.prompt_attention_from_keys(q, k, prompt, rule=rule)
        b = signals.prompt_attention(softmax_attention(q, k, 0.25).astype(np.float32), prompt, rule=rule)
        assert np.allclose(a, b, atol=1e-6)
    everything = signals.prompt_attention_from_keys(q, k, np.ones(40, bool))
    assert np.allclose(everything, 1, atol=1e-6)


def test_uniform_attention_pays_the_prompt_its_share():
    tokens, prompt = 12, 5
    table = np.tril(np.ones((3, tokens, tokens))) / np.arange(1, tokens + 1)[:, None]
    mass = signals.prompt_attention(table.astype(np.float32), np.arange(tokens) < prompt)
    assert np.allclose(mass[prompt:], prompt / (np.arange(prompt, tokens) + 1), atol=1e-7)
    zeros = np.zeros((2, tokens, 8), np.float32)
    mass = signals.prompt_attention_from_keys(zeros, zeros[:1], np.arange(tokens) < prompt)
    assert np.allclose(mass[prompt:], prompt / (np.arange(prompt, tokens) + 1), atol=1e-6)


def scores_oracle(current, history, labels, attention, gamma):
    out = np.zeros(labels.shape)
    for b in range(len(labels)):
        places = [t for t in range(labels.shape[1]) if labels[b, t] != NONE]
        if not places:
            continue
        rel = [history[b, t] - current[b, t] for t in places]
        for t, r in zip(places, rel):
            norm = (r - min(rel)) / (max(rel) - min(rel) + 1e-8)
            out[b, t] = gamma * norm + (1 - gamma) * attention[b, t]
    return out


def selection_oracle(scores, labels, ratio, scope, rounding):
    out = np.full(labels.shape, NONE)
    flat = [(b, t) for b in range(labels.shape[0]) for t in range(labels.shape[1]) if labels[b, t] != NONE]
    groups = [flat] if scope == "batch" else [[p for p in flat if p[0] == b] for b in range(len(labels))]
    for group in groups:
        k = math.ceil(len(group) * ratio) if rounding == "up" else int(len(group) * ratio)
        for place in sorted(group, key=lambda p: (-scores[p], p))[:k]:
            out[place] = labels[place]
    return out


@pytest.mark.parametrize("gamma", [0, 0.5, 0.3, 1])
@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_sstoken_against_loops(rng, gamma, scope):
    labels = labels_of(rng, 5, 30)
    labels[3] = NONE  # an empty response
    current, history = rng.exponential(size=(2, 5, 30))
    current, history = np.round(current, 1), np.round(history, 1)  # ties
    attention = np.round(rng.random((5, 30)), 1)
    found = signals.sstoken_scores(current, history, labels, attention, gamma=gamma)
    wanted = scores_oracle(current, history, labels, attention, gamma)
    assert np.allclose(found.scores, wanted, rtol=0, atol=1e-14)
    assert np.array_equal(found.excess, np.where(labels == NONE, 0, history - current))
    for ratio in (0, 0.1, 0.6, 0.8, 1):
        for rounding in ("up", "down"):
            kept = signals.select_tokens(found.scores, labels, ratio, scope=scope, rounding=rounding)
            assert np.array_equal(kept, selection_oracle(found.scores, labels, ratio, scope, rounding))
    assert np.array_equal(
        signals.sstoken(current, history, labels, attention, gamma=gamma, scope=scope),
        selection_oracle(found.scores, labels, 0.6, scope, "up"))


def test_sstoken_golden_by_hand():
    labels = np.array([NONE, 7, 8, 9, 10, 11])
    current, history = np.array([0, 1, 1, 1, 1, 1.0]), np.array([0, 3, 1, 2, 2, 1.5])
    attention = np.array([1, 0.1, 0.9, 0.2, 0.2, 0.4])
    found = signals.sstoken_scores(current, history, labels, attention, gamma=0.5)
    assert found.excess.tolist() == [0, 2, 0, 1, 1, 0.5]
    assert np.allclose(found.scores, [0, 0.55, 0.45, 0.35, 0.35, 0.325], atol=1e-8)
    # ceil(5 * 0.6) = 3; of the tied tokens 3 and 4 the lower index
    assert signals.select_tokens(found.scores, labels).tolist() == [NONE, 7, 8, 9, NONE, NONE]


def test_sstoken_invariants(rng):
    labels = labels_of(rng, 3, 40)
    current, history = rng.exponential(size=(2, 3, 40))
    attention = rng.random((3, 40))
    # gamma = 1: the order of REL alone, whatever the attention; NULL will do
    alone = signals.sstoken(current, history, labels, gamma=1)
    assert np.array_equal(alone, selection_oracle(history - current, labels, 0.6, "sample", "up"))
    # the history swapped with the model: REL negates
    swapped = signals.sstoken_scores(history, current, labels, attention)
    assert np.array_equal(swapped.excess, -signals.sstoken_scores(current, history, labels, attention).excess)
    # constant REL: norm is 0 everywhere
    flat = signals.sstoken_scores(current, current + 2, labels, gamma=1)
    assert np.all(np.abs(flat.scores) < 1e-6)
    same = signals.sstoken_scores(current, current, labels, attention, gamma=0.25)
    assert np.array_equal(same.scores, np.where(labels == NONE, 0, 0.75 * attention))
    assert np.array_equal(signals.sstoken(current, history, labels, attention, ratio=1), labels)
    empty = np.full((3, 40), NONE)
    assert np.array_equal(signals.sstoken(current, history, empty, attention), empty)


def test_the_loss_only_baseline(rng):
    labels = labels_of(rng, 4, 25)
    base, reference = rng.exponential(size=(2, 4, 25))
    for scope in ("sample", "batch"):
        found = signals.excess_loss_labels(base, reference, labels, 0.6, scope=scope)
        assert np.array_equal(found, selection_oracle(base - reference, labels, 0.6, scope, "down"))


def test_losses_outside_responses_are_not_read(rng):
    labels = labels_of(rng, 2, 20)
    current, history, attention = rng.random((3, 2, 20))
    wanted = signals.sstoken(current, history, labels, attention)
    for x in (current, history, attention):
        x[labels == NONE] = np.nan
    assert np.array_equal(signals.sstoken(current, history, labels, attention), wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_losses_of_any_float_type(rng, dtype):
    labels = labels_of(rng, 1, 20)[0]
    current, history = (rng.random(20).astype(dtype) for _ in range(2))
    found = signals.sstoken_scores(current, history, labels, gamma=1).excess
    assert np.array_equal(found, np.where(labels == NONE, 0, history.astype(np.float64) - current.astype(np.float64)))


def test_moving_average(rng):
    history, current = rng.normal(size=(2, 3, 5, 7)).astype(np.float32)
    wanted = (0.9 * history.astype(np.float64) + (1 - 0.9) * current.astype(np.float64)).astype(np.float32)
    assert signals.ema_update(history, current, 0.9) is history
    assert np.array_equal(history, wanted)
    part = np.zeros((4, 10), np.float32)
    signals.ema_update(part[:, 2:6], np.ones((4, 4), np.float16).T, 0.25)  # a view, another dtype, strides
    assert np.array_equal(part[:, 2:6], np.full((4, 4), 0.75)) and part.sum() == 12
    half = np.ones((2, 3), np.float16)
    signals.ema_update(half, np.zeros((2, 3), np.float32), 0.5)
    assert np.array_equal(half, np.full((2, 3), 0.5))
    with pytest.raises(BAD, match="alpha is 1.5"):
        signals.ema_update(half, half.copy(), 1.5)
    with pytest.raises(BAD, match="overlaps"):
        signals.ema_update(half, half, 0.5)


def test_bad_input_of_selection(rng):
    labels = np.array([NONE, 1, 2, 3])
    good = np.array([0, 1, 2, 3.0])
    for bad in (np.nan, np.inf, -np.inf, 1e100):
        wrong = good.copy()
        wrong[2] = bad
        with pytest.raises(BAD, match=r"current\[2\] is"):
            signals.sstoken_scores(wrong, good, labels, good)
        with pytest.raises(BAD, match=r"history\[2\] is"):
            signals.sstoken_scores(good, wrong, labels, good)
        with pytest.raises(BAD, match=r"attention\[2\] is"):
            signals.sstoken_scores(good, good, labels, wrong)
        with pytest.raises(BAD, match=r"scores\[2\] is"):
            signals.select_tokens(wrong, labels)
    with pytest.raises(BAD, match="attention is NULL"):
        signals.sstoken_scores(good, good, labels, gamma=0.5)
    for gamma in (-0.1, 1.1, np.nan):
        with pytest.raises(BAD, match="gamma is"):
            signals.sstoken_scores(good, good, labels, good, gamma=gamma)
    for ratio in (-0.1, 1.1, np.nan):
        with pytest.raises(BAD, match="ratio is"):
            signals.select_tokens(good, labels, ratio)
    with pytest.raises(BAD, match="current is"):
        signals.sstoken_scores(good[:3], good, labels, good)
    with pytest.raises(BAD, match="labels is"):
        signals.select_tokens(good, labels.astype(float))
    with pytest.raises(BAD, match="tokens is 0"):
        signals.select_tokens(good[:0], labels[:0])
    with pytest.raises(BAD, match="scope is 'all'"):
        signals.select_tokens(good, labels, scope="all")
    table = np.ones((1, 4, 4), np.float32)
    with pytest.raises(BAD, match="prompt is"):
        signals.prompt_attention(table, np.ones(3, bool))
    with pytest.raises(BAD, match=r"prompt\[1\] is 2"):
        signals.prompt_attention(table, np.array([1, 2, 0, 0]))
    with pytest.raises(BAD, match="attention is"):
        signals.prompt_attention(table[0], np.ones(4, bool))
    with pytest.raises(tamis.UnsupportedError, match="is 5, the head_dim"):
        signals.prompt_attention_from_keys(np.ones((1, 4, 5), np.float32), np.ones((1, 4, 5), np.float32), np.ones(4, bool))
    with pytest.raises(BAD, match="heads"):
        signals.prompt_attention_from_keys(np.ones((3, 4, 8), np.float32), np.ones((2, 4, 8), np.float32), np.ones(4, bool))


