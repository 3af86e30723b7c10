"""How often the haystack model recalls a needle: dense attention, StreamingLLM and TokenSelect, by length and depth.

An independent oracle of the C++ host: plain numpy, float32, one sequence, one chunk, one layer at a time.
Depends on numpy, safetensors and tokenizers only, and shares no code with the library.

A trial:    a haystack of real text with needles " key W1 W2 V1 V2." at evenly spaced depths is prefilled in chunks;
            then " key W1 W2" of one needle is fed token by token and two tokens are decoded greedily.
            It is won when both are right. Every question starts again from the prefilled haystack.
Length:     tokens of haystack + question + answer, so that length 512 never leaves the trained positions.

usage: evaluate.py --method tokenselect --lengths 512,4096 --trials 64 --n-init 8 --k 192 --n-local 128 --chunk 64
"""
import argparse
import json
import os
import re

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: the products here are too small to share between threads

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
QUESTION_TOKENS, ANSWER_TOKENS = 3, 2


class Settings:
    """One attention method and its budget. `dense` ignores the budget; `streaming` spends K on a longer window instead."""

    def __init__(self, method="dense", n_init=8, k=192, n_local=128, chunk=64, kernel_size=-1, retrieval_position=None):
        assert chunk <= n_local, "the tokens of a chunk must be the tail of the list"
        self.method, self.n_init, self.k, self.n_local = method, n_init, k, n_local
        self.chunk, self.kernel_size = chunk, kernel_size
        self.retrieval_position = n_local if retrieval_position is None else retrieval_position

    @property
    def budget(self):
        return self.n_init + self.k + self.n_local


class Model:
    """LLaMA forward pass over a KV cache of *un-rotated* keys, because the methods renumber positions."""

    def __init__(self, folder, capacity):
        self.config = config = json.load(open(f"{folder}/config.json"))
        self.tensors = {name: t.astype(np.float32) for name, t in load_file(f"{folder}/model.safetensors").items()}
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.kv_heads, self.head_dim = config["num_key_value_heads"], config["head_dim"]
        half = self.head_dim // 2
        angles = np.arange(capacity + 1)[:, None] * config["rope_theta"] ** (-np.arange(half) / half)
        self.cos, self.sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
        self.keys = np.zeros((self.layers, capacity, self.kv_heads, self.head_dim), np.float32)
        self.values = np.zeros_like(self.keys)
        self.length = 0

    def rotate(self, x, positions):
        """R(x, p) of [tokens, heads, head_dim]: half-split pairs (i, i + head_dim/2)."""
        a, b = np.split(x, 2, axis=-1)
        cos, sin = self.cos[positions], self.sin[positions]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def rms(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"]) * self.tensors[name]

    def forward(self, ids, settings):
        """Appends `ids` to the cache; returns the logits after the last of them."""
        c = len(ids)
        h = self.tensors["model.embed_tokens.weight"][ids]
        begin, self.length = self.length, self.length + c
        for layer in range(self.layers):
            weight = lambda name: self.tensors[f"model.layers.{layer}.{name}.weight"].T
            a = self.rms(h, f"model.layers.{layer}.input_layernorm.weight")
            q, k, v = ((a @ weight(f"self_attn.{n}_proj")).reshape(c, -1, self.head_dim) for n in "qkv")
            self.keys[layer, begin:self.length], self.values[layer, begin:self.length] = k, v
            o = self.attend(layer, q, self.token_list(layer, q, settings))
            h = h + o.reshape(c, -1) @ weight("self_attn.o_proj")
            a = self.rms(h, f"model.layers.{layer}.post_attention_layernorm.weight")
            gate = a @ weight("mlp.gate_proj")
            h = h + (gate / (1 + np.exp(-gate)) * (a @ weight("mlp.up_proj"))) @ weight("mlp.down_proj")
        return self.rms(h[-1], "model.norm.weight") @ self.tensors["model.embed_tokens.weight"].T

    def token_list(self, layer, q, settings):
        """Logical indices, ascending, of the tokens this chunk may attend; they get positions 0, 1, 2, ..."""
        n = self.length
        if settings.method == "dense" or settings.budget >= n:
            return np.arange(n)
        sinks = np.arange(settings.n_init)
        if settings.method == "streaming":
            return np.concatenate([sinks, np.arange(n - settings.k - settings.n_local, n)])
        selected = settings.n_init + self.select(layer, q, settings)
        return np.concatenate([sinks, selected, np.arange(n - settings.n_local, n)])

    def select(self, layer, q, settings):
        """TokenSelect's soft vote of heads: sum over heads of softmax over candidates of <mean rotated query, un-rotated key>."""
        mean_query = self.rotate(q, settings.retrieval_position + np.arange(len(q))).mean(0)
        candidates = self.keys[layer, settings.n_init:self.length - settings.n_local]
        vote = np.zeros(len(candidates), np.float32)
        for head in range(self.heads):
            logits = candidates[:, head * self.kv_heads // self.heads] @ mean_query[head]
            p = np.exp(logits - logits.max())
            vote += p / p.sum()
        if settings.kernel_size > 1:  # a token is worth what its best neighbour is worth
            pad = settings.kernel_size // 2
            padded = np.pad(vote, pad, constant_values=-np.inf)
            vote = np.max([padded[i:i + len(vote)] for i in range(settings.kernel_size)], axis=0)
        return np.sort(np.argsort(-vote, kind="stable")[:settings.k])  # stable: ties go to the lower index

    def attend(self, layer, q, tokens):
        c, t = len(q), len(tokens)
        group = self.heads // self.kv_heads
        own = np.arange(t - c, t)
        q = self.rotate(q, own).reshape(c, self.kv_heads, group, self.head_dim).transpose(1, 2, 0, 3)
        k = self.rotate(self.keys[layer, tokens], np.arange(t)).transpose(1, 2, 0)[:, None]
        v = self.values[layer, tokens].transpose(1, 0, 2)[:, None]
        logits = q @ k / np.sqrt(self.head_dim, dtype=np.float32)
        logits[..., t - c:][..., np.arange(c)[None] > np.arange(c)[:, None]] = -np.inf
        p = np.exp(logits - logits.max(-1, keepdims=True))
        return ((p / p.sum(-1, keepdims=True)) @ v).transpose(2, 0, 1, 3)


class Haystacks:
    """Cuts haystacks out of a text: windows at random places, needles of random whole words at evenly spaced depths."""

    def __init__(self, text, tokenizer, seed):
        self.ids, self.rng = np.array(tokenizer.encode(text).ids), np.random.default_rng(seed)
        (self.key,), (self.stop,) = tokenizer.encode(" key").ids, tokenizer.encode(".").ids
        # one space (Ġ in byte-level spelling), then three or more ASCII letters: a whole word in one token
        pieces = [(i, tokenizer.id_to_token(i)) for i in range(300, tokenizer.get_vocab_size())]
        self.words = [i for i, piece in pieces if re.fullmatch("Ġ[A-Za-z]{3,}", piece) and i != self.key]

    def sample(self, length, needles):
        """Returns the haystack, and of each needle its words [W1, W2, V1, V2] and the place of its " key"."""
        words = self.rng.choice(self.words, (needles, 4), replace=False)
        needle_tokens = 2 + words.shape[1]
        filler = length - QUESTION_TOKENS - ANSWER_TOKENS - needles * needle_tokens
        start = self.rng.integers(0, len(self.ids) - filler)
        text = self.ids[start:start + filler]
        haystack, places, at = [], [], 0
        for i in range(needles):
            # a quarter of a step either way, so that no depth is tied to one place within a prefill chunk
            cut = int(filler * (i + self.rng.uniform(0.25, 0.75)) / needles)
            haystack += list(text[at:cut])
            places.append(len(haystack))
            haystack += [self.key, *words[i], self.stop]
            at = cut
        return np.array(haystack + list(text[at:])), words, places


def recalls(model, haystack, words, key, settings):
    """Which of the needles in this haystack are recalled: a list of bool."""
    model.length = 0
    for begin in range(0, len(haystack), settings.chunk):
        model.forward(haystack[begin:begin + settings.chunk], settings)
    won = []
    for w1, w2, *answer in words:
        model.length = len(haystack)
        for token in (key, w1, w2):
            logits = model.forward([token], settings)
        first = int(logits.argmax())
        second = int(model.forward([first], settings).argmax())
        won.append([first, second] == list(answer))
    return won


def wilson(won, trials, z=1.96):
    """95 % interval of a proportion."""
    p, zz = won / trials, z * z / trials
    middle, half = (p + zz / 2) / (1 + zz), z * np.sqrt(p * (1 - p) / trials + zz / (4 * trials)) / (1 + zz)
    return middle - half, middle + half


def evaluate(folder, text, length, trials, needles, settings, seed=1):
    """Recall by depth: [haystacks, needles] of bool, depth rising along the second axis."""
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    hay, model = Haystacks(text, tokenizer, seed + length), Model(folder, length + ANSWER_TOKENS)
    won = []
    for _ in range(-(-trials // needles)):
        haystack, words, _ = hay.sample(length, needles)
        won.append(recalls(model, haystack, words, hay.key, settings))
    return np.array(won)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=HERE)
    parser.add_argument("--text", default=f"{HERE}/text/haystack.txt")
    parser.add_argument("--method", choices=["dense", "streaming", "tokenselect"], default="tokenselect")
    parser.add_argument("--lengths", default="512,1024,2048,4096,8192,16384")
    parser.add_argument("--trials", type=int, default=64, help="questions per length, rounded up to whole haystacks")
    parser.add_argument("--needles", type=int, default=8, help="needles, and so questions, per haystack")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n-init", type=int, default=8)
    parser.add_argument("--k", type=int, default=192)
    parser.add_argument("--n-local", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=64, help="tokens prefilled together; they share one selection")
    parser.add_argument("--kernel-size", type=int, default=-1, help="odd width of the max-pool over votes; -1: off")
    parser.add_argument("--retrieval-position", type=int, help="rotation of the first retrieval query; default n-local")
    parser.add_argument("--json", help="append one line per length to this file")
    a = parser.parse_args()
    settings = Settings(a.method, a.n_init, a.k, a.n_local, a.chunk, a.kernel_size, a.retrieval_position)
    text = open(a.text, encoding="utf-8").read()
    for length in map(int, a.lengths.split(",")):
        won = evaluate(a.model, text, length, a.trials, a.needles, settings, a.seed)
        low, high = wilson(won.sum(), won.size)
        by_depth = won.mean(0).round(2).tolist()
        print(f"{a.method:12} {length:6} {won.mean():.3f} [{low:.3f}, {high:.3f}] of {won.size}  by depth {by_depth}", flush=True)
        if a.json:
            row = dict(vars(settings), length=length, won=int(won.sum()), trials=won.size, low=float(low), high=float(high), by_depth=by_depth)
            with open(a.json, "a") as out:
                out.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
