"""DHSA v2's training-free selectors (arXiv 2510.24606 v2) and v1's block-sparse baseline, in float64 and plain loops.

Each function gives a list of sets of tiles, head major.
"""

import numpy as np
from oracle_sparse_rows import Rows, attention_rows, best, block_means, diagonal_sums, shares


def lse8(q, k, head, group, b, j, bq, bk, scale, softcap):
    logits = []
    for a in range(4):
        rows = q[head, b * bq + a * bq // 4 : min(b * bq + (a + 1) * bq // 4, q.shape[1])]
        for e in range(2):
            keys = k[head // group, j * bk + e * bk // 2 : min(j * bk + (e + 1) * bk // 2, k.shape[1])]
            if len(rows) and len(keys):
                z = scale * (rows.mean(0) @ keys.mean(0))
                logits.append(softcap * np.tanh(z / softcap) if softcap else z)
    top = max(logits)
    return top + np.log(np.mean(np.exp(np.array(logits) - top)))


def forced(rows, b, budget, whole_band=True):
    """Tile 0 and the band of the block, the last tiles first."""
    have, band = rows.available(b), rows.band(b)
    first = band[0] if whole_band else have[-1]
    sink = 1 if budget > 1 and have[0] == 0 and first > 0 else 0
    low = max(first, have[-1] - (budget - sink) + 1)
    return set(range(low, have[-1] + 1)) | ({0} if sink else set())


def structured(rows, b, budget, scores, whole_band=True):
    have = rows.available(b)
    if len(have) <= budget:
        return set(have)
    chosen = forced(rows, b, budget, whole_band)
    below = [j for j in have if j not in chosen and j < min(chosen - {0}, default=0)]
    return chosen | best(scores, below, budget - len(chosen))


def topk(q, k, *, bq=128, bk=64, density=0.125, score="lse8", whole_band=True, scale=None, softcap=0.0, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    budget, group = shares(density, rows.tiles), q.shape[0] // k.shape[0]
    scale = q.shape[2] ** -0.5 if scale is None else scale
    qm, km = block_means(q, bq), block_means(k, bk)
    lists = []
    for h in range(q.shape[0]):
        for b in range(rows.blocks):
            if score == "mean":
                s = km[h // group] @ qm[h, b]
            else:
                s = {j: lse8(q, k, h, group, b, j, bq, bk, scale, softcap) for j in rows.available(b)}
            lists.append(structured(rows, b, budget, s, whole_band))
    return lists


def whole_row_topk(q, k, *, bq=128, bk=64, density=0.125, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    qm, km, group = block_means(q, bq), block_means(k, bk), q.shape[0] // k.shape[0]
    return [
        best(km[h // group] @ qm[h, b], range(rows.tiles), shares(density, rows.tiles))
        for h in range(q.shape[0]) for b in range(rows.blocks)]


def block(q, k, *, bq=128, bk=64, budget=None, density=0.125, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    tokens = int(round(float(np.float32(density)) * k.shape[1], 4)) if budget is None else budget
    n = max(1, tokens // bk)
    qm, km = block_means(q, bq).mean(0), block_means(k, bk).mean(0)
    lists = []
    for b in range(rows.blocks):
        have, band = rows.available(b), rows.band(b)
        if len(have) <= n:
            lists.append(set(have))
            continue
        chosen = set(band[-n:]) if band[-1] == have[-1] else set(have[-n:])
        below = [j for j in have if j < min(chosen)]
        lists.append(chosen | best(km @ qm[b], below, n - len(chosen)))
    return lists


def vs(q, k, *, bq=128, bk=64, density=0.125, ratio=0.5, sampled=64, scale=None, softcap=0.0, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    n, group, budget = q.shape[1], q.shape[0] // k.shape[0], shares(density, rows.tiles)
    tokens = budget * bk
    n_vertical = int(tokens * ratio)
    width = min(bq, n)
    count = min(sampled, width)
    queries = [n - 1 - (count - 1 - r) * width // count for r in range(count)]
    span = rows.offset + n
    lists = []
    for h in range(q.shape[0]):
        p = attention_rows(
            q, k, queries, h, group, q_offset=rows.offset, window=rows.window, scale=scale, softcap=softcap)
        column, slash = p.sum(0), diagonal_sums(p, queries, rows.offset, span)
        columns, slashes = best(column, range(len(column)), n_vertical), best(slash, range(span), tokens - n_vertical)
        for b in range(rows.blocks):
            first, last = rows.token_range(b)
            have = rows.available(b)
            if b == rows.blocks - 1 or first < tokens:
                lists.append(set(have))
                continue
            s = np.zeros(rows.tiles)
            for t in sorted(columns):
                s[t // bk] += np.float32(column[t])
            for d in sorted(slashes):
                for j in {t // bk for t in range(max(first - d, 0), min(last - d, rows.k_len - 1) + 1)}:
                    s[j] += np.float32(slash[d])
            lists.append(structured(rows, b, budget, s))
    return lists


def vsb(q, k, *, bq=128, bk=64, density=0.125, literal=False, scale=None, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    budget, group = shares(density, rows.tiles), q.shape[0] // k.shape[0]
    scale = q.shape[2] ** -0.5 if scale is None else scale
    km = block_means(k, bk)
    end = (rows.blocks - 1) * bq
    have = rows.available(rows.blocks - 1)
    lists = []
    for h in range(q.shape[0]):
        logit = scale * (km[h // group] @ q[h, end:].mean(0))
        value = logit if literal else np.exp(logit - logit[have].max())
        columns, distances = best(logit, have, budget // 2), best(logit, have, budget - budget // 2)
        for b in range(rows.blocks):
            mine = rows.available(b)
            if len(mine) <= budget:
                lists.append(set(mine))
                continue
            s = np.zeros(rows.tiles)
            for j in columns:
                s[j] += value[j]
            for j in distances:
                for band in rows.band(b):
                    if 0 < band - (have[-1] - j) < mine[-1]:
                        s[band - (have[-1] - j)] += value[j]
            lists.append(structured(rows, b, budget, s))
    return lists


def poured(available, forced_tiles, budget, low, high, priority):
    """Row budgets by water-filling in exact fractions of the room: the invariants alone are compared."""
    total = sum(min(a, budget) for a in available)
    floor = [a if a <= budget else max(f, min(a, max(1, int(budget * low)))) for a, f in zip(available, forced_tiles)]
    ceiling = [a if a <= budget else min(a, max(int(np.ceil(budget * high)), budget)) for a in available]
    return total, floor, ceiling
