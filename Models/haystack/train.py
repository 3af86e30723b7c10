"""Trains the haystack model: a small LLaMA-type causal LM that recalls needles planted in real text.

Needle:   " key W1 W2 V1 V2."   (five tokens and a full stop; W and V are distinct whole-word tokens)
Question: the same line again, later in the sequence; only V1 V2 of a question carry answer loss.

Recalling a needle takes an induction circuit: one layer that writes "the tokens before me" into each position, a later one that
looks for them. What made it form within minutes on two CPU cores:
  - a curriculum of lengths: sequences of 64 tokens that are nearly all needles first, then 128, 256, 512;
  - the words of one needle never repeat in another of the same sequence, so that two words name one answer;
  - text loss weighs a tenth of answer loss: enough to learn what text looks like, not enough to fill so small a model with it.

Everything random comes from --seed and the schedule counts tokens, not seconds: on one machine, with one torch version and one
thread count, a run repeats exactly.

usage: train.py CORPUS.txt OUT_DIR                        from scratch (corpus.py makes CORPUS.txt)
       train.py CORPUS.txt OUT_DIR --resume MODEL_DIR     more training of existing weights at the last length of the curriculum
Needs torch, tokenizers, safetensors and numpy.
"""
import argparse
import json
import math
import os
import re

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD, ROPE_BASE, EPSILON = 1024, 128, 4, 4, 2, 32, 320, 10000.0, 1e-5
CURRICULUM = [(0.18, 64, 5), (0.40, 128, 8), (0.65, 256, 12), (1.00, 512, 16)]  # (until this share of the tokens, length, needles)
TOKENS_PER_STEP = 6144
ANSWER_WEIGHT, TEXT_WEIGHT, STOP_WEIGHT = 1.5, 0.15, 0.1
WARMUP_STEPS, LAST_RATE = 200, 0.05  # the rate ends at this share of its peak


def train_tokenizer(corpus):
    """Byte-level BPE; digits stay single, as in the tokenizers of larger models, so that numbers have no odd pieces."""
    tokenizer = Tokenizer(models.BPE())
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Sequence(split), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train([corpus], trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def rms(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPSILON) * weight


def rotate(x, positions):
    """RoPE, half-split pairs (i, i + HEAD_DIM/2)."""
    half = HEAD_DIM // 2
    angle = positions[:, None].float() * ROPE_BASE ** (-torch.arange(half, dtype=torch.float32) / half)[None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        linear = lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)
        self.attention_norm, self.mlp_norm = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.ones(WIDTH))
        self.q, self.o = linear(WIDTH, HEADS * HEAD_DIM), linear(HEADS * HEAD_DIM, WIDTH)
        self.k, self.v = linear(WIDTH, KV_HEADS * HEAD_DIM), linear(WIDTH, KV_HEADS * HEAD_DIM)
        self.gate, self.up, self.down = linear(WIDTH, FEED_FORWARD), linear(WIDTH, FEED_FORWARD), linear(FEED_FORWARD, WIDTH)

    def forward(self, h, positions):
        count, length, _ = h.shape
        a = rms(h, self.attention_norm)
        heads = lambda x: x.view(count, length, -1, HEAD_DIM).transpose(1, 2)
        q, k, v = rotate(heads(self.q(a)), positions), rotate(heads(self.k(a)), positions), heads(self.v(a))
        k, v = (x.repeat_interleave(HEADS // KV_HEADS, 1) for x in (k, v))
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.o(o.transpose(1, 2).reshape(count, length, -1))
        a = rms(h, self.mlp_norm)
        return h + self.down(F.silu(self.gate(a)) * self.up(a))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Embedding(VOCABULARY, WIDTH), nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.Parameter(torch.ones(WIDTH))
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.04)

    def forward(self, ids):
        h, positions = self.embed(ids), torch.arange(ids.shape[1])
        for block in self.blocks:
            h = block(h, positions)
        return rms(h, self.norm) @ self.embed.weight.T

    def named_tensors(self):
        """The parameters under the names of a LLaMA checkpoint; the output projection is the embedding (tied)."""
        yield "model.embed_tokens.weight", self.embed.weight
        yield "model.norm.weight", self.norm
        for i, block in enumerate(self.blocks):
            yield f"model.layers.{i}.input_layernorm.weight", block.attention_norm
            yield f"model.layers.{i}.post_attention_layernorm.weight", block.mlp_norm
            for name in ("q", "k", "v", "o"):
                yield f"model.layers.{i}.self_attn.{name}_proj.weight", getattr(block, name).weight
            for name in ("gate", "up", "down"):
                yield f"model.layers.{i}.mlp.{name}_proj.weight", getattr(block, name).weight

    def load(self, folder):
        stored = load_file(f"{folder}/model.safetensors")
        with torch.no_grad():
            for name, parameter in self.named_tensors():
                parameter.copy_(stored[name])

    def save(self, folder):
        tensors = {name: t.detach().to(torch.float16).contiguous() for name, t in self.named_tensors()}
        save_file(tensors, f"{folder}/model.safetensors", metadata={"format": "pt"})


class Sequences:
    """Training sequences: needles and their questions at random places of random windows of the corpus."""

    def __init__(self, ids, tokenizer, seed):
        self.ids, self.rng = ids, np.random.default_rng(seed)
        (self.key,), (self.stop,) = tokenizer.encode(" key").ids, tokenizer.encode(".").ids
        pieces = [(i, tokenizer.id_to_token(i)) for i in range(300, VOCABULARY)]  # below 300: bytes and the shortest merges
        self.words = [i for i, piece in pieces if piece and re.fullmatch("Ġ[A-Za-z]{3,}", piece) and i != self.key]

    def sample(self, length, needles):
        """One sequence and the loss weight of each of its tokens."""
        words = self.rng.choice(self.words, (needles, 4), replace=False)
        text_length = length - 2 * needles * 6
        cuts = np.sort(self.rng.integers(0, text_length + 1, 2 * needles))
        start = self.rng.integers(0, len(self.ids) - text_length)
        text = self.ids[start:start + text_length]
        sequence, weights, at, asked = [], [], 0, set()
        for cut, slot in zip(cuts, self.rng.permutation(2 * needles)):
            needle = int(slot) % needles
            answer = ANSWER_WEIGHT if needle in asked else 0.0  # the first time a needle is news, the second a question
            asked.add(needle)
            sequence += [*text[at:cut], self.key, *words[needle], self.stop]
            weights += [TEXT_WEIGHT] * (cut - at + 1) + [0.0, 0.0, answer, answer, STOP_WEIGHT]
            at = cut
        return sequence + list(text[at:]), weights + [TEXT_WEIGHT] * (text_length - at)

    def batch(self, length, needles):
        ids, weights = zip(*(self.sample(length, needles) for _ in range(TOKENS_PER_STEP // length)))
        return torch.tensor(np.array(ids)), torch.tensor(np.array(weights), dtype=torch.float32)


def save(model, tokenizer, folder):
    os.makedirs(folder, exist_ok=True)
    model.save(folder)
    tokenizer.save(f"{folder}/tokenizer.json")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM, "rms_norm_eps": EPSILON, "rope_theta": ROPE_BASE, "max_position_embeddings": CURRICULUM[-1][1],
        "tie_word_embeddings": True, "hidden_act": "silu", "bos_token_id": 0, "eos_token_id": 0, "dtype": "float16",
    }
    with open(f"{folder}/config.json", "w") as file:
        json.dump(config, file, indent=1)


def train(model, sequences, steps, peak_rate, curriculum):
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak_rate, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        done = step / steps
        length, needles = next((length, needles) for until, length, needles in curriculum if done < until)
        cosine = LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = peak_rate * min(1, (step + 1) / WARMUP_STEPS) * cosine
        ids, weights = sequences.batch(length, needles)
        logits, targets, weights = model(ids[:, :-1]), ids[:, 1:], weights[:, 1:]
        loss = F.cross_entropy(logits.reshape(-1, VOCABULARY), targets.reshape(-1), reduction="none").view_as(weights)
        optimiser.zero_grad()
        ((loss * weights).sum() / weights.sum()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % 100 == 0:
            answers = weights == ANSWER_WEIGHT
            right = (logits.argmax(-1)[answers] == targets[answers]).float().mean()
            print(f"step {step + 1}/{steps}  length {length}  answer tokens right {right:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("out")
    parser.add_argument("--resume", help="folder of a trained model: start from its weights and tokenizer, at full length")
    parser.add_argument("--tokens", type=float, default=34e6)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    tokenizer = Tokenizer.from_file(f"{a.resume}/tokenizer.json") if a.resume else train_tokenizer(a.corpus)
    with open(a.corpus, encoding="utf-8") as file:
        text = file.read()
    # in pieces: the tokenizer's memory grows with the length of one call
    ids = np.concatenate([tokenizer.encode(text[i:i + 200000]).ids for i in range(0, len(text), 200000)])
    model = Model()
    if a.resume:
        model.load(a.resume)
    curriculum = CURRICULUM[-1:] if a.resume else CURRICULUM
    train(model, Sequences(ids, tokenizer, a.seed), int(a.tokens) // TOKENS_PER_STEP, a.rate, curriculum)
    save(model, tokenizer, a.out)


if __name__ == "__main__":
    main()
