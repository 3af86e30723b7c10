"""tamis.signals over losses and log-probabilities: ssToken, cDPO, T-REG, RMT, TL-Training, CAFT, against float64 loops of the formulas."""

import math

import numpy as np
import pytest

import tamis
from conftest import stored
from tamis import signals
from tamis.signals import CAFT, Answers, TokenBudgets

NONE = -100
BAD = tamis.InvalidArgumentError


def labels_of(rng, batch, tokens, share=0.6):
    labels = rng.integers(0, 50, (batch, tokens))
    return np.where(rng.random((batch, tokens)) < share, labels, NONE)


def difference(f, x, places, step=1e-5):
    """d f / d x at places, by central differences."""
    found = []
    for i in places:
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[i] += sign * step
            ends.append(f(moved))
        found.append((ends[0] - ends[1]) / (2 * step))
    return np.array(found)


# ----------------------------------------------------------------------------------------------------- ssToken


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
    return np.array([sum(attention[h, t, j] for h in range(heads) for j in range(tokens) if prompt[j]) / heads for t in range(tokens)])


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


# -------------------------------------------------------------------------------------------------------- cDPO


def test_cdpo_weights():
    s = np.array([0.9, 0.25, 0.0, 1.0])
    assert np.allclose(signals.cdpo_weights(s), [0.1, 0.75, 1, 0, 1])
    assert signals.cdpo_weights(s, "chosen").tolist() == [1] * 5
    assert signals.cdpo_weights(s, "chosen", only_negative=False).tolist() == [0.9, 0.25, 0, 1, 1]
    assert np.allclose(signals.cdpo_weights(s, leading_zero=True), [0, 0.1, 0.75, 1, 0, 1])
    assert np.allclose(signals.cdpo_weights(s, append_eos=False), [0.1, 0.75, 1, 0])
    assert signals.cdpo_weights(np.empty(0)).tolist() == [1]
    with np.errstate(divide="ignore"):
        logs = np.log(s)
    assert np.allclose(signals.cdpo_weights(logs, log=True), [0.1, 0.75, 1, 0, 1], atol=1e-15)
    assert np.allclose(signals.cdpo_weights(logs, "chosen", log=True, only_negative=False), [0.9, 0.25, 0, 1, 1])
    tiny = signals.cdpo_weights([-1e-20, 1e-9], log=True, append_eos=False)  # 1 - s keeps its digits; rounding above 0 is 0
    assert tiny[0] == 1e-20 and tiny[1] == 0
    for bad, options in ((-0.1, {}), (1.1, {}), (np.nan, {}), (0.5, {"log": True}), (np.nan, {"log": True})):
        with pytest.raises(BAD, match=r"scores\[1\] is"):
            signals.cdpo_weights([0, bad], **options)
    with pytest.raises(BAD, match="side is 'best'"):
        signals.cdpo_weights(s, "best")


def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def cdpo_oracle(plus, minus, beta, reduction):
    losses = []
    batch, tokens = plus.policy.shape
    for b in range(batch):
        sides = [
            [w[b, t] * (x.policy[b, t] - x.reference[b, t]) if x.mask[b, t] else 0.0 for t in range(tokens)]
            for x, w in ((plus, plus.weights), (minus, minus.weights))]
        if reduction == "sum_then_sigmoid":
            losses.append(softplus(-beta * (sum(sides[0]) - sum(sides[1]))))
        else:
            losses.append(sum(softplus(-beta * (sides[0][t] - sides[1][t])) for t in range(tokens)) / tokens)
    return losses


def random_answers(rng, batch=3, tokens=12):
    policy, reference = -rng.exponential(size=(2, batch, tokens))
    return Answers(policy, reference, rng.random((batch, tokens)), rng.random((batch, tokens)) < 0.7)


@pytest.mark.parametrize("reduction", ["sum_then_sigmoid", "code_compat"])
@pytest.mark.parametrize("beta", [0.1, 3.0])
def test_cdpo_loss_and_gradients(rng, reduction, beta):
    plus, minus = random_answers(rng), random_answers(rng)
    found = signals.cdpo_loss(plus, minus, beta, reduction=reduction, gradient=True)
    wanted = cdpo_oracle(plus, minus, beta, reduction)
    assert np.allclose(found.losses, wanted, rtol=1e-14) and found.loss == pytest.approx(np.mean(wanted), rel=1e-14)
    places = [(0, 0), (1, 5), (2, 11), (1, 3)]

    def moved(side, x):
        a = Answers(x, side.reference, side.weights, side.mask)
        return np.mean(cdpo_oracle(a if side is plus else plus, a if side is minus else minus, beta, reduction))

    for side, gradient in ((plus, found.chosen_gradient), (minus, found.rejected_gradient)):
        slopes = difference(lambda x, side=side: moved(side, x), side.policy, places)
        assert np.allclose([gradient[p] for p in places], slopes, atol=1e-9)
        assert np.all(gradient[~side.mask] == 0)


def test_cdpo_analytic_cases(rng):
    zero = Answers(np.zeros(5), np.zeros(5))
    assert signals.cdpo_loss(zero, zero).loss == pytest.approx(math.log(2), rel=1e-15)
    # positions outside both responses add ln 2 in the released code
    mask = np.array([1, 1, 0, 0, 0])
    a = Answers(np.array([1, 2, np.nan, np.nan, np.nan]), np.zeros(5), None, mask)
    b = Answers(np.array([0, 1, np.nan, np.nan, np.nan]), np.zeros(5), None, mask)
    compat = signals.cdpo_loss(a, b, 1, reduction="code_compat").loss
    assert compat == pytest.approx((2 * softplus(-1) + 3 * math.log(2)) / 5, rel=1e-14)
    assert signals.cdpo_loss(a, b, 1).loss == pytest.approx(softplus(-2), rel=1e-14)
    # only tokens with a weight count; margins of thousands do not overflow
    far = Answers(np.full(5, -1000.0), np.zeros(5))
    assert signals.cdpo_loss(far, zero, 1).loss == 5000 and signals.cdpo_loss(zero, far, 1).loss == 0
    # all weights 1: DPO of the summed log-ratios
    plus, minus = random_answers(rng), random_answers(rng)
    plus.weights = minus.weights = None
    margin = [
        0.1 * ((plus.policy - plus.reference)[b][plus.mask[b]].sum() - (minus.policy - minus.reference)[b][minus.mask[b]].sum())
        for b in range(3)]
    assert np.allclose(signals.cdpo_loss(plus, minus).losses, [softplus(-m) for m in margin], rtol=1e-13)


def critical_oracle(correct, tolerance):
    """The rule of the page, one candidate at a time."""
    start, last = 0, None
    while True:
        zeros = [i for i in range(start, len(correct)) if correct[i] == 0]
        if not zeros:
            return last
        candidate = zeros[0]
        later = [i for i in range(candidate + 1, len(correct)) if correct[i] > tolerance]
        if not later:
            return candidate
        last, start = candidate, later[0] + 1


def test_critical_token_by_hand():
    assert signals.critical_token([60, 40, 0, 2, 3, 0]) == 2
    assert signals.critical_token([60, 0, 4, 50, 0, 0, 1]) == 4  # the first candidate falls, the next stands
    assert signals.critical_token([60, 0, 4, 50]) == 1           # none survives: the last discarded
    assert signals.critical_token([60, 0, 4, 0, 9, 7]) == 3
    assert signals.critical_token([60, 3, 1]) is None
    assert signals.critical_token(np.empty(0, np.int64)) is None
    assert signals.critical_token([1, 0, 2], 2, tolerance=1) == 1


def test_critical_token_against_the_rule(rng):
    for _ in range(300):
        correct = rng.choice([0, 0, 1, 3, 4, 9], rng.integers(0, 12))
        assert signals.critical_token(correct) == critical_oracle(correct, 3)
    with pytest.raises(BAD, match=r"correct\[1\] is 65"):
        signals.critical_token([0, 65])
    with pytest.raises(BAD, match="samples is 0"):
        signals.critical_token([0], 0)
    with pytest.raises(BAD, match="tolerance is -1"):
        signals.critical_token([0], tolerance=-1)


def test_pass_at_k():
    for n in (1, 7, 64):
        for k in range(1, n + 1):
            wanted = [1 - math.comb(n - c, k) / math.comb(n, k) for c in range(n + 1)]
            assert np.allclose(signals.pass_at_k(np.arange(n + 1), n, k), wanted, rtol=1e-13, atol=1e-15)
    assert signals.pass_at_k([0, 10**6, 10**9], 10**9, 1000).tolist()[::2] == [0, 1]
    assert signals.pass_at_k([10**6], 10**9, 1000)[0] == pytest.approx(1 - math.exp(1000 * math.log1p(-1e-3)), rel=1e-6)
    for arguments, match in (([[5], 4, 1], r"correct\[0\] is 5"), ([[1], 4, 5], "k is 5"), ([[1], 4, 0], "k is 0"), ([[0], 0, 1], "n is 0")):
        with pytest.raises(BAD, match=match):
            signals.pass_at_k(*arguments)


# ------------------------------------------------------------------------------------------------------- T-REG


def test_treg_rewards(rng):
    better, worse = -rng.exponential(size=(2, 4, 9))
    found = signals.treg_rewards(better, worse)
    assert np.allclose(found, 1 / (1 + np.exp(worse - better)) - 0.5, rtol=0, atol=1e-15)
    assert np.array_equal(signals.treg_rewards(worse, better), -found)
    assert np.all(signals.treg_rewards(better, better) == 0)
    assert signals.treg_rewards([-1e6, 0], [0, -1e6]).tolist() == [-0.5, 0.5]
    with pytest.raises(BAD, match=r"worse\[0\] is -inf"):
        signals.treg_rewards([0], [-np.inf])


def treg_oracle(plus, minus, beta, alpha, weighted=True, constant=None):
    """constant: weights of pairs held fixed, as a stopped gradient does."""
    losses, weights = [], []
    for b in range(len(plus.policy)):
        r = [beta * (x.policy[b] - x.reference[b])[x.mask[b]].sum() for x in (plus, minus)]
        reg = sum(-(beta * x.weights[b] * x.policy[b])[x.mask[b]].sum() for x in (plus, minus))
        w = 1 / (1 + math.exp(r[0] - r[1])) if weighted else 1.0
        weights.append(w)
        losses.append(softplus(r[1] - r[0]) + alpha * (w if constant is None else constant[b]) * reg)
    return losses, weights


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("stop", [True, False])
def test_treg_loss_and_gradients(rng, weighted, stop):
    plus, minus = random_answers(rng), random_answers(rng)
    plus.weights, minus.weights = plus.weights - 0.5, minus.weights - 0.5
    options = {"beta": 0.7, "alpha": 0.4, "weighted": weighted}
    found = signals.treg_loss(plus, minus, stop_gradient=stop, gradient=True, **options)
    losses, weights = treg_oracle(plus, minus, **options)
    assert np.allclose(found.losses, losses, rtol=1e-13) and np.allclose(found.pair_weights, weights, rtol=1e-14)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-13)
    places = [(0, 0), (1, 5), (2, 11), (1, 3)]
    constant = weights if stop else None

    def moved(side, x):
        a = Answers(x, side.reference, side.weights, side.mask)
        return np.mean(treg_oracle(a if side is plus else plus, a if side is minus else minus, constant=constant, **options)[0])

    for side, gradient in ((plus, found.chosen_gradient), (minus, found.rejected_gradient)):
        slopes = difference(lambda x, side=side: moved(side, x), side.policy, places)
        assert np.allclose([gradient[p] for p in places], slopes, atol=1e-9)
        assert np.all(gradient[~side.mask] == 0)


def test_treg_without_rewards_is_dpo(rng):
    plus, minus = random_answers(rng), random_answers(rng)
    none = np.zeros_like(plus.policy)
    bare = [Answers(x.policy, x.reference, None, x.mask) for x in (plus, minus)]
    rewarded = [Answers(x.policy, x.reference, none, x.mask) for x in (plus, minus)]
    a, b = signals.treg_loss(*rewarded, gradient=True), signals.cdpo_loss(*bare, gradient=True)
    assert a.loss == pytest.approx(b.loss, rel=1e-15)
    assert np.allclose(a.chosen_gradient, b.chosen_gradient, rtol=1e-14)


def test_bad_input_of_pairs(rng):
    plus, minus = random_answers(rng), random_answers(rng)
    with pytest.raises(BAD, match="chosen->weights is NULL"):
        signals.treg_loss(Answers(plus.policy, plus.reference), minus)
    with pytest.raises(BAD, match="beta is 0"):
        signals.cdpo_loss(plus, minus, 0)
    with pytest.raises(BAD, match="beta is nan"):
        signals.treg_loss(plus, minus, beta=math.nan)
    with pytest.raises(BAD, match="alpha is -1"):
        signals.treg_loss(plus, minus, alpha=-1)
    with pytest.raises(BAD, match="reduction is 'mean'"):
        signals.cdpo_loss(plus, minus, reduction="mean")
    with pytest.raises(BAD, match="rejected.policy is"):
        signals.cdpo_loss(plus, random_answers(rng, tokens=5))
    plus.mask[:] = True
    plus.policy[1, 2] = np.nan
    with pytest.raises(BAD, match=r"policy\[14\] is nan"):
        signals.cdpo_loss(plus, minus)


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
        found = [ce[i, b, t] for b in range(batch) for t in range(tokens) if t + 1 + i < tokens and labels[b, t + 1 + i] != NONE]
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
        (CAFT(-1), 0, 1, "heads is -1"), (CAFT(2000), 0, 1, "heads is 2000"), (CAFT(), 2, 1, "step is 2"), (CAFT(), -1, 1, "step is -1"),
        (CAFT(), 0, 0, "steps is 0"), (CAFT(d=1.5), 0, 1, "decay is 1.5"), (CAFT(c=math.nan), 0, 1, "scale is nan"),
        (CAFT(rise=0), 0, 1, "rise is 0"),
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
