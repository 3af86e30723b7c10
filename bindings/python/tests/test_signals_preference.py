"""tamis.signals: cDPO and T-REG against float64 loops of their formulas, gradients against differences."""

import math

import numpy as np
import pytest

import tamis
from oracle_signals import difference
from tamis import signals
from tamis.signals import Answers

BAD = tamis.InvalidArgumentError


# -------------------------------------------------------------------------------------------------------- cDPO


def test_cdpo_weights():
    s = np.array([0.9, 0.25, 0.0, 1.0])
    assert np.allclose(signals.cdpo_weights(s), [0.1, 0.75, 1, 0, 1])
    assert signals.cdpo_weights(s, "chosen").tolist() == [1] * 5
    assert signals.cdpo_weights(s, "chosen", only_negative=False).tolist() == [0.9, 0.25, 0, 1, 1]
    assert np.allclose(signals.cdpo_weights(s, leading_zero=True), [0, 0.1, 0.75, 1, 0, 1])
    assert signals.cdpo_weights(s, "chosen", leading_zero=True).tolist() == [1] * 6
    assert signals.cdpo_weights(s, "chosen", only_negative=False, leading_zero=True)[0] == 0
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
    for arguments, match in (
        ([[5], 4, 1], r"correct\[0\] is 5"), ([[1], 4, 5], "k is 5"), ([[1], 4, 0], "k is 0"), ([[0], 0, 1], "n is 0"),
    ):
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


