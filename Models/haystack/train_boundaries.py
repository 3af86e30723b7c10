"""Trains DHSA's boundary predictor (arXiv 2510.24606 v1) for the haystack model, and measures what its boundaries are worth.

The network looks at the rotated keys of one layer, KV heads side by side (C = 64), and says after which token a chunk ends:
  - the 2w tokens around each gap, zeros beyond the ends, attend to each other (no positions, no residual), then LayerNorm;
  - the means of the left and the right half, their |difference|, product and cosine go through an MLP to one logit.
One network serves all layers: it is trained on the keys of every layer in turn.

Labels need full attention, so they exist in training only. A is the mean over heads of a layer's attention. After token i a chunk
ends if the w tokens up to i and the w tokens after it get masses from the later queries, rows from i + w on, that differ by a
factor of two or more. Focal loss (gamma 2, positives weigh 1.3) over the positions that have full windows and later queries.

usage: train_boundaries.py CORPUS.txt OUT_DIR              trains, measures, writes OUT_DIR/boundary_predictor.safetensors
       train_boundaries.py CORPUS.txt OUT_DIR --measure    measures the predictor that is there
Needs torch, tokenizers, safetensors and numpy; corpus.py makes CORPUS.txt, whose last twentieth is held out.
"""
import argparse
import json
import math
import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from train import HEAD_DIM, HEADS, KV_HEADS, LAYERS, WIDTH, Model, Sequences, rms, rotate

HERE = os.path.dirname(os.path.abspath(__file__))
LENGTH, NEEDLES = 512, 16
WINDOW, RATIO, GAMMA, POSITIVE_WEIGHT = 4, 2.0, 2.0, 1.3
THRESHOLD, MIN_GAP, MAX_PER_BLOCK = 1.1, 8, 8


# ------------------------------------------------------------------------------------------------- the model's attention


@torch.no_grad()
def attention(model, ids, masks=None):
    """Per layer: rotated queries [b, heads, n, d], keys [b, kv_heads, n, d], and probabilities [b, heads, n, n]; and the logits.

    masks: called with (layer, q, k), gives the keys that may be attended, [b, n, n] of bool.
    """
    count, n = ids.shape
    h, positions, layers = model.embed(ids), torch.arange(n), []
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    for layer, block in enumerate(model.blocks):
        a = rms(h, block.attention_norm)
        heads = lambda x: x.view(count, n, -1, HEAD_DIM).transpose(1, 2)
        q, k, v = rotate(heads(block.q(a)), positions), rotate(heads(block.k(a)), positions), heads(block.v(a))
        logits = q @ k.repeat_interleave(HEADS // KV_HEADS, 1).transpose(2, 3) / math.sqrt(HEAD_DIM)
        legal = causal[None] if masks is None else causal[None] & masks(layer, q, k)
        p = logits.masked_fill(~legal[:, None], -math.inf).softmax(-1)
        layers.append((q, k, p))
        o = p @ v.repeat_interleave(HEADS // KV_HEADS, 1)
        h = h + block.o(o.transpose(1, 2).reshape(count, n, -1))
        a = rms(h, block.mlp_norm)
        h = h + block.down(F.silu(block.gate(a)) * block.up(a))
    return layers, rms(h, model.norm) @ model.embed.weight.T


def features(k):
    """Keys of a layer [b, kv_heads, n, d] as the predictor's input [b, n, C]."""
    return k.transpose(1, 2).flatten(2)


def mass_ratio(probabilities, w=WINDOW):
    """(max + 1e-6) / (min + 1e-6) of the masses of the w tokens up to i and the w after it, from the rows i + w on; 0 where there
    are no such tokens or too few rows. probabilities [b, heads, n, n]; returns f64 [b, n]. By sums over rectangles."""
    a = probabilities.double().mean(1)
    b, n, _ = a.shape
    table = F.pad(a.cumsum(1).cumsum(2), (1, 0, 1, 0))  # table[r, c] = sum of a[:r, :c]
    i = torch.arange(2 * w - 1, n - 2 * w)
    box = lambda low, high: (table[:, n, high] - table[:, i + w, high]) - (table[:, n, low] - table[:, i + w, low])
    before, after = box(i - w + 1, i + 1), box(i + 1, i + w + 1)
    ratio = torch.zeros(b, n, dtype=torch.float64)
    ratio[:, i] = (torch.maximum(before, after) + 1e-6) / (torch.minimum(before, after) + 1e-6)
    return ratio


# --------------------------------------------------------------------------------------------------------- the predictor


class BoundaryPredictor(nn.Module):
    def __init__(self, width=HEAD_DIM * KV_HEADS, heads=4, hidden=32, window=WINDOW):
        super().__init__()
        self.heads, self.window, self.width = heads, window, width
        self.enc = nn.Module()
        self.enc.mha = nn.MultiheadAttention(width, heads, batch_first=True)
        self.enc.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(4 * width + 1, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def windows(self, x):
        """[b, n, C] -> [b, n, 2w, C]: tokens i - w + 1 .. i + w of each i, zeros outside."""
        w = self.window
        return F.pad(x, (0, 0, w - 1, w)).unfold(1, 2 * w, 1).transpose(2, 3)

    def forward(self, x):
        """Logits [b, n]; the projections are computed once a token, which nn.MultiheadAttention over windows would not."""
        mha, w, d = self.enc.mha, self.window, self.width // self.heads
        zero_padded = F.pad(x, (0, 0, w - 1, w))
        projected = F.linear(zero_padded, mha.in_proj_weight, mha.in_proj_bias).unfold(1, 2 * w, 1)  # [b, n, 3C, 2w]
        q, k, v = projected.unflatten(2, (3, self.heads, d)).unbind(2)  # [b, n, heads, d, 2w]
        weights = (q.transpose(-1, -2) @ k / math.sqrt(d)).softmax(-1)  # [b, n, heads, 2w, 2w]
        y = (weights @ v.transpose(-1, -2)).transpose(2, 3).flatten(3)  # [b, n, 2w, C]
        y = self.enc.norm(mha.out_proj(y))
        left, right = y[:, :, :w].mean(2), y[:, :, w:].mean(2)
        cosine = F.cosine_similarity(left, right, dim=-1, eps=1e-6)[..., None]
        return self.mlp(torch.cat([left, right, (left - right).abs(), left * right, cosine], -1))[..., 0]

    def save(self, folder):
        os.makedirs(folder, exist_ok=True)
        facts = {"format": "pt", "heads": self.heads, "window": self.window, "hidden": self.mlp[0].out_features, "width": self.width}
        tensors = {name: t.detach().float().contiguous() for name, t in self.state_dict().items()}
        save_file(tensors, f"{folder}/boundary_predictor.safetensors", metadata={name: str(fact) for name, fact in facts.items()})

    @staticmethod
    def load(path):
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            facts = file.metadata()
        predictor = BoundaryPredictor(int(facts["width"]), int(facts["heads"]), int(facts["hidden"]), int(facts["window"]))
        predictor.load_state_dict(load_file(path))
        return predictor.eval()


def focal_loss(logits, labels, valid):
    cross_entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=torch.tensor(POSITIVE_WEIGHT))
    p = logits.sigmoid()
    wrong = torch.where(labels > 0.5, 1 - p, p)
    return (cross_entropy * wrong**GAMMA)[valid].mean()


def train(predictor, model, sequences, steps, batch, peak_rate):
    optimiser = torch.optim.Adam(predictor.parameters(), lr=peak_rate)
    predictor.train()
    losses = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = peak_rate * min(1, (step + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        ids = torch.tensor(np.array([sequences.sample(LENGTH, NEEDLES)[0] for _ in range(batch)]))
        layers, _ = attention(model, ids)
        optimiser.zero_grad()
        for _, k, p in layers:  # gradients of the layers add up
            ratio = mass_ratio(p)
            loss = focal_loss(predictor(features(k)), (ratio >= RATIO).float(), ratio > 0)
            loss.backward()
            losses.append(loss.item())
        optimiser.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}/{steps}  loss {np.mean(losses[-200:]):.4f}", flush=True)
    predictor.eval()


# ------------------------------------------------------------------------------------------------------ chunks and budgets


def boundaries_from_logits(logits, threshold, query_block, instruction=0, most_per_block=MAX_PER_BLOCK, gap=MIN_GAP, w=WINDOW):
    """Best first, each more than `gap` from those before it; boundaries from 0 to n."""
    n = len(logits)
    end = n - instruction if instruction else None
    accepted = [end] if end is not None else []
    candidates = [i for i in range(w - 1, n - w) if logits[i] > threshold and (end is None or i <= end)]
    for i in sorted(candidates, key=lambda i: (-logits[i], i)):
        if len(accepted) >= n // query_block * most_per_block:
            break
        if all(abs(i - a) > gap for a in accepted):
            accepted.append(i)
    return sorted({0, n, *(i + 1 for i in accepted if i + 1 < n)})


def selected(q, k, boundaries, block, budget, sinks, local, dense_tail=0):
    """DHSA's rule, token by token: which keys each query may attend, [n, n] of bool. q [heads, n, d], k [kv_heads, n, d] numpy."""
    mean_q, mean_k = q.mean(0, dtype=np.float64), k.mean(0, dtype=np.float64)
    n = len(mean_k)
    edges = np.array(boundaries)
    lengths = np.diff(edges)
    chunk = np.add.reduceat(mean_k, edges[:-1]) / np.sqrt(lengths)[:, None]
    mask = np.zeros((n, n), bool)
    for start in range(0, n, block):
        end = min(start + block, n)
        if end > n - dense_tail or end <= budget:
            mask[start:end, :end] = True
            continue
        first = min(sinks, budget // 4)
        last = max(end - start, min(local, budget - first))
        taken = np.zeros(end, bool)
        taken[:first] = taken[end - last:] = True
        score = chunk @ mean_q[start:end].mean(0)
        order = sorted(range(len(chunk)), key=lambda c: (-score[c], -c))
        for c in order:
            for t in range(min(edges[c + 1], end) - 1, edges[c] - 1, -1):
                if taken.sum() >= budget:
                    break
                taken[t] = True
        mask[start:end, :end] = taken
    return mask


def block_baseline(q, k, block, budget, tile=8):
    """The block-sparse baseline that DHSA compares itself with: the block's own keys and the best tiles before, by the product of
    means over block, tile and heads; no sinks, no band. Ties go to the earlier tile."""
    mean_q, mean_k = q.mean(0, dtype=np.float64), k.mean(0, dtype=np.float64)
    n = len(mean_k)
    tiles = mean_k.reshape(n // tile, tile, -1).mean(1)
    mask = np.zeros((n, n), bool)
    for start in range(0, n, block):
        own = start // tile
        best = np.argsort(-(tiles[:own] @ mean_q[start:start + block].mean(0)), kind="stable")[:(budget - block) // tile]
        mask[start:start + block, start:start + block] = True
        for t in best:
            mask[start:start + block, t * tile:(t + 1) * tile] = True
    return mask


def retained(p, mask):
    """Attention mass inside the mask: mean over heads and queries. p [heads, n, n]."""
    return float((p * mask).sum(-1).mean())


# ------------------------------------------------------------------------------------------------------------ measurements


def measure_labels(predictor, model, sequences, count, threshold):
    """Precision and recall of the raw logits against the labels at zero (the decision of the loss) and at the threshold."""
    print("| layer | positives | precision, recall at 0 | at the threshold |\n|---|---|---|---|")
    sums = np.zeros((LAYERS, 6))
    for _ in range(count):
        ids = torch.tensor([sequences.sample(LENGTH, NEEDLES)[0]])
        layers, _ = attention(model, ids)
        for layer, (_, k, p) in enumerate(layers):
            ratio = mass_ratio(p)[0]
            with torch.no_grad():
                logits = predictor(features(k))[0]
            valid, label = ratio > 0, ratio >= RATIO
            row = [int(valid.sum()), int(label[valid].sum())]
            for t in (0.0, threshold):
                said = (logits > t) & valid
                row += [int(said.sum()), int((said & label).sum())]
            sums[layer] += row
    for layer, (n, positive, said, hit, said2, hit2) in [*enumerate(sums), ("all", sums.sum(0))]:
        show = lambda said, hit: f"{hit / max(said, 1):.3f}, {hit / max(positive, 1):.3f}"
        print(f"| {layer} | {positive / n:.3f} | {show(said, hit)} | {show(said2, hit2)} |")


def chunkings(predictor, layers, layer, threshold, block):
    """Boundaries of one sequence by name, for one layer."""
    n = layers[0][0].shape[2]
    with torch.no_grad():
        own = predictor(features(layers[layer][1]))[0].numpy()
        shared = predictor(features(layers[0][1]))[0].numpy()
    ratio = mass_ratio(layers[layer][2])[0].numpy()
    yield "predicted, own layer", boundaries_from_logits(own, threshold, block)
    yield "predicted, layer 0", boundaries_from_logits(shared, threshold, block)
    yield "labels (oracle)", boundaries_from_logits(ratio, RATIO, block)
    for size in (8, 16, 24, 32):
        yield f"uniform {size}", [*range(0, n, size), n]
    yield "block-sparse baseline", None


def measure_mass(predictor, model, sequences, count, settings, threshold):
    """Retained attention mass of queries that have more keys than the budget, by chunking and layer."""
    sums, lengths = {}, {}
    budget = settings["budget"]
    for _ in range(count):
        ids = torch.tensor([sequences.sample(LENGTH, NEEDLES)[0]])
        layers, _ = attention(model, ids)
        for layer, (q, k, p) in enumerate(layers):
            for name, boundaries in chunkings(predictor, layers, layer, threshold, settings["block"]):
                if boundaries is None:
                    mask = block_baseline(q[0].numpy(), k[0].numpy(), settings["block"], budget)
                else:
                    mask = selected(q[0].numpy(), k[0].numpy(), boundaries, **settings)
                    lengths.setdefault(name, []).append(LENGTH / (len(boundaries) - 1))
                rows = slice(2 * budget, None)
                sums.setdefault(name, np.zeros(LAYERS))[layer] += retained(p[0].numpy()[:, rows], mask[rows]) / count
    print(f"| chunks, {settings} | mean length | " + " | ".join(f"layer {i}" for i in range(LAYERS)) + " | mean |")
    print("|---" * (LAYERS + 3) + "|")
    for name, row in sums.items():
        mean_length = f"{np.mean(lengths[name]):.1f}" if name in lengths else "8"
        print(f"| {name} | {mean_length} | " + " | ".join(f"{x:.3f}" for x in row) + f" | {row.mean():.3f} |")


def measure_needles(predictor, model, text, tokenizer, haystacks, settings, threshold, tail, seed):
    """Share of needles recalled by depth, at the trained length: evaluate.py's haystacks, prompt and question in one pass whose
    last `tail` queries are dense."""
    from evaluate import ANSWER_TOKENS, QUESTION_TOKENS, Haystacks

    hay = Haystacks(text, tokenizer, seed)
    won = {}
    for _ in range(haystacks):
        haystack, words, _ = hay.sample(LENGTH, 8)
        prompts = np.array([[*haystack, hay.key, *w[:3]] for w in words])
        assert prompts.shape[1] + ANSWER_TOKENS - 1 == LENGTH and QUESTION_TOKENS == 3
        for name in ("dense", "predicted, own layer", "predicted, layer 0", "uniform 8", "uniform 32"):
            kept = {}

            def masks(layer, q, k, name=name, kept=kept):
                if name == "predicted, own layer" or (name == "predicted, layer 0" and layer == 0):
                    with torch.no_grad():
                        kept["logits"] = predictor(features(k)).numpy()
                found = []
                for i in range(len(q)):
                    n = q.shape[2]
                    if name.startswith("predicted"):
                        boundaries = boundaries_from_logits(kept["logits"][i], threshold, settings["block"])
                    else:
                        size = int(name.split()[1])
                        boundaries = [*range(0, n, size), n]
                    found.append(selected(q[i].numpy(), k[i].numpy(), boundaries, dense_tail=tail, **settings))
                return torch.tensor(np.array(found))

            _, logits = attention(model, torch.tensor(prompts), None if name == "dense" else masks)
            said = logits[:, -2:].argmax(-1).numpy()
            won.setdefault(name, []).append((said == np.array(words)[:, 2:]).all(1))
    for name, rows in won.items():
        rows = np.array(rows)
        print(f"{name:20} {rows.mean():.3f}  by depth {rows.mean(0).round(2).tolist()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("out")
    parser.add_argument("--model", default=HERE)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=4, help="sequences a step; each gives one sample a layer")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--count", type=int, default=24, help="held-out sequences of the measurements")
    parser.add_argument("--haystacks", type=int, default=12)
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
    parser.add_argument("--block", type=int, default=16)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--sinks", type=int, default=8)
    parser.add_argument("--local", type=int, default=32)
    parser.add_argument("--tail", type=int, default=4, help="needles: the last queries that are dense; 0: none")
    a = parser.parse_args()
    torch.manual_seed(a.seed)
    torch.set_num_threads(a.threads)
    tokenizer = Tokenizer.from_file(f"{a.model}/tokenizer.json")
    with open(a.corpus, encoding="utf-8") as file:
        text = file.read()
    cut = len(text) * 19 // 20
    encode = lambda text: np.concatenate([tokenizer.encode(text[i:i + 200000]).ids for i in range(0, len(text), 200000)])
    model = Model()
    model.load(a.model)
    model.eval()
    path = f"{a.out}/boundary_predictor.safetensors"
    if a.measure:
        predictor = BoundaryPredictor.load(path)
    else:
        predictor = BoundaryPredictor(heads=a.heads, hidden=a.hidden)
        train(predictor, model, Sequences(encode(text[:cut]), tokenizer, a.seed), a.steps, a.batch, a.rate)
        predictor.save(a.out)
        print(f"{sum(p.numel() for p in predictor.parameters())} parameters in {path}")
    held_out = encode(text[cut:])
    settings = {"block": a.block, "budget": a.budget, "sinks": a.sinks, "local": a.local}
    measure_labels(predictor, model, Sequences(held_out, tokenizer, a.seed + 1), a.count, a.threshold)
    measure_mass(predictor, model, Sequences(held_out, tokenizer, a.seed + 2), a.count, settings, a.threshold)
    measure_needles(predictor, model, text[cut:], tokenizer, a.haystacks, settings, a.threshold, a.tail, a.seed)


if __name__ == "__main__":
    main()
