"""What a query block may see, in plain loops, and the few sums that the sparse prefill oracles share. float64."""

import numpy as np


def shares(x, n):
    """floor(x n), at least 1, of a share that was rounded to float32 on its way."""
    return min(n, max(1, int(np.floor(round(float(np.float32(x)) * n, 4)))))


def legal(i, q_len, k_len, q_offset=None, window=0, causal=True):
    """Keys of query i, bool [k_len]."""
    token = (k_len - q_len if q_offset is None else q_offset) + i
    j = np.arange(k_len)
    seen = j <= token if causal else np.ones(k_len, bool)
    return seen & (j > token - window) if window else seen


class Rows:
    """Blocks of queries over tiles of keys."""

    def __init__(self, q_len, k_len, bq, bk, q_offset=None, window=0, causal=True):
        self.q_len, self.k_len, self.bq, self.bk = q_len, k_len, bq, bk
        self.offset = k_len - q_len if q_offset is None else q_offset
        self.window, self.causal = window, causal
        self.blocks, self.tiles = -(-q_len // bq), -(-k_len // bk)

    def keys(self, b):
        """bool [k_len]: keys that some query of block b may see."""
        seen = np.zeros(self.k_len, bool)
        for i in range(b * self.bq, min((b + 1) * self.bq, self.q_len)):
            seen |= legal(i, self.q_len, self.k_len, self.offset, self.window, self.causal)
        return seen

    def available(self, b):
        """Tiles with such a key, ascending."""
        seen = self.keys(b)
        return [j for j in range(self.tiles) if seen[j * self.bk : (j + 1) * self.bk].any()]

    def band(self, b):
        """Tiles of the block's own positions."""
        have = self.available(b)
        if not have:
            return []
        ends = []
        for i in (b * self.bq, min((b + 1) * self.bq, self.q_len) - 1):
            tile = min(max(self.offset + i, 0), self.k_len - 1) // self.bk
            ends.append(min(max(tile, have[0]), have[-1]))
        return list(range(ends[0], ends[1] + 1))

    def token_range(self, b):
        """Positions of block b, as if it were whole."""
        return self.offset + b * self.bq, self.offset + (b + 1) * self.bq - 1


def block_means(x, size):
    """[heads, n, d] -> [heads, ceil(n / size), d]."""
    return np.stack([x[:, i : i + size].mean(1) for i in range(0, x.shape[1], size)], 1)


def best(scores, candidates, k):
    """The k best of the candidates; ties to the lower one, NaN is -inf."""
    s = {j: -np.inf if np.isnan(scores[j]) else scores[j] for j in candidates}
    return set(sorted(candidates, key=lambda j: (-s[j], j))[: max(k, 0)])


def attention_rows(q, k, rows, head, group, *, q_offset=None, window=0, scale=None, softcap=0.0):
    """P [len(rows), k_len] of these queries of one head, causal."""
    q_len, k_len = q.shape[1], k.shape[1]
    scale = q.shape[2] ** -0.5 if scale is None else scale
    p = np.zeros((len(rows), k_len))
    for r, i in enumerate(rows):
        seen = legal(i, q_len, k_len, q_offset, window)
        if seen.any():
            z = scale * (k[head // group, seen] @ q[head, i])
            z = softcap * np.tanh(z / softcap) if softcap else z
            e = np.exp(z - z.max())
            p[r, seen] = e / e.sum()
    return p


def diagonal_sums(p, rows, offset, span):
    """sum over rows of p[r, position of r - distance] for each distance."""
    s = np.zeros(span)
    for r, i in enumerate(rows):
        for t in np.nonzero(p[r])[0]:
            s[offset + i - t] += p[r, t]
    return s


def dense_mask(lists, mask):
    """A SparseMask's lists against the oracle's sets: bool [rows, tiles] of both."""
    t = mask.tiles
    n = -(-lists["k_len"] // t.key_block)
    found = np.zeros((t.n_rows, n), bool)
    found[np.repeat(np.arange(t.n_rows), np.diff(t.row_ptr)), t.index] = True
    wanted = np.zeros_like(found)
    for r, chosen in enumerate(lists["rows"]):
        wanted[r, sorted(chosen)] = True
    return found, wanted
