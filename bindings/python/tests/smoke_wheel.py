"""Run by make_wheel.sh in an environment that holds the wheel and numpy: is it self-contained, and does each part work?"""

import importlib.metadata
import sys
import tempfile
from pathlib import Path

import numpy as np

import tamis
from tamis import _lib

site = Path(sys.prefix).resolve()
library = Path(_lib.library()._name).resolve()
assert site in library.parents, f"{library} is outside {site}"
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
zstd = [m for m in mapped if "libzstd" in m]
assert all(str(site) in m for m in zstd), f"{zstd} is outside {site}"
assert not [m for m in mapped if "libswift" in m or "Foundation" in m], "a Swift library is loaded"
others = {d.metadata["Name"] for d in importlib.metadata.distributions()} - {"tamis", "numpy", "pip", "setuptools"}
assert not others, others

rng = np.random.default_rng(0)
q, k, v = (rng.standard_normal((2, n, 32), dtype=np.float32) for n in (1, 300, 300))
z = np.einsum("hqd,hkd->hqk", q, k).astype(np.float64) / np.sqrt(32)
p = np.exp(z - z.max(-1, keepdims=True))
expected = np.einsum("hqk,hkd->hqd", p / p.sum(-1, keepdims=True), v)
np.testing.assert_allclose(tamis.attention(q, k, v), expected, atol=1e-5)

cache = tamis.KVCache(kv_heads=2, head_dim=32)
text = cache.sequence()
text.append(k, v)
selector = tamis.Selector(cache, tamis.TokenSelect(top_k=284, n_sink=0, n_recent=16, chunk=16))
np.testing.assert_allclose(selector.attend(text, q), expected, atol=1e-5)
assert len(tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16)).retrieve(text, q)) == 40
with tempfile.TemporaryDirectory() as folder:
    cache.save(Path(folder) / "x")
    np.testing.assert_array_equal(cache.restore(Path(folder) / "x")[0].read()[0], k)

model = Path(tamis.default_model_path()).resolve()
assert site in model.parents, f"{model} is outside {site}"
sentence = "So, um, I think that the council will, you know, approve the budget of 5.2 million dollars on Monday."
compressor = tamis.PromptCompressor()
assert compressor.compress(sentence, rate=1).text == sentence
short = compressor.compress_prompt(sentence, rate=0.5, force_reserve_digit=True)
assert "5.2" in short["compressed_prompt"] and len(short["compressed_prompt"]) < 0.75 * len(sentence), short
kept = compressor.compress(sentence, rate=0.5)
assert "".join(sentence[a:b] for a, b in kept.contexts[0].spans).split() == kept.text.split()
assert kept.compressed_tokens <= kept.origin_tokens / 2 + 1 and "um" not in kept.text.replace(",", "").split(), kept.text
print(f"tamis {tamis.__version__}, {tamis.build_info()['isa']['active']}, {library.stat().st_size / 1e6:.1f} MB: the wheel works")
