"""The logits area of bench.py: statistics of rows of logits against PyTorch's own, in the same run and loop, and the share of the read
bandwidth that the same loop measures.

Logits as models have them (a bulk, a few candidates far above it, row offsets), 128256 entries a row: far beyond the cache.
"""

from __future__ import annotations

import numpy as np
import torch

import tamis
from tamis import metrics


def language(rng, rows, vocabulary):
    z = rng.standard_normal((rows, vocabulary), dtype=np.float32)
    z *= 2.5
    z += 4 * rng.standard_normal((rows, 1), dtype=np.float32)
    for row in z:
        row[rng.integers(0, vocabulary, 4)] += rng.uniform(3, 20, 4)
    return torch.from_numpy(z)


def entropy(z):
    logs = torch.log_softmax(z.float(), -1)
    return -(logs.exp() * logs).sum(-1)


def exact(z, y):
    """NLL and entropy of a few rows in float64."""
    logs = torch.log_softmax(z.double(), -1)
    return -logs.gather(1, y[:, None])[:, 0].numpy(), -(logs.exp() * logs).sum(-1).numpy()


def run(bench, Row, interleave) -> None:
    rows, vocabulary = (16, 5000) if bench.options.quick else (384, 128256)
    base = language(bench.rng, rows, vocabulary)
    y = torch.from_numpy(bench.rng.integers(0, vocabulary, rows))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        z = base.to(dtype)
        name = str(dtype).split(".")[-1]
        ids = y.numpy().astype(np.int32)

        def ours(*outputs, z=z, ids=ids, **options):
            return lambda: metrics.logit_metrics(z, ids, *outputs, ctx=bench.ctx, **options)

        cases = {
            "NLL": (ours("nll"), lambda z=z: torch.nn.functional.cross_entropy(z.float(), y, reduction="none"), "80 % of read"),
            "NLL and entropy": (
                ours("nll", "entropy"),
                lambda z=z: (torch.nn.functional.cross_entropy(z.float(), y, reduction="none"), entropy(z)), "3 x torch"),
            "everything, k 10": (ours(*metrics._logits.FLOATS, *metrics._logits.INTEGERS, top_k=10), None, ""),
        }
        wrong = [
            float(np.abs(a[:8] - b).max() / max(1, np.abs(b).max()))
            for a, b in zip(ours("nll", "entropy")().values(), exact(z[:8], y[:8]))
        ]
        for case, (mine, theirs, goal) in cases.items():
            contestants = {"ours": mine, "read": bench.read, **({"torch": theirs} if theirs else {})}
            t = interleave(contestants, seconds=min(bench.options.seconds, 3), least=3, warm=1)
            rate = z.numel() * z.element_size() / t["ours"].median / 1e6
            add(bench, Row, f"{case}, [{rows}, {vocabulary}] {name}", t, goal, rate, max(wrong) if theirs else None)
    q = base + 0.3 * torch.from_numpy(bench.normal(rows, vocabulary))
    t = interleave({
        "ours": lambda: metrics.logit_divergence(base, q, "kl", ctx=bench.ctx), "read": bench.read,
        "torch": lambda: torch.nn.functional.kl_div(
            torch.log_softmax(q, -1), torch.log_softmax(base, -1), reduction="none", log_target=True).sum(-1),
    }, seconds=min(bench.options.seconds, 3), least=3, warm=1)
    kl = metrics.logit_divergence(base[:8], q[:8], "kl")["kl"]
    a, b = torch.log_softmax(base[:8].double(), -1), torch.log_softmax(q[:8].double(), -1)
    wrong = float(np.abs(kl - (a.exp() * (a - b)).sum(-1).numpy()).max())
    rate = 2 * base.numel() * 4 / t["ours"].median / 1e6
    add(bench, Row, f"KL, two [{rows}, {vocabulary}] float32", t, "", rate, wrong)


def add(bench, Row, case, t, goal, rate, wrong) -> None:
    peer = t.get("torch")
    bench.add(Row(
        "Logits", case, t["ours"].min, t["ours"].median, "torch" if peer else "", peer.min if peer else None,
        peer.median if peer else None, {"torch": peer.median / t["ours"].median} if peer else {}, goal, rate, "GB/s",
        rate / bench.bandwidth(t), wrong))
