"""tamis.signals: RMT, TL-Training and CAFT against float64 loops of their formulas."""

import math

import numpy as np
import pytest

import tamis
from oracle_signals import difference
from tamis import signals
from tamis.signals import CAFT, TokenBudgets

NONE = -100
BAD = tamis.InvalidArgumentError


def labels_of(rng, batch, tokens, share=0.6):
    labels = rng.integers(0, 50, (batch, tokens))
    return np.where(rng.random((batch, tokens)) < share, labels, NONE)


# --------------------------------------------------------------------------------------------------------- RMT


def test_budget_schedule():
    budgets = TokenBudgets(steps=1000)
    for step in (0, 1, 250, 500, 999, 1000):
        assert budgets.budget(step) == max(1, math.floor(800 * 0.2 ** (step / 1000)))
    assert TokenBudgets(first_budget=3, decay=1e-6, steps=10).budget(10) == 1
    assert TokenBudgets(least_budget=500, steps=10).budget(10) == 500
    values = [budgets.budget(t) for t in range(0, 1001, 10)]
    assert values == sorted(values, reverse=True) and values[0] == 800 and values[-1] == 160


def test_curriculum_probabilities():
    budgets = TokenBudgets(steps=100)
    assert budgets.probabilities(0).tolist() == budgets.probabilities(29).tolist() == [0.6, 0.3, 0.1]
    assert budgets.probabilities(70).tolist() == budgets.probabilities(100).tolist() == [0.1, 0.3, 0.6]
    assert np.allclose(budgets.probabilities(50), [0.35, 0.3, 0.35])
    for step in range(101):
        assert budgets.probabilities(step).sum() == pytest.approx(1, abs=1e-12)
    at_once = TokenBudgets(steps=10, phases=(0.5, 0.5))
    assert at_once.probabilities(4)[0] == 0.6 and at_once.probabilities(5)[0] == 0.1


def test_rmt_rewards():
    budgets = TokenBudgets(steps=10, first_budget=100, largest_reward=2, length_weight=0.25)
    lengths = [0, 50, 100, 150, 200, 201, 2**62]
    correct = [1, 0, 1, 0, 1, 0, 1]
    rewards, parts = budgets.rewards(0, correct, lengths)
    assert parts.tolist() == [0, 1, 2, 1, 0, 0, 0]
    assert np.allclose(rewards, 0.75 * np.array(correct) + 0.25 * parts)


def tiers_oracle(entropies, mask):
    used = sorted(e for e, m in zip(entropies, mask) if m)
    n = len(used)
    low, high = used[math.ceil(n / 3) - 1], used[math.ceil(2 * n / 3) - 1]
    return [(0 if e <= low else 1 if e <= high else 2) if m else 255 for e, m in zip(entropies, mask)], (low, high)


def test_entropy_tiers(rng):
    for n in (1, 2, 3, 4, 9, 31):
        entropies, mask = np.round(rng.random(n) * 3, 1), rng.random(n) < 0.8
        mask[0] = True
        tiers, ends = tiers_oracle(entropies, mask)
        found = signals.entropy_tiers(np.where(mask, entropies, np.nan), mask)
        assert found.tiers.tolist() == tiers and found.thresholds == ends
    distinct = signals.entropy_tiers(rng.permutation(30).reshape(3, 10) * 0.1)
    assert distinct.tiers.shape == (3, 10) and np.bincount(distinct.tiers.ravel()).tolist() == [10, 10, 10]
    given = signals.entropy_tiers([0, 1, 1.5, 2, 2.5], thresholds=(1, 2))
    assert given.tiers.tolist() == [0, 0, 1, 1, 2] and given.thresholds == (1, 2)
    nothing = signals.entropy_tiers([1, 2], [0, 0])
    assert nothing.tiers.tolist() == [255, 255] and np.isnan(nothing.thresholds).all()


def split_mix(seed):
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield z ^ (z >> 31)


@pytest.mark.parametrize("present", [(0, 1, 2), (0, 2), (1,)])
@pytest.mark.parametrize("step", [0, 47, 90])
def test_the_sampler_is_the_documented_one(rng, present, step):
    budgets = TokenBudgets(steps=100)
    tiers = rng.choice([*present, 255], 50)
    tiers[:3] = present[0]
    places = [np.flatnonzero(tiers == tier) for tier in range(3)]
    shares = [p if len(places[i]) else 0.0 for i, p in enumerate(budgets.probabilities(step))]
    numbers = split_mix(2**63 + 5)
    wanted = []
    for _ in range(200):
        u, x = (next(numbers) >> 11) * 2.0**-53 * sum(shares), next(numbers)
        tier = next((i for i in range(3) if u < sum(shares[: i + 1])), max(i for i in range(3) if shares[i]))
        wanted.append(places[tier][x * len(places[tier]) >> 64])
    assert budgets.sample(step, tiers, 200, seed=2**63 + 5).tolist() == wanted


def test_the_sampler_follows_the_curriculum(rng):
    budgets = TokenBudgets(steps=10)
    tiers = np.repeat([0, 1, 2], [5, 50, 500])
    drawn = tiers[budgets.sample(0, tiers, 20000, seed=1)]
    assert np.allclose(np.bincount(drawn) / 20000, [0.6, 0.3, 0.1], atol=0.02)
    never = TokenBudgets(steps=10, first=(0, 0, 1))
    assert set(never.sample(0, tiers[:40], 300).tolist()) == set(range(40))  # uniform over the tiers that have tokens
    assert budgets.sample(0, [255, 255], 0).tolist() == []


def test_bad_input_of_budgets():
    for fields, match in (
        ({"steps": 0}, "options->steps is 0"), ({"decay": 0}, "options->decay is 0"), ({"decay": math.nan}, "decay is nan"),
        ({"phases": (0.7, 0.3)}, "phase2 is 0.3"), ({"first": (0.5, 0.5, 0.5)}, "easy1"), ({"second": (1.5, -0.5, 0)}, "easy2"),
        ({"length_weight": 2}, "length_weight is 2"), ({"largest_reward": -1}, "largest_reward is -1"),
        ({"least_budget": 0}, "least_budget is 0"), ({"first": (1,)}, "first is"), ({"first_budget": 2**60}, "first_budget"),
    ):
        with pytest.raises(BAD, match=match):
            TokenBudgets(**fields).budget(0)
    for step in (-1, 1001):
        with pytest.raises(BAD, match=f"step is {step}"):
            TokenBudgets().probabilities(step)
    with pytest.raises(BAD, match=r"lengths\[1\] is -1"):
        TokenBudgets().rewards(0, [1, 1], [1, -1])
    with pytest.raises(BAD, match="no token"):
        TokenBudgets().sample(0, [255], 1)
    with pytest.raises(BAD, match=r"tiers\[0\] is 3"):
        TokenBudgets().sample(0, [3], 1)
    with pytest.raises(BAD, match="draws is -1"):
        TokenBudgets().sample(0, [0], -1)
    with pytest.raises(BAD, match=r"entropies\[1\] is nan"):
        signals.entropy_tiers([0, np.nan])
    with pytest.raises(BAD, match="thresholds"):
        signals.entropy_tiers([0, 1], thresholds=(2, 1))


# ------------------------------------------------------------------------------------------------- TL-Training


def tool_oracle(ce, classes, max_weight, q):
    others, keys = sum(c == 0 for c in classes), sum(c == 1 for c in classes)
    weight = min(others / keys, max_weight) if 0 < keys < others else 1
    w = [0 if c == 255 else weight if c == 1 else 1 for c in classes]
    f = [x if q == 0 else (1 - math.exp(-x) ** q) / q for x in ce]
    return w, sum(a * b for a, b in zip(w, f)) / sum(w)


@pytest.mark.parametrize("q", [0, 0.3, 1])
@pytest.mark.parametrize("keys", [0, 1, 4, 30])
def test_tool_calls(rng, q, keys):
    classes = np.concatenate([np.zeros(20, int), np.ones(keys, int), np.full(5, 2), np.full(4, 255)])
    rng.shuffle(classes)
    ce = rng.exponential(size=len(classes))
    for max_weight in (1, 3, 9):
        w, loss = tool_oracle(ce, classes, max_weight, q)
        assert signals.tool_call_weights(classes, max_weight).tolist() == w
        found, gradient = signals.tool_call_loss(
            np.where(classes == 255, np.nan, ce), classes, max_weight=max_weight, q=q, gradient=True)
        assert found == pytest.approx(loss, rel=1e-13)
        places = [0, 7, 15]
        slopes = difference(lambda x, m=max_weight: tool_oracle(x, classes, m, q)[1], ce, places)
        assert np.allclose(gradient[places], slopes, atol=1e-9)


def test_tool_call_invariants(rng):
    ce = rng.exponential(size=12)
    many = np.array([1] * 7 + [0] * 5)  # no fewer keys than others: plain mean
    assert signals.tool_call_loss(ce, many) == pytest.approx(ce.mean(), rel=1e-14)
    few = np.array([1] + [0] * 11)
    assert signals.tool_call_loss(ce, few, max_weight=1) == pytest.approx(ce.mean(), rel=1e-14)
    assert signals.tool_call_weights(few)[0] == 9 and signals.tool_call_weights(few, 100)[0] == 11
    ends = np.array([1, 0, 0, 2, 2, 2, 2])  # ends do not count among the others
    assert signals.tool_call_weights(ends)[0] == 2
    # (1 - p^q) / q goes to ce with q
    assert signals.tool_call_loss(ce, few, q=1e-12) == pytest.approx(signals.tool_call_loss(ce, few), rel=1e-9)


def test_tool_name_keys():
    weather, traffic, other = [5, 6, 7], [5, 6, 8, 9], [4, 6]
    assert signals.tool_name_keys(weather, [traffic, other]).tolist() == [0, 2]
    assert signals.tool_name_keys(weather, []).tolist() == [0]
    assert signals.tool_name_keys([5, 6], [traffic]).tolist() == [0, 2]      # the token behind the name decides
    assert signals.tool_name_keys(traffic, [[5, 6], [5], weather]).tolist() == [0, 1, 2]
    assert signals.tool_name_keys(weather, [weather, [5, 1]]).tolist() == [0, 1]


def test_bad_input_of_tool_calls():
    with pytest.raises(BAD, match=r"classes\[0\] is 3"):
        signals.tool_call_weights([3])
    with pytest.raises(BAD, match="max_weight is 0.5"):
        signals.tool_call_weights([0], 0.5)
    with pytest.raises(BAD, match="no response token"):
        signals.tool_call_loss([1], [255])
    with pytest.raises(BAD, match=r"ce\[1\] is -1"):
        signals.tool_call_loss([1, -1], [0, 0])
    with pytest.raises(BAD, match=r"ce\[0\] is nan"):
        signals.tool_call_loss([np.nan], [0])
    for q in (-0.1, 1.1, math.nan):
        with pytest.raises(BAD, match="q is"):
            signals.tool_call_loss([1], [0], q=q)
    with pytest.raises(BAD, match="length is 0"):
        signals.tool_name_keys(np.empty(0, int), [[1]])


# -------------------------------------------------------------------------------------------------------- CAFT

SCHEDULES = {
    "rsine": lambda t, s, r: math.sin(math.pi / 2 * (s - t) / s),
    "sine": lambda t, s, r: math.sin(math.pi / 2 * t / s),
    "linear": lambda t, s, r: t / s,
    "constant": lambda t, s, r: 1.0,
    "sine_r": lambda t, s, r: math.sin(math.pi / 2 * t / (r * s)) if t < r * s else 1.0,
}


def caft_oracle(caft, ce, labels, step, steps):
    batch, tokens = labels.shape
    means = []
    for i in range(caft.heads + 1):
        found = [ce[i, b, t] for b in range(batch) for t in range(tokens - 1 - i) if labels[b, t + 1 + i] != NONE]
        means.append(sum(found) / len(found) if found else 0.0)
    s = SCHEDULES[caft.schedule](step, steps, caft.rise)
    loss = 0.0 if caft.omit_first else means[0]
    return loss + caft.c * s * sum(caft.d**i * means[i] for i in range(1, caft.heads + 1)), means


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_caft_against_loops(rng, schedule):
    labels = labels_of(rng, 3, 9)
    for caft in (CAFT(schedule=schedule), CAFT(2, schedule, c=0.5, d=1, rise=0.3, omit_first=True), CAFT(12, schedule)):
        ce = rng.exponential(size=(caft.heads + 1, 3, 9))
        for step in (0, 3, 10):
            assert caft.share(step, 10) == pytest.approx(SCHEDULES[schedule](step, 10, caft.rise), abs=1e-15)
            wanted, means = caft_oracle(caft, ce, labels, step, 10)
            weights = caft.weights(labels, step, 10)
            unread = np.where(weights != 0, ce, np.nan) if caft.share(step, 10) and not caft.omit_first else ce
            loss, heads = caft.loss(unread, labels, step, 10)
            assert loss == pytest.approx(wanted, rel=1e-13, abs=1e-15) and np.allclose(heads, means, rtol=1e-13)
            assert (weights * ce).sum() == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def test_caft_invariants(rng):
    labels = labels_of(rng, 2, 8)
    ce = rng.exponential(size=(5, 2, 8))
    alone, means = CAFT(0).loss(ce[:1], labels, 0, 1)
    assert alone == means[0] == pytest.approx(ce[0, :, :-1][labels[:, 1:] != NONE].mean(), rel=1e-14)
    total, means = CAFT(4, "constant", c=1, d=1).loss(ce, labels, 5, 9)
    assert total == pytest.approx(means.sum(), rel=1e-14)
    assert CAFT(4, c=0).loss(ce, labels, 0, 9)[0] == means[0]
    # a shift without labels adds 0
    short, means = CAFT(4, "constant").loss(np.full((5, 3), np.nan), np.full(3, NONE), 0, 1)
    assert short == 0 and means.tolist() == [0] * 5 and not CAFT(4).weights(np.full(3, NONE), 0, 1).any()


def test_bad_input_of_caft():
    labels, ce = np.array([1, 2, 3]), np.ones((5, 3))
    for caft, step, steps, match in (
        (CAFT(-1), 0, 1, "heads is -1"), (CAFT(2000), 0, 1, "heads is 2000"), (CAFT(), 2, 1, "step is 2"),
        (CAFT(), -1, 1, "step is -1"), (CAFT(), 0, 0, "steps is 0"), (CAFT(d=1.5), 0, 1, "decay is 1.5"),
        (CAFT(c=math.nan), 0, 1, "scale is nan"), (CAFT(rise=0), 0, 1, "rise is 0"),
    ):
        with pytest.raises(BAD, match=match):
            caft.weights(labels, step, steps)
    with pytest.raises(BAD, match="schedule is 'cosine'"):
        CAFT(schedule="cosine").share(0, 1)
    with pytest.raises(BAD, match="ce is"):
        CAFT(3).loss(ce, labels, 0, 1)
    ce[1, 0] = np.nan
    with pytest.raises(BAD, match=r"ce\[3\] is nan"):
        CAFT().loss(ce, labels, 0, 1)
