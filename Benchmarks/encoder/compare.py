"""The encoder's forward against PyTorch (f32, bf16) and ONNX Runtime (f32, dynamically quantised int8): random weights of one
shape, whole chunks, all in turn in one run. For work on the kernels: the device layer by itself, of any shape, by the process
clock too. `make bench` (encoders.py) is what figures are taken from: published shapes, ragged chunks, the head, the public API,
errors against float64.

    swift build -c release --product tamis-bench-encoder
    OMP_WAIT_POLICY=PASSIVE python Benchmarks/encoder/compare.py --layers 2 --chunks 2

Prints the best and the median of the wall clock, and the best of the process clock (all threads together), which a busy machine
disturbs less; ratios are the peer's over ours.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

ROOT = Path(__file__).resolve().parents[2]


class Layer(nn.Module):
    def __init__(self, hidden, heads, wide):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.attention_output = (nn.Linear(hidden, hidden) for _ in range(4))
        self.intermediate, self.output = nn.Linear(hidden, wide), nn.Linear(wide, hidden)
        self.attention_norm, self.output_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        context = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = self.attention_norm(x + self.attention_output(context))
        return self.output_norm(x + self.output(gelu(self.intermediate(x))))


class Encoder(nn.Module):
    def __init__(self, layers, hidden, heads, wide, positions):
        super().__init__()
        self.word, self.position = nn.Embedding(1000, hidden), nn.Embedding(positions, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.layers = nn.ModuleList(Layer(hidden, heads, wide) for _ in range(layers))

    def forward(self, ids, positions):
        x = self.norm(self.word(ids) + self.position(positions))
        for layer in self.layers:
            x = layer(x)
        return x


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def contestants(a, folder):
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    model = Encoder(a.layers, a.hidden, a.heads, a.wide, a.chunk).eval()
    half = Encoder(a.layers, a.hidden, a.heads, a.wide, a.chunk).eval().to(torch.bfloat16)
    ids = torch.randint(0, 1000, (a.chunks, a.chunk))
    positions = torch.arange(a.chunk).repeat(a.chunks, 1)
    with torch.inference_mode():
        torch.onnx.export(model, (ids, positions), f"{folder}/f32.onnx", input_names=["ids", "positions"], dynamo=False)
    quantize_dynamic(f"{folder}/f32.onnx", f"{folder}/i8.onnx", weight_type=QuantType.QInt8)
    feed = {"ids": ids.numpy(), "positions": positions.numpy()}
    sessions = {name: session(f"{folder}/{name}.onnx", a.threads) for name in ("f32", "i8")}
    tool = subprocess.Popen(
        [a.tool, *map(str, (a.layers, a.hidden, a.heads, a.wide, a.chunk, a.chunks, a.threads))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def timed(run):
        def measure():
            wall, cpu = time.perf_counter(), time.process_time()
            with torch.inference_mode():
                run()
            return time.perf_counter() - wall, time.process_time() - cpu
        return measure

    def ours(precision):
        def measure():
            print(precision, file=tool.stdin, flush=True)
            return tuple(map(float, tool.stdout.readline().split()))
        return measure

    return {
        "tamis f32": ours("f32"),
        "torch f32": timed(lambda: model(ids, positions)),
        "onnxruntime f32": timed(lambda: sessions["f32"].run(None, feed)),
        "tamis bf16": ours("bf16"),
        "torch bf16": timed(lambda: half(ids, positions)),
        "tamis i8": ours("i8"),
        "onnxruntime i8": timed(lambda: sessions["i8"].run(None, feed)),
    }


def main():
    parser = argparse.ArgumentParser()
    for name, value in (("layers", 2), ("hidden", 1024), ("heads", 16), ("wide", 4096), ("chunk", 512), ("chunks", 2), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="names that contain one of these, separated by commas")
    parser.add_argument("--tool", default=str(ROOT / ".build/release/tamis-bench-encoder"))
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = {n: r for n, r in contestants(a, folder).items() if any(part in n for part in a.only.split(","))}
        times = {name: [] for name in runs}
        for run in runs.values():
            run()
        for _ in range(a.rounds):
            for name, run in runs.items():
                times[name].append(run())
    tokens = a.chunk * a.chunks
    products = a.layers * tokens * (8 * a.hidden * a.hidden + 4 * a.hidden * a.wide + 4 * a.chunk * a.hidden)
    best = {name: np.min(t, axis=0) for name, t in times.items()}
    print(f"{a.layers} layers, hidden {a.hidden}, {a.heads} heads, {a.wide}; {a.chunks} chunks of {a.chunk}; {a.threads} threads")
    for name, t in times.items():
        wall, cpu = best[name]
        print(f"{name:16} best {1e3 * wall:8.1f} ms  median {1e3 * np.median(t, axis=0)[0]:8.1f} ms  "
              f"process {1e3 * cpu:8.1f} ms  {tokens / wall:8.0f} tokens/s  {products / cpu * 1e-9:6.0f} GOP/s a thread")
    for ours, peer in (("tamis f32", "torch f32"), ("tamis f32", "onnxruntime f32"), ("tamis bf16", "torch bf16"),
                       ("tamis i8", "onnxruntime i8"), ("tamis i8", "torch f32")):
        if ours in best and peer in best:
            median = np.median([p[0] / o[0] for o, p in zip(times[ours], times[peer])])
            wall, cpu = best[peer] / best[ours]
            print(f"{ours} against {peer}: best {wall:.2f}x, median of rounds {median:.2f}x, process {cpu:.2f}x")


if __name__ == "__main__":
    main()
