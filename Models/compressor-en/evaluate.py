"""Held-out figures of a compressor: word F1, retention, calibration."""

import contextlib
import re

import torch

import data
import turns
from annotate import key
from model import reduced

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
        with reduced(device) if half else contextlib.nullcontext():
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


def kept_words(row, p, k, speakers=False):
    """The k most probable words, ties going to the left. With `speakers` the labels of a dialogue follow turns.relabel's
    rule, as the library's protection of speakers has it, and only the other words compete. -> [0 or 1]"""
    kept = torch.zeros(len(p))
    order = torch.argsort(-p, stable=True).tolist()
    parsed = turns.parse(row) if speakers else None
    if parsed is None:
        kept[order[:k]] = 1
        return kept
    spans, at = [], 0
    for t in parsed:
        spans.append((t.name, at, at + len(t.name), at + len(t.name) + len(t.spoken)))
        at = spans[-1][3]
    named = {i for _, a, b, _ in spans for i in range(a, b)}
    order = [i for i in order if i not in named]
    taken = 0
    while True:
        kept[:] = 0
        kept[order[:taken]] = 1
        last = None
        for name, a, b, end in spans:
            if kept[b:end].any():
                if name and name != last:
                    kept[a:b] = 1
                last = name or last
        if kept.sum() >= k or taken == len(order):
            break
        taken += 1
    for i in reversed(order[:taken]):      # the last word may have brought a label with it
        if kept.sum() <= k:
            break
        kept[i] = 0
    return kept


def scores(rows, probability, bins=10, speakers=False):
    """Figures over `rows`; word F1 keeps as many words of a passage as its label does (kept_words)."""
    hit, total, macro, domain = 0, 0, [], {}
    retained, calibration, loss, count = {}, [[0, 0.0, 0.0] for _ in range(bins)], 0.0, 0
    for row, p in zip(rows, probability):
        y = torch.tensor(row["labels"], dtype=torch.float32)
        k = int(y.sum())
        kept = kept_words(row, p, k, speakers)
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
