"""Word vectors from co-occurrence, then ELECTRA's replaced-token detection on plain text."""

import json
import math
import os
import time

import numpy as np
import torch

import data
import start
from model import Compressor, ReplacedTokens, adamw, reduced


def vectors(stream, vocab_size, width, contexts=2048):
    """Starting values of the word table: positive pointwise mutual information of a token with the `contexts` most
    frequent tokens at each of the distances -2, -1, 1, 2 (so that the vectors know word order), smoothed by power 0.75,
    reduced to `width` by a truncated SVD. `stream` is one long int array of ids. -> float32 [vocab_size, width]"""
    count = np.bincount(stream, minlength=vocab_size)
    frequent = np.argsort(-count, kind="stable")[:contexts]
    column = np.full(vocab_size, -1)
    column[frequent] = np.arange(len(frequent))
    parts = []
    for shift in (-2, -1, 1, 2):
        here, there = (stream[:-shift], stream[shift:]) if shift > 0 else (stream[-shift:], stream[:shift])
        seen = column[there] >= 0
        index = here[seen].astype(np.int64) * len(frequent) + column[there[seen]]
        m = np.bincount(index, minlength=vocab_size * len(frequent)).astype(np.float32).reshape(vocab_size, -1)
        row, smooth = m.sum(1, keepdims=True), m.sum(0, keepdims=True) ** 0.75
        expected = row * (smooth / smooth.sum())
        parts.append(np.log(np.maximum(m, 1e-9) / np.maximum(expected, 1e-9)).clip(0).astype(np.float32))
        parts[-1][m == 0] = 0
    m = torch.from_numpy(np.concatenate(parts, 1))
    torch.manual_seed(0)
    u, s, _ = torch.svd_lowrank(m, q=width + 16, niter=3)
    x = u[:, :width] * s[:width].sqrt()
    norm = x.norm(dim=1, keepdim=True)
    return x / norm.clamp_min(1e-6) * math.sqrt(width) * 0.05 * (norm > 0)


def masked(shape, mask, share, generator):
    """A random `share` of the real positions, [CLS] left out; the same number in every row. -> bool [B, T]"""
    score = torch.rand(shape, generator=generator) * mask
    score[:, 0] = 0
    k = max(1, int(shape[1] * share))
    return torch.zeros(shape, dtype=torch.bool).scatter_(1, score.topk(k, 1).indices, True)


def run(config, rows, init, folder, minutes, tokens=4096, rate=1.5e-3, weight=50.0, device="cpu", begin=None,
        say=print):
    """Pre-trains for `minutes` of wall time over `rows` ([N, T] packed ids) in random order, again and again. Writes and
    resumes from folder/pretrain.pt; the schedule follows the clock, so a resumed run uses what time is left. `begin`: the
    state of an earlier Compressor whose encoder goes on; the generator starts anew on its tables. -> state of the
    discriminator, keys as in Compressor."""
    torch.manual_seed(1)
    net = Compressor(config)
    pair = ReplacedTokens(net.electra, config)
    start.scatter(pair)
    if begin is None:
        start.embed(net.electra.embeddings, config, init)
        start.wire(net.electra, config)
    else:
        net.load_state_dict(begin)
    start.wire(pair.generator, config.generator())
    pair.to(device).train()
    optimiser = adamw(pair, rate, 0.01)
    path, used, step, epoch = os.path.join(folder, "pretrain.pt"), 0.0, 0, 0
    if os.path.exists(path):
        saved = torch.load(path, map_location=device)
        pair.load_state_dict(saved["pair"])
        optimiser.load_state_dict(saved["optimiser"])
        used, step, epoch = saved["used"], saved["step"], saved["epoch"]
    generator = torch.Generator().manual_seed(step + 1)
    batch = tokens // rows.shape[1]
    at = torch.arange(rows.shape[1]).repeat(batch, 1)
    began, total, last = time.time() - used, minutes * 60, time.time()
    log = [0.0, 0.0, 0]

    def save():
        torch.save({"pair": pair.state_dict(), "optimiser": optimiser.state_dict(), "used": time.time() - began, "step": step,
                    "epoch": epoch}, path)

    while True:
        for pick in torch.randperm(len(rows), generator=generator).split(batch):
            elapsed = time.time() - began
            if len(pick) < batch:
                break
            if elapsed > total or os.path.exists(os.path.join(folder, "stop")):
                save()
                return {k: v.cpu() for k, v in net.state_dict().items()}
            for g in optimiser.param_groups:
                g["lr"] = rate * min(1.0, (step + 1) / 300) * max(0.1, 1 - elapsed / total)
            ids = rows[pick].long()
            mask = torch.ones_like(ids)
            offset = int(torch.randint(0, config.positions - ids.shape[1] + 1, (1,), generator=generator)) \
                if torch.rand(1, generator=generator) < 0.5 else 0
            chosen = masked(ids.shape, mask.float(), 0.15, generator)
            ids, mask, where, chosen = (x.to(device) for x in (ids, mask, at + offset, chosen))
            with reduced(device):
                loss, g_loss, d_loss = pair(ids, mask, where, chosen, data.MASK, weight)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
            optimiser.step()
            step += 1
            log = [log[0] + g_loss.item(), log[1] + d_loss.item(), log[2] + 1]
            if step % 100 == 0:
                say(json.dumps({"step": step, "epoch": epoch, "tokens": step * tokens, "generator": round(log[0] / log[2], 4),
                                "discriminator": round(log[1] / log[2], 4), "seconds": round(elapsed)}))
                log = [0.0, 0.0, 0]
            if time.time() - last > 240:
                last = time.time()
                save()
        epoch += 1
