"""The shipped model Models/haystack: Hugging Face's LlamaForCausalLM on the one hand, a numpy forward pass whose keys, values and
attention are libtamis' on the other. The same logits and answers while attention is dense; right answers from TokenSelect at four
times the trained length."""

import json
import pathlib
import re

import numpy as np
import pytest
import tamis
import torch
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "Models" / "haystack"
NEEDLES = 8


class Served:
    """The forward pass of Llama in float32; a selector stands where attention stands."""

    def __init__(self, method, max_tokens):
        self.c = c = json.loads((FOLDER / "config.json").read_text())
        self.w = {name: t.astype(np.float32) for name, t in load_file(FOLDER / "model.safetensors").items()}
        self.cache = tamis.KVCache(
            layers=c["num_hidden_layers"], kv_heads=c["num_key_value_heads"], head_dim=c["head_dim"], max_tokens=max_tokens,
            rope=tamis.RoPE(base=c["rope_theta"]))
        self.sequence = self.cache.sequence()
        self.selector = tamis.Selector(self.cache, method, q_heads=c["num_attention_heads"])

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w[name + ".weight"]

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T

    def __call__(self, ids):
        n, d = len(ids), self.c["head_dim"]
        h = self.w["model.embed_tokens.weight"][ids]
        for i in range(self.c["num_hidden_layers"]):
            layer = f"model.layers.{i}."
            x = self.norm(h, layer + "input_layernorm")
            q, k, v = (
                self.linear(x, layer + f"self_attn.{name}_proj").reshape(n, -1, d).transpose(1, 0, 2) for name in "qkv")
            self.sequence.append(k, v, layer=i)
            o = self.selector.attend(self.sequence, q, i)
            h = h + self.linear(o.transpose(1, 0, 2).reshape(n, -1), layer + "self_attn.o_proj")
            x = self.norm(h, layer + "post_attention_layernorm")
            gate = self.linear(x, layer + "mlp.gate_proj")
            h = h + self.linear(gate / (1 + np.exp(-gate)) * self.linear(x, layer + "mlp.up_proj"), layer + "mlp.down_proj")
        return self.norm(h, "model.norm") @ self.w["model.embed_tokens.weight"].T


def haystack(length, seed):
    """Token ids with needles ` key W1 W2 V1 V2.` at even depths, and the needles' words; lengths as Models/haystack/README.md
    counts them."""
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    text = tokenizer.encode((FOLDER / "text" / "haystack.txt").read_text(encoding="utf-8")).ids
    (key,), (stop,) = tokenizer.encode(" key").ids, tokenizer.encode(".").ids
    words = [i for i in range(300, tokenizer.get_vocab_size()) if re.fullmatch("Ġ[A-Za-z]{3,}", tokenizer.id_to_token(i)) and i != key]
    random = np.random.default_rng(seed)
    needles = random.choice(words, (NEEDLES, 4), replace=False)
    filler = length - 5 - 6 * NEEDLES
    start = random.integers(0, len(text) - filler)
    ids, at = [], 0
    for i, needle in enumerate(needles):
        cut = int(filler * (i + random.uniform(0.25, 0.75)) / NEEDLES)
        ids += [*text[start + at : start + cut], key, *needle.tolist(), stop]
        at = cut
    return ids + text[start + at : start + filler], key, needles.tolist()


def answers(served, ids, key, needles, chunk):
    """Two greedy tokens for each needle, each question asked of the same prefilled text."""
    for begin in range(0, len(ids), chunk):
        served(ids[begin : begin + chunk])
    found = []
    for w1, w2, *_ in needles:
        served.sequence.truncate(len(ids))
        for token in (key, w1, w2):
            logits = served([token])
        first = int(logits[-1].argmax())
        found.append([first, int(served([first])[-1].argmax())])
    return found


@pytest.fixture(scope="module")
def model():
    return LlamaForCausalLM.from_pretrained(FOLDER, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def test_logits_of_600_tokens(model):
    ids, _, _ = haystack(605, 3)
    assert len(ids) == 600
    theirs = model(torch.tensor([ids])).logits[0].numpy()
    served = Served(tamis.DenseAttention(), 1024)
    # prefill, decode and both again
    cuts = [0, 200, 201, 202, 460, 461, 600]
    ours = np.concatenate([served(ids[a:b]) for a, b in zip(cuts, cuts[1:])])
    assert np.abs(ours - theirs).max() < 1e-3
    assert (ours.argmax(-1) == theirs.argmax(-1)).all()


@torch.no_grad()
def test_greedy_answers(model):
    ids, key, needles = haystack(512, 4)
    theirs = []
    for w1, w2, *_ in needles:
        prompt = torch.tensor([ids + [key, w1, w2]])
        text = model.generate(prompt, max_new_tokens=2, do_sample=False, pad_token_id=0, eos_token_id=None)
        theirs.append(text[0, prompt.shape[1] :].tolist())
    assert theirs == [needle[2:] for needle in needles]
    assert answers(Served(tamis.DenseAttention(), 1024), ids, key, needles, 64) == theirs


def test_tokenselect_beyond_the_trained_length():
    ids, key, needles = haystack(2048, 5)
    served = Served(tamis.TokenSelect(top_k=192, n_sink=8, n_recent=128, chunk=64, similarity=None), 4096)
    assert answers(served, ids, key, needles, 64) == [needle[2:] for needle in needles]
    assert served.selector.stats.selections > 0 and served.selector.stats.cache_hits == 0
    # The same question of dense attention fails: what the selection is for.
    dense = answers(Served(tamis.DenseAttention(), 4096), ids, key, needles, 64)
    assert sum(a == needle[2:] for a, needle in zip(dense, needles)) < NEEDLES
