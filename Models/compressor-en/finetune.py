"""Fine-tuning of the keep/drop classifier: word-weighted (optionally focal) cross-entropy, averaged weights."""

import math
import os
import random
import time

import torch
import torch.nn.functional as F

import data
import evaluate
import turns
from model import Compressor, adamw, reduced


def loss_of(logit, word, label, gamma):
    """Cross-entropy over tokens, each word weighing 1 whatever its number of pieces; focal when gamma > 0."""
    real = word >= 0
    z, at = logit[real], word[real]
    y = label[at]
    size = torch.zeros(len(label), device=z.device).index_add(0, at, torch.ones_like(z))
    weight = 1 / size[at]
    each = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    if gamma > 0:
        p = torch.sigmoid(z)
        each = each * (y - p).abs() ** gamma
    return (each * weight).sum() / weight.sum()


def softened(rows, probability, share=0.4):
    """Labels moved towards what an earlier model says, by less than half: the compressions are noisy, and two equal words
    with different labels teach less than their odds."""
    return [dict(row, labels=[(1 - share) * y + share * q for y, q in zip(row["labels"], p.tolist())])
            for row, p in zip(rows, probability)]


def run(config, tokenizer, rows, held, start, folder, minutes, rate=6e-4, tokens=3072, dropout=0.2, mask_rate=0.12, decay=0.2,
        gamma=0.0, disturb=0.35, seed=0, device="cpu", say=print, name="finetune"):
    """Trains for `minutes` of wall time from the state `start`. Writes and resumes from folder/NAME.pt. -> averaged
    state (exponential moving average of the weights)"""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = Compressor(config)
    if start is not None:
        model.load_state_dict(start)
    model.to(device).train()
    optimiser = adamw(model, rate, decay)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    path, used, step, epoch = os.path.join(folder, name + ".pt"), 0.0, 0, 0
    if os.path.exists(path):
        saved = torch.load(path, map_location=device)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        average, used, step, epoch = saved["average"], saved["used"], saved["step"], saved["epoch"]
        rng = random.Random(seed + 1000 + step)
    began, total, report = time.time() - used, minutes * 60, Compressor(config).to(device)
    while True:
        running, seen = 0.0, 0
        for batch in data.batches(data.encode(tokenizer, turns.vary(rows, rng, disturb=disturb)), tokens, rng):
            elapsed = time.time() - began
            if elapsed > total or os.path.exists(os.path.join(folder, "stop")):
                torch.save(average, os.path.join(folder, name + ".best.pt"))
                return {k: v.cpu() for k, v in average.items()}
            for g in optimiser.param_groups:
                g["lr"] = rate * min(1.0, (step + 1) / 100) * max(0.01, 0.5 + 0.5 * math.cos(math.pi * elapsed / total))
            ids, mask, at, word, label, _ = (x.to(device) for x in data.collate(batch, rng))
            hide = (torch.rand(ids.shape, device=device) < mask_rate) & (ids > data.MASK)
            with reduced(device):
                logit = model(ids.masked_fill(hide, data.MASK), mask, at, dropout)
            loss = loss_of(logit, word, label, gamma)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step, running, seen = step + 1, running + loss.item(), seen + 1
            blend = 1 - min(0.996, step / (step + 10))
            with torch.no_grad():
                for k, v in model.state_dict().items():
                    average[k].lerp_(v, blend)
        epoch += 1
        torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "average": average,
                    "used": time.time() - began, "step": step, "epoch": epoch}, path)
        report.load_state_dict(average)
        s = evaluate.scores(held, evaluate.probabilities(report, tokenizer, held, device, half=True))
        say(f"{name} epoch {epoch} step {step} loss {running / seen:.4f} held-out f1 {s['f1']:.4f} "
            + " ".join(f"{k} {v:.4f}" for k, v in s["f1_domain"].items())
            + f" log loss {s['log_loss']:.4f} ece {s['ece']:.4f} seconds {time.time() - began:.0f}")
