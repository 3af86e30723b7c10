"""The minimal use of tamis: open a cache, append, retrieve, attend.

    pip install tamis numpy && python minimal.py
"""

import numpy as np

import tamis

rng = np.random.default_rng(0)
q_heads, kv_heads, head_dim, n, needle = 8, 2, 64, 20_000, 12_345

# One layer of a model: keys (un-rotated) and values of 20 000 tokens of text.
k = rng.standard_normal((kv_heads, n, head_dim), dtype=np.float32)
v = rng.standard_normal((kv_heads, n, head_dim), dtype=np.float32)
q = rng.standard_normal((q_heads, 1, head_dim), dtype=np.float32)
# The token that the last query is after.
k[:, needle] = q.reshape(kv_heads, -1, head_dim).mean(axis=1) * 10

cache = tamis.KVCache(kv_heads=kv_heads, head_dim=head_dim, max_tokens=n, scoring_copy="i8")
text = cache.sequence()
text.append(k, v)

selector = tamis.Selector(cache, tamis.TokenSelect(top_k=256, n_sink=16, n_recent=128, chunk=128), q_heads=q_heads)
tokens = selector.retrieve(text, q)
out = selector.attend(text, q)
dense = tamis.Selector(cache, tamis.DenseAttention(), q_heads=q_heads).attend(text, q)

print(f"{len(tokens)} of {n} tokens; needle {needle} {'found' if needle in tokens else 'lost'}")
print(f"largest difference to dense attention: {np.abs(out - dense).max():.3f}")
print(f"{selector.stats.kv_bytes_read / 1e6:.1f} MB of keys and values read, the cache holds {cache.memory().bytes_used / 1e6:.1f} MB")
