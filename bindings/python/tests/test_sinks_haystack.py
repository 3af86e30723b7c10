"""ZeroTuning and ACT on the haystack model: searches over its heads, attention being the library's."""

import numpy as np
import pytest
from test_haystack_scores import KEY, MODEL, haystack, text, vocabulary  # noqa: F401  (fixtures)
from test_haystack_scores import Haystack as Weights

import tamis

pytestmark = pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="the haystack model is not here")


class Model(Weights):
    """The forward pass with the attention of the library; `attend(layer, q, k, v)` on rotated queries and keys."""

    def __call__(self, ids, attend):
        c, n, d = self.c, len(ids), self.c["head_dim"]
        rule = tamis.RoPE(base=c["rope_theta"])
        h = self.w["model.embed_tokens.weight"][ids]
        for i in range(c["num_hidden_layers"]):
            layer = f"model.layers.{i}."
            x = self.norm(h, layer + "input_layernorm")
            q, k, v = ((x @ self.w[f"{layer}self_attn.{p}_proj.weight"].T).reshape(n, -1, d).transpose(1, 0, 2) for p in "qkv")
            q, k = tamis.rope(np.ascontiguousarray(q), rule), tamis.rope(np.ascontiguousarray(k), rule)
            o = attend(i, q, k, v).transpose(1, 0, 2).reshape(n, -1)
            h = h + o @ self.w[layer + "self_attn.o_proj.weight"].T
            x = self.norm(h, layer + "post_attention_layernorm")
            gate = x @ self.w[layer + "mlp.gate_proj.weight"].T
            up = x @ self.w[layer + "mlp.up_proj.weight"].T
            h = h + (gate / (1 + np.exp(-gate)) * up) @ self.w[layer + "mlp.down_proj.weight"].T
        return self.norm(h, "model.norm") @ self.w["model.embed_tokens.weight"].T


@pytest.fixture(scope="module")
def task(text, vocabulary):  # noqa: F811
    """The model and a score: mean log probability of the needles' first answer words."""
    model = Model()
    prompts = []
    for seed in (5, 6):
        ids, needles, _ = haystack(text, vocabulary, 400, seed)
        for needle in needles[:3]:
            prompts.append((ids + [KEY, int(needle[0]), int(needle[1])], int(needle[2])))

    def score(attend):
        total = 0.0
        for ids, answer in prompts:
            z = model(ids, attend)[-1].astype(np.float64)
            total += z[answer] - z.max() - np.log(np.exp(z - z.max()).sum())
        return total / len(prompts)

    return model.c["num_hidden_layers"], model.c["num_attention_heads"], score


def test_zero_tuning(task):
    layers, heads, score = task

    def tuned(gamma):
        bias = tamis.zero_tuning_bias(gamma)
        return score(lambda i, q, k, v: tamis.attention(q, k, v, key0_bias=bias[i]))

    found = tamis.zero_tuning_search(tuned, layers, heads, gamma_step=0.75)
    assert found.baseline == score(lambda i, q, k, v: tamis.attention(q, k, v))
    assert found.best >= found.baseline and tuned(found.gammas) == found.best
    assert found.evaluations == 1 + heads + 5 and found.up + found.down + found.neutral == heads
    assert len(set(found.effects.tolist())) == heads  # every head matters a little to a log probability


def test_act(task):
    layers, heads, score = task

    def calibrated(flags):
        return score(lambda i, q, k, v: tamis.act_attention(q, k, v, heads=flags[i]))

    found = tamis.act_search(calibrated, layers, heads, candidates=[(i, h) for i in (1, 3) for h in range(heads)])
    assert found.baseline == score(lambda i, q, k, v: tamis.attention(q, k, v))
    assert found.best >= found.baseline and calibrated(found.heads) == found.best
