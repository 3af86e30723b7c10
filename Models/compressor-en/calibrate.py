"""Scale and shift of the keep logit, fitted on passages the weights were not trained on and folded into the classifier.
Fine-tuning on varied dialogues sees other keep rates than real ones; two numbers put that right."""

import torch

import data
from annotate import group


@torch.no_grad()
def logits(model, tokenizer, rows, tokens=4096):
    """-> [(group, token logits, word of each token, labels)], one a passage."""
    model.eval()
    out = []
    for batch in data.batches(data.encode(tokenizer, rows), tokens):
        ids, mask, at, word, label, owner = data.collate(batch)
        z = model(ids, mask, at)
        for i, passage in enumerate(batch):
            real = word[i] >= 0
            first = int((owner < i).sum())
            out.append((group(passage.id), z[i][real], word[i][real] - first, label[owner == i]))
    return out


def joined(parts):
    z, label = torch.cat([p[1] for p in parts]), torch.cat([p[3] for p in parts])
    word, base = [], 0
    for part in parts:
        word.append(part[2] + base)
        base += len(part[3])
    return z, torch.cat(word), label


def fit(parts):
    """The scale and shift of least log loss over words."""
    z, word, label = joined(parts)
    x = torch.tensor([1.0, 0.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([x], max_iter=40, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        p = data.word_probability(z * x[0] + x[1], word, len(label)).clamp(1e-6, 1 - 1e-6)
        loss = torch.nn.functional.binary_cross_entropy(p, label)
        loss.backward()
        return loss

    optimiser.step(closure)
    return tuple(x.detach().tolist())


def error(parts, scale, shift, bins=10):
    """Expected calibration error."""
    z, word, label = joined(parts)
    p = data.word_probability(z * scale + shift, word, len(label))
    at = (p * bins).long().clamp_max(bins - 1)
    gap = torch.zeros(bins).index_add(0, at, p - label)
    return float(gap.abs().sum() / len(label))


def crossed(parts):
    """Expected calibration error of fits on one half of the groups, measured on the other, both ways."""
    groups = sorted({p[0] for p in parts})
    halves = [[p for p in parts if (groups.index(p[0]) % 2 == 0) == even] for even in (True, False)]
    return sum(error(halves[1 - i], *fit(halves[i])) for i in range(2)) / 2


def fold(state, scale, shift):
    """Both numbers into the classifier of `state`, in place."""
    state["classifier.weight"] = state["classifier.weight"] * scale
    state["classifier.bias"] = state["classifier.bias"] * scale + torch.tensor([0.0, shift])
    return state
