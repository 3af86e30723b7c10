"""SpecPC and Selective Context on the haystack model: its real attention rows and logits, from a forward pass in numpy."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import tamis

MODEL = Path(__file__).resolve().parents[3] / "Models" / "haystack"
pytestmark = pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="the haystack model is not here")

KEY, STOP, NEEDLES = 733, 14, 8


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Haystack:
    """LLaMA forward in float32 that shows its attention: rows [layer][heads, n, n], and rotated queries and keys."""

    def __init__(self):
        self.c = json.loads((MODEL / "config.json").read_text())
        self.w = {name: np.asarray(t).astype(np.float32) for name, t in tamis.open_safetensors(MODEL / "model.safetensors").items()}

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w[name + ".weight"]

    def __call__(self, ids):
        c, n, d = self.c, len(ids), self.c["head_dim"]
        rule = tamis.RoPE(base=c["rope_theta"])
        group = c["num_attention_heads"] // c["num_key_value_heads"]
        h = self.w["model.embed_tokens.weight"][ids]
        self.rows, self.queries, self.keys = [], [], []
        for i in range(c["num_hidden_layers"]):
            layer = f"model.layers.{i}."
            x = self.norm(h, layer + "input_layernorm")
            q, k, v = ((x @ self.w[f"{layer}self_attn.{p}_proj.weight"].T).reshape(n, -1, d).transpose(1, 0, 2) for p in "qkv")
            q, k = tamis.rope(np.ascontiguousarray(q), rule), tamis.rope(np.ascontiguousarray(k), rule)
            z = q @ np.repeat(k, group, 0).transpose(0, 2, 1) / np.sqrt(d)
            a = softmax(np.where(np.tri(n, dtype=bool), z, -np.inf)).astype(np.float32)
            self.rows.append(a)
            self.queries.append(q)
            self.keys.append(k)
            o = (a @ np.repeat(v, group, 0)).transpose(1, 0, 2).reshape(n, -1)
            h = h + o @ self.w[layer + "self_attn.o_proj.weight"].T
            x = self.norm(h, layer + "post_attention_layernorm")
            gate = x @ self.w[layer + "mlp.gate_proj.weight"].T
            up = x @ self.w[layer + "mlp.up_proj.weight"].T
            h = h + (gate / (1 + np.exp(-gate)) * up) @ self.w[layer + "mlp.down_proj.weight"].T
        return self.norm(h, "model.norm") @ self.w["model.embed_tokens.weight"].T


@pytest.fixture(scope="module")
def model():
    return Haystack()


@pytest.fixture(scope="module")
def vocabulary():
    """Pieces by id, spaces as they are; ASCII only."""
    pieces = json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"]
    return {i: piece.replace("Ġ", " ").replace("Ċ", "\n") for piece, i in pieces.items()}


@pytest.fixture(scope="module")
def text(vocabulary):
    """Ids of the haystack's text by longest match: near enough to the tokenizer's own for a filler."""
    ids = {piece: i for i, piece in vocabulary.items()}
    source = (MODEL / "text" / "haystack.txt").read_bytes()[:12000].decode("ascii", "ignore")
    found, at = [], 0
    while at < len(source):
        size = next((s for s in range(16, 0, -1) if source[at : at + s] in ids), 0)
        if size:
            found.append(ids[source[at : at + size]])
        at += max(size, 1)
    return found


def haystack(text, vocabulary, length, seed):
    """Ids with 8 needles ` key W1 W2 V1 V2.` at even depths, their words and places."""
    words = [i for i, piece in vocabulary.items() if i >= 300 and i != KEY and re.fullmatch(" [A-Za-z]{3,}", piece)]
    r = np.random.default_rng(seed)
    needles = r.choice(words, (NEEDLES, 4), replace=False)
    filler = length - 6 * NEEDLES
    start = r.integers(0, len(text) - filler)
    ids, places, at = [], [], 0
    for i, needle in enumerate(needles):
        cut = int(filler * (i + r.uniform(0.25, 0.75)) / NEEDLES)
        ids += text[start + at : start + cut]
        places.append(len(ids))
        ids += [KEY, *needle.tolist(), STOP]
        at = cut
    return ids + text[start + at : start + filler], needles, places


def test_specpc_keeps_the_needle_that_is_asked_for(model, text, vocabulary):
    ids, needles, places = haystack(text, vocabulary, 420, 3)
    whole = kept_others = answered = 0
    for needle, place in zip(needles, places):
        prompt = ids + [KEY, int(needle[0]), int(needle[1])]
        model(prompt)
        n, window = len(prompt), 3
        draft = tamis.SpecPC(n, 40, window=window, starting_layer=1, kernel=6)
        computed = tamis.SpecPC(n, 40, window=window, starting_layer=1, kernel=6)
        for layer, rows in enumerate(model.rows):
            draft.add(np.ascontiguousarray(rows[:, -window:]), layer)
            computed.add_keys(model.queries[layer][:, -window:], model.keys[layer], layer)
        np.testing.assert_allclose(computed.scores(), draft.scores(), atol=1e-4)
        kept = draft.select()
        assert len(kept) == 40 and set(range(n - window, n)) <= set(kept.tolist())
        needle_tokens = set(range(place, place + 5))
        whole += needle_tokens <= set(kept.tolist())
        kept_others += sum(set(range(p, p + 5)) <= set(kept.tolist()) for p in places if p != place) / (NEEDLES - 1)
        # the kept tenth of the prompt is enough to answer from
        first = int(model([prompt[i] for i in kept])[-1].argmax())
        answered += first == needle[2]
    assert whole >= 7
    assert kept_others < 3  # the question decides: other needles mostly go
    assert answered >= 7


def test_needles_are_news(model, text, vocabulary):
    ids, needles, places = haystack(text, vocabulary, 420, 4)
    logits = model(ids)
    information = np.concatenate([[np.nan], tamis.self_information(logits[:-1], ids[1:])]).astype(np.float32)
    expected = -np.log(softmax(logits.astype(np.float64)))[np.arange(len(ids) - 1), ids[1:]]
    np.testing.assert_allclose(information[1:], expected, atol=1e-4)
    inside = np.zeros(len(ids), bool)
    for place in places:
        inside[place + 1 : place + 5] = True
    # words drawn at random cannot be foreseen; prose can
    assert np.nanmean(information[inside]) > np.nanmean(information[~inside]) + 1

    prompt = "".join(vocabulary[i] for i in ids)
    ends = np.cumsum([len(vocabulary[i]) for i in ids])
    spans = tamis.byte_spans(prompt, np.stack([ends - [len(vocabulary[i]) for i in ids], ends], 1))
    found = tamis.selective_context(prompt, spans, information, reduce_ratio=0.5)
    words = [w for needle in needles for w in needle]
    kept = found.text.split()
    surviving = sum(vocabulary[w].strip() in kept for w in words) / len(words)
    share = len(kept) / len(prompt.split())
    assert 0.4 < share < 0.6
    assert surviving > share + 0.15
