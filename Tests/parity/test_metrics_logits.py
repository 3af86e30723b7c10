"""Metrics from logits against torch 2.13 and torchmetrics 1.9.0 on random logits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tamis import metrics

torchmetrics = pytest.importorskip("torchmetrics")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def logits(seed, rows, vocabulary, scale=4.0):
    torch.manual_seed(seed)
    z = scale * torch.randn(rows, vocabulary)
    z[torch.arange(rows), torch.randint(0, vocabulary, (rows,))] += 8
    return z, torch.randint(0, vocabulary, (rows,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vocabulary", [2, 100, 3001, 128256])
def test_rows(dtype, vocabulary):
    z, y = logits(vocabulary, 6, vocabulary)
    z = z.to(dtype)
    y[1] = -100
    found = metrics.logit_metrics(z, y, "nll", "loss", "entropy", "lse", "confidence", "top", "rank", label_smoothing=0.1)
    wide = z.double()
    logs = torch.log_softmax(wide, -1)
    assert found["nll"] == pytest.approx(F.cross_entropy(wide, y, reduction="none").numpy(), rel=1e-6, abs=1e-6)
    smooth = F.cross_entropy(wide, y, reduction="none", label_smoothing=0.1)
    assert found["loss"] == pytest.approx(smooth.numpy(), rel=1e-6, abs=1e-6)
    use = (y >= 0).numpy()
    entropy = torch.distributions.Categorical(logits=wide).entropy().numpy()
    assert found["entropy"][use] == pytest.approx(entropy[use], rel=1e-6, abs=1e-6)
    assert found["lse"][use] == pytest.approx(torch.logsumexp(wide, -1).numpy()[use], rel=1e-6)
    assert found["confidence"][use] == pytest.approx(logs.exp().max(-1).values.numpy()[use], abs=1e-6)
    first = (z == z.max(-1, keepdim=True).values).int().argmax(-1).numpy()
    assert (found["top"][use] == first[use]).all()


@pytest.mark.parametrize("seed", range(5))
def test_perplexity(seed):
    z, y = logits(seed, 60, 50)
    z, y = z.reshape(3, 20, 50), y.reshape(3, 20)
    y[0, :4] = -100
    theirs = torchmetrics.text.Perplexity(ignore_index=-100)
    ours = metrics.Perplexity(ignore_index=-100)
    for i in range(3):
        theirs.update(z[i : i + 1], y[i : i + 1])
        ours.update(z[i : i + 1], y[i : i + 1])
    assert ours.compute() == pytest.approx(float(theirs.compute()), rel=1e-4)


@pytest.mark.parametrize("n_bins", [1, 7, 10, 15, 100])
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_calibration_error(n_bins, norm):
    z, y = logits(n_bins, 500, 8, 1.5)
    y = torch.where(torch.rand(500) < 0.6, z.argmax(-1), y)
    z[:9] = 1e4 * F.one_hot(z[:9].argmax(-1), 8)
    summary = metrics.LogitSummary("correct", n_bins=n_bins)
    metrics.logit_metrics(z, y, summary=summary)
    theirs = torchmetrics.functional.classification.multiclass_calibration_error(z.softmax(-1), y, 8, n_bins=n_bins, norm=norm)
    assert summary.calibration_error(norm) == pytest.approx(float(theirs), abs=2e-6)


def test_bin_boundaries_are_those_of_linspace():
    for n_bins in (3, 7, 10, 15, 49, 100, 1000):
        edges = torch.linspace(0, 1, n_bins + 1)
        c = torch.cat([edges, torch.nextafter(edges, torch.tensor(-1.0)), torch.rand(500)]).clamp(0, 1)
        c = c[(c > 0.5) & (c < 1)]  # of two classes: the confidence is the larger of the two
        summary = metrics.LogitSummary("correct", n_bins=n_bins)
        z = torch.stack([torch.zeros(len(c)), torch.log(c / (1 - c))], -1)
        found = metrics.logit_metrics(z, np.zeros(len(c), int), "confidence", summary=summary)["confidence"]
        wanted = np.bincount(torch.bucketize(torch.from_numpy(found), edges, right=True) - 1, minlength=n_bins + 1)
        assert (summary.bins[:, 0] == wanted).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_divergences(dtype):
    p, _ = logits(1, 5, 20000)
    q = (p + torch.randn_like(p)).to(dtype)
    p = p.to(dtype)
    found = metrics.logit_divergence(p, q, "kl", "reverse_kl", "js", "total_variation")
    a, b = torch.log_softmax(p.double(), -1), torch.log_softmax(q.double(), -1)
    m = torch.logaddexp(a, b) - np.log(2)

    def kl(x, y):
        return F.kl_div(y, x, reduction="none", log_target=True).sum(-1).numpy()

    assert found["kl"] == pytest.approx(kl(a, b), abs=2e-6)
    assert found["reverse_kl"] == pytest.approx(kl(b, a), abs=2e-6)
    assert found["js"] == pytest.approx((kl(a, m) + kl(b, m)) / 2, abs=2e-6)
    assert found["total_variation"] == pytest.approx((a.exp() - b.exp()).abs().sum(-1).numpy() / 2, abs=2e-6)


def test_contrastive_score_of_the_published_code():
    p, y = logits(3, 6, 3000)
    n, _ = logits(4, 6, 3000)
    wanted = torch.softmax((2 * p - n).double(), -1).gather(1, y[:, None])[:, 0].log()
    assert metrics.contrastive_log_probs(p, n, y) == pytest.approx(wanted.numpy(), rel=2e-6, abs=2e-6)
