"""XAttention (arXiv 2503.16428), in float64: every antidiagonal as a sum over its S products. Sets of tiles, head major."""

import numpy as np
from oracle_sparse_rows import Rows


def xattention(q, k, *, bq=128, bk=128, stride=8, coverage=0.9, scale=None, **rule):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    heads, n, d = q.shape
    m, group = k.shape[1], heads // k.shape[0]
    scale = d**-0.5 if scale is None else scale
    coverage = np.broadcast_to(coverage, heads)
    pairs, key_pairs = -(-n // stride), -(-m // stride)
    lists = []
    for h in range(heads):
        qs, ks = np.zeros((pairs * stride, d)), np.zeros((key_pairs * stride, d))
        qs[:n], ks[:m] = q[h], k[h // group]
        z = np.zeros((pairs, key_pairs))
        for t in range(stride):
            z += qs[stride - 1 - t :: stride] @ ks[t::stride].T
        a = np.zeros_like(z)
        for i in range(pairs):
            first, last = rows.offset + i * stride, rows.offset + min((i + 1) * stride, n) - 1
            j = np.arange(key_pairs)
            seen = j * stride <= last if rows.causal else np.ones(key_pairs, bool)
            if rows.window:
                seen &= (j + 1) * stride > first - rows.window + 1
            if seen.any():
                e = np.exp((z[i, seen] - z[i, seen].max()) * scale / stride)
                a[i, seen] = e / e.sum()
        for b in range(rows.blocks):
            have = rows.available(b)
            s = {j: a[b * bq // stride : (b + 1) * bq // stride, j * bk // stride : (j + 1) * bk // stride].sum() for j in have}
            total = sum(s.values())
            chosen = set(rows.band(b)) | ({0} & set(have))
            got = sum(s[j] for j in chosen)
            for j in sorted((j for j in have if j not in chosen), key=lambda j: (-s[j], j)):
                if got >= coverage[h] * total and coverage[h] < 1:
                    break
                chosen.add(j)
                got += s[j]
            lists.append(chosen)
    return lists
