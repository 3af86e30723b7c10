"""Training signals against torch: the formulas written out with autograd, in float64."""

import math

import numpy as np
import pytest

import tamis
from tamis import signals
from tamis.signals import CAFT, Answers, Target

torch = pytest.importorskip("torch")
F = torch.nn.functional
NONE = -100


@pytest.fixture
def rng():
    torch.manual_seed(3)
    return np.random.default_rng(3)


def token_losses(logits, labels):
    """Loss of token t from logits at t - 1; 0 at place 0 and where there is no label."""
    shifted = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none", ignore_index=NONE)
    return F.pad(shifted, (1, 0))


def test_sstoken_end_to_end(rng):
    batch, tokens, vocabulary, heads = 3, 40, 50, 4
    labels = torch.randint(0, vocabulary, (batch, tokens))
    labels[:, :15] = NONE
    labels[1, 25:30] = NONE  # a second turn
    logits, old = torch.randn(2, batch, tokens, vocabulary, dtype=torch.float64)
    current, history = token_losses(logits, labels), token_losses(old, labels)
    q, k = torch.randn(2, batch, heads, tokens, 16)
    table = torch.softmax((q @ k.transpose(2, 3) / 4).masked_fill(torch.ones(tokens, tokens).triu(1).bool(), -math.inf), -1)
    prompt = labels == NONE
    mass = (table * prompt[:, None, None, :]).sum(-1).mean(1).double()
    ours = np.stack([signals.prompt_attention_from_keys(q[b], k[b], prompt[b]) for b in range(batch)])
    assert np.allclose(ours, mass, atol=2e-6)
    assert np.allclose(np.stack([signals.prompt_attention(table[b], prompt[b]) for b in range(batch)]), mass, atol=1e-7)
    kept = signals.sstoken(current, history, labels, mass, gamma=0.5, ratio=0.6)
    for b in range(batch):
        where = ~prompt[b]
        rel = (history - current)[b][where]
        score = 0.5 * (rel - rel.min()) / (rel.max() - rel.min() + 1e-8) + 0.5 * mass[b][where]
        best = torch.topk(score, math.ceil(where.sum().item() * 0.6)).indices
        wanted = torch.full((tokens,), NONE)
        places = where.nonzero().squeeze(1)[best]
        wanted[places] = labels[b][places]
        assert kept[b].tolist() == wanted.tolist()
    # training on the new labels is the mean over the tokens kept
    loss = F.cross_entropy(logits[:, :-1].reshape(-1, vocabulary), torch.from_numpy(kept)[:, 1:].reshape(-1))
    assert loss.item() == pytest.approx(current[torch.from_numpy(kept) != NONE].mean().item(), rel=1e-12)


def sides(batch=4, tokens=30):
    policy = [(-torch.rand(batch, tokens, dtype=torch.float64) * 3).requires_grad_() for _ in range(2)]
    reference = [-torch.rand(batch, tokens, dtype=torch.float64) * 3 for _ in range(2)]
    weights = [torch.rand(batch, tokens, dtype=torch.float64) for _ in range(2)]
    masks = [torch.rand(batch, tokens) < 0.7 for _ in range(2)]
    return policy, reference, weights, masks


def close_gradients(found, policy):
    for ours, x in zip((found.chosen_gradient, found.rejected_gradient), policy):
        assert np.allclose(ours, x.grad, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("reduction", ["sum_then_sigmoid", "code_compat"])
def test_cdpo_with_autograd(rng, reduction):
    policy, reference, weights, masks = sides()
    delta = [((p - r) * w * m) for p, r, w, m in zip(policy, reference, weights, masks)]
    margin = delta[0] - delta[1]
    loss = -F.logsigmoid(0.1 * (margin.sum(1) if reduction == "sum_then_sigmoid" else margin)).mean()
    loss.backward()
    found = signals.cdpo_loss(
        *(Answers(*x) for x in zip(policy, reference, weights, masks)), 0.1, reduction=reduction, gradient=True)
    assert found.loss == pytest.approx(loss.item(), rel=1e-13)
    close_gradients(found, policy)


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_treg_with_autograd(rng, stop, weighted):
    policy, reference, _, masks = sides()
    better, worse = -torch.rand(2, 2, 4, 30, dtype=torch.float64)
    rewards = torch.sigmoid(better - worse) - 0.5
    beta, alpha = 0.3, 0.5
    r = [beta * ((p - q) * m).sum(1) for p, q, m in zip(policy, reference, masks)]
    w = torch.sigmoid(r[1] - r[0]) if weighted else torch.ones(4, dtype=torch.float64)
    regularisers = sum(-(beta * reward * p * m).sum(1) for reward, p, m in zip(rewards, policy, masks))
    loss = (-F.logsigmoid(r[0] - r[1]) + alpha * (w.detach() if stop else w) * regularisers).mean()
    loss.backward()
    ours = [signals.treg_rewards(b, x) for b, x in zip(better, worse)]
    assert np.allclose(ours, rewards, atol=1e-15)
    found = signals.treg_loss(
        *(Answers(p, q, o, m) for p, q, o, m in zip(policy, reference, ours, masks)), beta=beta, alpha=alpha, weighted=weighted,
        stop_gradient=stop, gradient=True)
    assert found.loss == pytest.approx(loss.item(), rel=1e-12)
    close_gradients(found, policy)


@pytest.mark.parametrize("q", [0, 0.4, 1])
def test_tool_calls_with_autograd(rng, q):
    classes = rng.choice([0, 0, 0, 0, 1, 2, 255], 50)
    ce = torch.rand(50, dtype=torch.float64).mul(4).requires_grad_()
    others, keys = (classes == 0).sum(), (classes == 1).sum()
    w = torch.from_numpy(np.where(classes == 255, 0, np.where((classes == 1) & (keys < others), min(others / keys, 9), 1)))
    loss = ((ce if q == 0 else (1 - torch.exp(-ce) ** q) / q) * w).sum() / w.sum()
    loss.backward()
    found, gradient = signals.tool_call_loss(ce, classes, q=q, gradient=True)
    assert found == pytest.approx(loss.item(), rel=1e-13) and np.allclose(gradient, ce.grad, rtol=1e-12)


def test_caft_with_autograd(rng):
    batch, tokens, vocabulary, heads = 2, 20, 30, 4
    logits = torch.randn(heads + 1, batch, tokens, vocabulary, dtype=torch.float64)
    labels = torch.where(torch.rand(batch, tokens) < 0.8, torch.randint(0, vocabulary, (batch, tokens)), NONE)
    ce = torch.zeros(heads + 1, batch, tokens, dtype=torch.float64)
    for i in range(heads + 1):
        n = tokens - 1 - i
        ce[i, :, :n] = F.cross_entropy(
            logits[i, :, :n].transpose(1, 2), labels[:, 1 + i :], reduction="none", ignore_index=NONE)
    ce.requires_grad_()
    each = [
        F.cross_entropy(logits[i, :, : tokens - 1 - i].transpose(1, 2), labels[:, 1 + i :], ignore_index=NONE)
        for i in range(heads + 1)]
    s = math.sin(math.pi / 2 * 7 / 10)
    wanted = each[0] + 0.01 * s * sum(0.8**i * each[i] for i in range(1, heads + 1))
    loss, means = CAFT().loss(ce, labels, 3, 10)
    assert loss == pytest.approx(wanted.item(), rel=1e-13) and np.allclose(means, torch.stack(each), rtol=1e-13)
    weights = CAFT().weights(labels, 3, 10)
    (torch.from_numpy(weights) * ce).sum().backward()
    assert np.array_equal(ce.grad.numpy(), weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_text_targets_with_torch(rng, dtype):
    logits = torch.randn(6, 4000).mul(3).to(dtype)
    mean = logits.double().mean(0)
    top = torch.topk(torch.softmax(mean, 0), 32)
    found = signals.model_target(logits)
    assert sorted(top.indices.tolist()) == found.tokens.tolist()
    q = torch.zeros(4000, dtype=torch.float64)
    q[top.indices] = top.values / top.values.sum()
    assert np.allclose(found.q, q[found.tokens.astype(np.int64)], rtol=1e-11)
    kl = F.kl_div(torch.log_softmax(logits[:2].double(), 1), q.expand(2, -1), reduction="none").sum(1)
    assert np.allclose(signals.target_kl(logits[:2], [found, found]), kl, rtol=1e-11)
    everything = Target(np.arange(4000), np.full(4000, 1 / 4000))
    flat = torch.full((1, 4000), 1 / 4000, dtype=torch.float64)
    uniform = F.kl_div(torch.log_softmax(logits[:1].double(), 1), flat, reduction="sum")
    assert signals.target_kl(logits[:1], [everything])[0] == pytest.approx(uniform.item(), rel=1e-11)


def test_nearest_keys_with_torch(rng):
    head = torch.randn(1500, 48)
    cosines = F.cosine_similarity(head[:64, None].double(), head[None].double(), dim=2)
    cosines[torch.arange(64), torch.arange(64)] = -2
    best = torch.topk(cosines, 6)
    near, found = signals.key_topm_neighbors(head, torch.arange(64), 6)
    assert np.array_equal(near, best.indices) and np.allclose(found, best.values, atol=1e-6)


def test_pass_at_k_is_the_usual_estimator(rng):
    for c in range(65):
        wanted = 1.0 if 64 - c < 8 else 1 - np.prod(1 - 8 / np.arange(64 - c + 1, 65))
        assert signals.pass_at_k([c], 64, 8)[0] == pytest.approx(wanted, rel=1e-12, abs=1e-15)
