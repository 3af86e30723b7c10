"""TokenSelect against the paper's algorithm (arXiv 2411.02886, section 4 and Algorithm 1), written out in torch."""

import pytest
import tamis
import torch

BASE = 500000.0


def rotate(x, positions):
    d = x.shape[-1]
    angle = positions.double()[:, None] * BASE ** (-torch.arange(0, d, 2).double() / d)
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class Paper:
    """One layer: state, chunked prefill, decode with the Selection Cache. Double precision."""

    def __init__(self, heads, kv_heads, d, k, n_init, n_local, theta):
        self.k, self.n_init, self.n_local, self.theta = k, n_init, n_local, theta
        self.group = heads // kv_heads
        self.keys = torch.zeros(kv_heads, 0, d, dtype=torch.double)
        self.values = self.keys.clone()
        self.cached_query = self.cached_indices = None
        self.misses = 0

    def select(self, q):
        """q: mean over the chunk of the queries at position n_local + t; per-head soft vote over the middle tokens."""
        middle = self.keys[:, self.n_init : self.keys.shape[1] - self.n_local].repeat_interleave(self.group, 0)
        scores = torch.einsum("hd,hnd->hn", q, middle)
        vote = torch.softmax(scores, -1).sum(0)
        self.misses += 1
        return vote.topk(self.k).indices.sort().values + self.n_init

    def step(self, q, k, v):
        q, k, v = q.double(), k.double(), v.double()
        self.keys, self.values = torch.cat([self.keys, k], 1), torch.cat([self.values, v], 1)
        n, c = self.keys.shape[1], q.shape[1]
        if self.n_init + self.k + self.n_local >= n:
            listed = torch.arange(n)
        else:
            mean = rotate(q, self.n_local + torch.arange(c)).mean(1)
            if c > 1:
                chosen = self.select(mean)
            elif self.cached_query is None or torch.cosine_similarity(
                    mean.flatten(), self.cached_query.flatten(), 0) < self.theta:
                chosen = self.cached_indices = self.select(mean)
                self.cached_query = mean
            else:
                chosen = self.cached_indices
            listed = torch.cat([torch.arange(self.n_init), chosen, torch.arange(n - self.n_local, n)])
        t = len(listed)
        kr = rotate(self.keys[:, listed], torch.arange(t)).repeat_interleave(self.group, 0)
        qr = rotate(q, t - c + torch.arange(c))
        z = qr @ kr.transpose(1, 2) / q.shape[-1] ** 0.5
        z = z.masked_fill(torch.arange(t)[None] > t - c + torch.arange(c)[:, None], float("-inf"))
        return torch.softmax(z, -1) @ self.values[:, listed].repeat_interleave(self.group, 0), listed


@pytest.mark.parametrize("heads, kv_heads, d", [(4, 4, 32), (8, 2, 64), (4, 1, 128)])
@pytest.mark.parametrize("theta", [0.9, 2.0])
def test_prefill_and_decode(heads, kv_heads, d, theta):
    torch.manual_seed(1)
    k, n_init, n_local, chunk = 48, 8, 32, 32
    paper = Paper(heads, kv_heads, d, k, n_init, n_local, theta)
    cache = tamis.KVCache(kv_heads=kv_heads, head_dim=d, max_tokens=2048, rope=tamis.RoPE(base=BASE))
    s = cache.sequence()
    selector = tamis.Selector(
        cache, tamis.TokenSelect(k, n_init, n_local, chunk=chunk, similarity=theta), q_heads=heads)
    drift = torch.randn(heads, 1, d)
    lengths = [chunk] * 12 + [17] + [1] * 40
    for c in lengths:
        kk, vv = torch.randn(kv_heads, c, d), torch.randn(kv_heads, c, d)
        if c == 1:  # a slow walk: hits and misses both happen
            drift = drift + 0.35 * torch.randn(heads, 1, d)
            q = drift
        else:
            q = torch.randn(heads, c, d)
        s.append(kk, vv)
        theirs, listed = paper.step(q, kk, vv)
        assert torch.equal(torch.from_numpy(selector.retrieve(s, q)).long(), listed) or c == 1 and theta < 1
        ours = selector.attend(s, q)
        assert (ours - theirs).abs().max() < 5e-5
    stats = selector.stats
    assert stats.selections == paper.misses
    if theta < 1:
        assert stats.cache_hits > 0 and stats.cache_hits + stats.selections + stats.chunks_dense == len(lengths)


def test_streaming_llm_keeps_positions_within_the_window():
    """StreamingLLM (arXiv 2309.17453): rolling cache positions, sinks first."""
    torch.manual_seed(2)
    cache = tamis.KVCache(kv_heads=2, head_dim=64, rope=tamis.RoPE(base=BASE))
    s = cache.sequence()
    k, v, q = torch.randn(2, 300, 64), torch.randn(2, 300, 64), torch.randn(4, 1, 64)
    s.append(k, v)
    out = tamis.Selector(cache, tamis.StreamingLLM(n_sink=4, n_recent=60, chunk=32), q_heads=4).attend(s, q)
    listed = torch.cat([torch.arange(4), torch.arange(240, 300)])
    kr = rotate(k.double()[:, listed], torch.arange(64)).repeat_interleave(2, 0)
    z = rotate(q.double(), torch.tensor([63])) @ kr.transpose(1, 2) / 8
    theirs = torch.softmax(z, -1) @ v.double()[:, listed].repeat_interleave(2, 0)
    assert (out - theirs).abs().max() < 2e-5
