"""FlexPrefill (arXiv 2502.20766, Algorithms 1 to 4), in float64 and plain loops. A list of sets of tiles, head major."""

import numpy as np
from oracle_sparse_rows import Rows, attention_rows, best, block_means, diagonal_sums


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def within(x, mass):
    """How many of the sorted values have a running sum of at most `mass`."""
    return int((np.cumsum(np.sort(x)[::-1]) <= mass).sum())


def flexprefill(q, k, *, bq=128, bk=128, gamma=0.9, tau=0.1, least=1024, most=None, sampled=128, scale=None, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    n, group = q.shape[1], q.shape[0] // k.shape[0]
    scale = q.shape[2] ** -0.5 if scale is None else scale
    if rows.k_len <= max(2 * bk, least):
        return [set(rows.available(b)) for _ in range(q.shape[0]) for b in range(rows.blocks)], None
    queries = list(range(max(0, n - sampled), n))
    qm, km, span = block_means(q, bq), block_means(k, bk), rows.offset + n
    lists, kinds = [], []
    for h in range(q.shape[0]):
        p = attention_rows(q, k, queries, h, group, q_offset=rows.offset, window=rows.window, scale=scale)
        v, s = p.mean(0), diagonal_sums(p, queries, rows.offset, span) / len(queries)
        have = rows.available(rows.blocks - 1)
        column = np.array([v[j * bk : (j + 1) * bk].sum() for j in range(rows.tiles)])
        diagonal = np.array([s[j : j + bk].sum() for j in range(0, span, bk)])
        a = softmax(scale * (km[h // group, have] @ q[h, queries].mean(0)))
        m = (a + column[have]) / 2
        kl = [sum(x * np.log(x / y) for x, y in zip(part, m) if x > 0) for part in (a, column[have])]
        aware = np.sqrt(max((kl[0] + kl[1]) / 2, 0)) < tau
        low, high = max(1, least // 128), 10**9 if most is None else max(1, most // 128)
        budgets = [low if aware else min(max((within(x, gamma) + 1) // 128 + 1, low), high) for x in (v, s)]
        column[0], diagonal[0] = np.inf, np.inf
        columns = best(column, range(len(column)), budgets[0])
        distances = best(diagonal, range(len(diagonal)), budgets[1])
        tiles = [{j for j in rows.available(b) if j in columns} for b in range(rows.blocks)]
        for b in range(rows.blocks):
            first, last = rows.token_range(b)
            for d in distances:
                near = range(max(first - d * bk, 0), min(last - d * bk, rows.k_len - 1) + 1)
                tiles[b] |= {t // bk for t in near} & set(rows.available(b))
        if aware:
            mass = np.zeros((rows.blocks, rows.tiles))
            for b in range(rows.blocks):
                if rows.available(b):
                    mass[b, rows.available(b)] = softmax(scale * (km[h // group, rows.available(b)] @ qm[h, b]))
            flat = mass.ravel()
            for i in best(flat, range(flat.size), within(flat, gamma * rows.blocks)):
                if flat[i] > 0:
                    tiles[i // rows.tiles].add(i % rows.tiles)
        lists += tiles
        kinds.append(bool(aware))
    return lists, kinds
