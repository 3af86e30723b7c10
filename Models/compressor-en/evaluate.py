"""Held-out figures of a compressor: word F1, retention, calibration."""

import re

import torch

import data
from annotate import key

NEGATION = re.compile(r"(?:no|not|never|none|nothing|nobody|neither|nor|cannot|without|nowhere|\w+n['\u2019]t)$")


def kinds(text, spans):
    """Per word the set of what it is: number, negation, name (capitalised inside a sentence, not a speaker's label)."""
    out = []
    for i, (a, b) in enumerate(spans):
        word, kind = text[a:b], set()
        before = text[spans[i - 1][0]:spans[i - 1][1]] if i else "."
        if re.search(r"\d", word):
            kind.add("number")
        if NEGATION.match(key(word)):
            kind.add("negation")
        bare = word.strip("\"'([{\u201c\u2018")
        if bare[:1].isupper() and key(word) not in ("i", "i'm", "i'd", "i'll", "i've") and not word.endswith(":") \
                and before[-1:] not in ".?!:" and "\n" not in text[spans[i - 1][1] if i else 0:a] and i:
            kind.add("name")
        out.append(kind)
    return out


@torch.no_grad()
def probabilities(model, tokenizer, rows, device="cpu", tokens=4096, half=False):
    """Keep probability of every word of every row. -> [tensor of len(labels)]"""
    model.eval()
    pieces, parts = data.encode(tokenizer, rows), {}
    for number, p in enumerate(pieces):
        p.number = number
    for batch in data.batches(pieces, tokens):
        ids, mask, at, word, label, owner = (x.to(device) for x in data.collate(batch))
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=half):
            logit = model(ids, mask, at)
        p = data.word_probability(logit.float(), word, len(label)).cpu()
        for i, piece in enumerate(batch):
            parts[piece.number] = p[owner.cpu() == i]
    out, n = [], 0
    for row in rows:
        got = []
        while sum(map(len, got)) < len(row["labels"]):
            got.append(parts[n])
            n += 1
        out.append(torch.cat(got))
    return out


def scores(rows, probability, bins=10):
    """Figures over `rows`; word F1 keeps as many words of a passage as its label does, ties going to the left."""
    hit, total, macro, domain = 0, 0, [], {}
    retained, calibration, loss, count = {}, [[0, 0.0, 0.0] for _ in range(bins)], 0.0, 0
    for row, p in zip(rows, probability):
        y = torch.tensor(row["labels"], dtype=torch.float32)
        k = int(y.sum())
        kept = torch.zeros_like(y)
        kept[torch.argsort(-p, stable=True)[:k]] = 1
        h = float((kept * y).sum())
        hit, total = hit + h, total + k
        if k:
            macro.append(h / k)
        d = domain.setdefault(row["id"].split("/")[0], [0.0, 0])
        d[0], d[1] = d[0] + h, d[1] + k
        for i, kind in enumerate(kinds(row["text"], row["spans"])):
            for name in kind:
                r = retained.setdefault(name, [0, 0, 0])
                r[0], r[1], r[2] = r[0] + 1, r[1] + int(kept[i]), r[2] + int(y[i])
        loss += float(torch.nn.functional.binary_cross_entropy(p.clamp(1e-6, 1 - 1e-6), y, reduction="sum"))
        count += len(y)
        for at in range(bins):
            inside = (p >= at / bins) & ((p < (at + 1) / bins) | (at == bins - 1))
            c = calibration[at]
            c[0], c[1], c[2] = c[0] + int(inside.sum()), c[1] + float(p[inside].sum()), c[2] + float(y[inside].sum())
    return {"f1": hit / total, "f1_passage_mean": sum(macro) / len(macro), "f1_domain": {k: v[0] / v[1] for k, v in domain.items()},
            "passages": len(rows), "words": count, "log_loss": loss / count,
            "retention": {k: {"words": v[0], "kept": v[1] / v[0], "label": v[2] / v[0]} for k, v in sorted(retained.items())},
            "ece": sum(abs(c[1] - c[2]) for c in calibration) / count,
            "reliability": [{"words": c[0], "predicted": c[1] / c[0], "kept": c[2] / c[0]} for c in calibration if c[0]]}
