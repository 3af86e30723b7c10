"""What the library must compute, in float64 and plain loops, written from the papers: FlashAttention's contract
(arXiv 2307.08691), StreamingLLM (arXiv 2309.17453), TokenSelect (arXiv 2411.02886)."""

import numpy as np


def attention(
    q, k, v, *, causal=True, q_offset=None, window=0, scale=None, softcap=0.0, key0_bias=None,
):
    """q [H, Lq, d], k and v [G, Lk, d] -> o [H, Lq, d], lse [H, Lq]."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    heads, lq, d = q.shape
    group = heads // k.shape[0]
    lk = k.shape[1]
    offset = lk - lq if q_offset is None else q_offset
    scale = d**-0.5 if scale is None else scale
    o, lse = np.zeros((heads, lq, d)), np.full((heads, lq), -np.inf)
    j = np.arange(lk)
    for h in range(heads):
        for i in range(lq):
            legal = j <= offset + i if causal else np.ones(lk, bool)
            if window:
                legal = legal & (j > offset + i - window)
            if not legal.any():
                continue
            z = scale * (k[h // group, legal] @ q[h, i])
            if softcap:
                z = softcap * np.tanh(z / softcap)
            if key0_bias is not None and legal[0]:
                z[0] += key0_bias[h]
            top = z.max()
            p = np.exp(z - top)
            o[h, i] = p @ v[h // group, legal] / p.sum()
            lse[h, i] = top + np.log(p.sum())
    return o, lse


def rope(x, positions, rule):
    """x [.., n, d]; `rule` a tamis.RoPE or None. float64 in, float64 out."""
    x = np.array(x, np.float64)
    if rule is None or rule.style == "none":
        return x
    d = rule.rotary_dims or x.shape[-1]
    for i in range(d // 2):
        a, b = (i, i + d // 2) if rule.style == "half" else (2 * i, 2 * i + 1)
        angle = np.asarray(positions, np.float64) * rule.scale * rule.base ** (-2 * i / d)
        xa, xb = x[..., a].copy(), x[..., b].copy()
        x[..., a] = xa * np.cos(angle) - xb * np.sin(angle)
        x[..., b] = xa * np.sin(angle) + xb * np.cos(angle)
    return x


def top_k(scores, k):
    """Indices of the k largest, ascending; ties to the lower index, NaN as -inf."""
    s = np.where(np.isnan(scores), -np.inf, np.asarray(scores, np.float64))
    return np.sort(np.lexsort((np.arange(len(s)), -s))[:k])


def votes(q, k, *, n_recent, rule, vote="soft", head_map="group", top=None, pool=0):
    """Score of every key of k [G, M, d] (the candidates, un-rotated) for a chunk of queries q [H, c, d] (un-rotated)."""
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    heads, c, _ = q.shape
    mean = rope(q, n_recent + np.arange(c), rule).mean(axis=1)
    total = np.zeros(k.shape[1])
    for h in range(heads):
        g = h // (heads // k.shape[0]) if head_map == "group" else h % k.shape[0]
        z = k[g] @ mean[h]
        if vote == "soft":
            p = np.exp(z - z.max())
            total += p / p.sum()
        elif vote == "topk":
            total += z
        else:
            total[top_k(z, top)] += 1
    if pool:
        half = pool // 2
        total = np.array([total[max(0, j - half) : j + half + 1].max() for j in range(len(total))])
    return total


def attend_list(q, k, v, tokens, *, rule, positions="compact", **options):
    """Attention of the queries q [H, c, d] of the last c tokens of k, v [G, N, d] over a list of tokens."""
    c, n, tokens = q.shape[1], k.shape[1], np.asarray(tokens)
    if positions == "compact":
        key_places, query_places = np.arange(len(tokens)), len(tokens) - c + np.arange(c)
    else:
        key_places, query_places = tokens, n - c + np.arange(c)
    kr = rope(k[:, tokens], key_places, rule)
    qr = rope(q, query_places, rule)
    o, lse = np.zeros(q.shape), np.full(q.shape[:2], -np.inf)
    for i in range(c):
        seen = tokens <= n - c + i
        part = attention(qr[:, i : i + 1], kr[:, seen], np.asarray(v)[:, tokens[seen]], causal=False, **options)
        o[:, i], lse[:, i] = part[0][:, 0], part[1][:, 0]
    return o, lse


def bfloat16_bits(x):
    """float32 -> bfloat16 bits, to nearest even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), ((bits >> 16) | 0x40).astype(np.uint16), rounded)


def from_bfloat16(bits):
    return (np.asarray(bits).astype(np.uint32) << 16).view(np.float32)
