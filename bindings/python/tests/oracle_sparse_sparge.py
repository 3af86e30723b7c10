"""SpargeAttn's block map (arXiv 2502.18137, section 3.3), in float64 and plain loops. A list of sets of tiles, head major."""

import numpy as np
from oracle_sparse_rows import Rows, best, block_means, shares


def similarity(x, size):
    """Mean cosine of all pairs of rows, itself included, of each block of x [n, d]."""
    found = []
    for i in range(0, len(x), size):
        part = x[i : i + size] / (np.linalg.norm(x[i : i + size], axis=1, keepdims=True) + 1e-12)
        found.append((part @ part.T).mean())
    return found


def sparge(
    q, k, *, bq=128, bk=64, top_share=0.5, coverage=None, threshold=None, smooth=True, first_tile=True, scale=None, **rule,
):
    rows = Rows(q.shape[1], k.shape[1], bq, bk, **rule)
    group = q.shape[0] // k.shape[0]
    scale = q.shape[2] ** -0.5 if scale is None else scale
    threshold = (-0.1 if coverage is None else 0.6) if threshold is None else threshold
    qm, km = block_means(q, bq), block_means(k, bk)
    lists = []
    for h in range(q.shape[0]):
        keys = k[h // group] - k[h // group].mean(0) if smooth else k[h // group]
        mixed_q = [s <= threshold for s in similarity(q[h], bq)]
        mixed_k = [s <= threshold for s in similarity(keys, bk)]
        for b in range(rows.blocks):
            have = rows.available(b)
            if mixed_q[b]:
                lists.append(set(have))
                continue
            z = scale * (km[h // group] @ qm[h, b])
            plain = [j for j in have if not mixed_k[j]]
            p = {j: 0.0 for j in have}
            if plain:
                top = max(z[j] for j in plain)
                total = sum(np.exp(z[j] - top) for j in plain)
                p.update({j: np.exp(z[j] - top) / total for j in plain})
            if coverage is None:
                n = shares(top_share, rows.tiles)
            else:
                n = max(1, int((np.cumsum(sorted(p.values(), reverse=True)) <= np.float32(coverage)).sum()))
            lists.append(best(p, have, n) | {j for j in have if mixed_k[j]} | ({0} & set(have) if first_tile else set()))
    return lists
