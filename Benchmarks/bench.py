"""Benchmarks of libtamis against torch and against what the machine can do: one table per area. See README.md.

    make bench                                    all areas, in .venv-parity
    python Benchmarks/bench.py --areas decode     one area
    python Benchmarks/bench.py --quick            small shapes, a check that everything runs

Writes bench.jsonl, bench.md and bench.svg to --out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import compression
import encoders
import logits
import numpy as np
import sparse
import token_metrics
import tokenizing
import torch
from ceilings import Ceilings, measure_ceilings
from report import machine, markdown, plot
from torch.nn.functional import scaled_dot_product_attention as sdpa

import tamis

SEED = 20240601


@dataclass
class Row:
    """One line of a table. Times are ms; `ratios` is peer's median over ours; `share` is of the measured ceiling."""

    area: str
    case: str
    ours_min: float
    ours_median: float
    peer: str = ""
    peer_min: float | None = None
    peer_median: float | None = None
    ratios: dict[str, float] = field(default_factory=dict)
    goal: str = ""
    rate: float | None = None
    unit: str = ""
    share: float | None = None
    error: float | None = None
    note: str = ""


@dataclass
class Times:
    """Milliseconds of one contestant."""

    all: list[float]

    @property
    def min(self) -> float:
        return min(self.all)

    @property
    def median(self) -> float:
        return float(np.median(self.all))


def interleave(contestants, *, seconds, least=5, most=200, warm=2) -> dict[str, Times]:
    """Runs the contestants in turn, so that a slow moment of the machine hits all of them, after `warm` rounds that do not count."""
    for _ in range(warm):
        for run in contestants.values():
            run()
    times = {name: [] for name in contestants}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least or (time.perf_counter() < end and rounds < most):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
        rounds += 1
    return {name: Times(t) for name, t in times.items()}


class Bench:
    def __init__(self, options, ceilings: Ceilings):
        self.options = options
        self.ceilings = ceilings
        self.ctx = tamis.Context(threads=options.threads)
        self.rng = np.random.default_rng(SEED)
        self.rows: list[Row] = []
        # Random, not zeros: a page of zeros may be one physical page.
        self.buffer = self.rng.standard_normal(1 << (22 if options.quick else 27), dtype=np.float32)
        self.slices = np.array_split(self.buffer, options.threads)
        self.readers = ThreadPoolExecutor(options.threads)

    def read(self) -> None:
        """Reads a large buffer with all threads: a contestant of every memory-bound case, since a shared machine's bandwidth
        moves within minutes and a share of it means something only within one loop."""
        list(self.readers.map(np.max, self.slices))

    def bandwidth(self, times: dict[str, Times]) -> float:
        """GB/s of `read` in the loop that gave `times`."""
        return self.buffer.nbytes / times["read"].median / 1e6

    def normal(self, *shape) -> np.ndarray:
        return self.rng.standard_normal(shape, dtype=np.float32)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        shares = "" if row.share is None else f", {100 * row.share:.0f} % of the ceiling"
        ratios = "".join(f", {x:.2f} x {name}" for name, x in row.ratios.items())
        print(f"  {row.case}: {row.ours_median:.3f} ms{ratios}{shares}", file=sys.stderr, flush=True)

    # ----------------------------------------------------------------------------------------------- (b) prefill

    def prefill(self) -> None:
        """Dense causal prefill."""
        heads, d, length = 8, 128, 1024 if self.options.quick else 8192
        q, k, v = (self.normal(heads, length, d) for _ in range(3))
        flop = 4 * heads * d * length * (length + 1) / 2
        for dtype, ceiling, goal in [
            (torch.float32, self.ceilings.sgemm, "1.25 x torch"), (torch.bfloat16, self.ceilings.bf16gemm, "1.7 x torch"),
        ]:
            tq, tk, tv = (torch.from_numpy(x).to(dtype) for x in (q, k, v))
            out = torch.empty_like(tq)
            t = interleave({
                "ours": lambda: tamis.attention(tq, tk, tv, out=out, ctx=self.ctx),
                "torch": lambda: sdpa(tq[None], tk[None], tv[None], is_causal=True),
            }, seconds=self.options.seconds)
            name = str(dtype).split(".")[-1]
            rate = flop / t["ours"].median / 1e6
            self.add(Row(
                "Dense causal prefill", f"{heads} heads, d {d}, L {length}, {name}", t["ours"].min, t["ours"].median,
                f"torch SDPA {name}", t["torch"].min, t["torch"].median,
                {"torch": t["torch"].median / t["ours"].median}, goal, rate, "GFLOP/s", rate / ceiling if ceiling else None,
                self.prefill_error(tq, tk, tv, out)))

    def prefill_error(self, q, k, v, out) -> float:
        """Largest error of 24 rows against float64."""
        worst = 0.0
        heads, length, d = q.shape
        for h, i in zip(self.rng.integers(0, heads, 24), self.rng.integers(0, length, 24)):
            z = k[h, : i + 1].double() @ q[h, i].double() / d**0.5
            exact = torch.softmax(z, -1) @ v[h, : i + 1].double()
            worst = max(worst, (exact - out[h, i].double()).abs().max().item())
        return worst

    # ------------------------------------------------------------------------------------------------ (c) decode

    SHAPE = (32, 8, 128)  # query heads, KV heads, head dim

    def cache(self, k, v, dtype="f32", copy=None):
        cache = tamis.KVCache(
            kv_heads=k.shape[0], head_dim=k.shape[2], dtype=dtype, max_tokens=k.shape[1], scoring_copy=copy, ctx=self.ctx)
        sequence = cache.sequence()
        for a in range(0, k.shape[1], 8192):
            sequence.append(k[:, a : a + 8192], v[:, a : a + 8192])
        return cache, sequence

    def decoder(self, cache, sequence, method, queries):
        """A function that makes one decode step, with another query each time."""
        selector = tamis.Selector(cache, method, q_heads=queries[0].shape[0])
        out = np.empty_like(queries[0])
        state = {"i": 0}

        def step():
            state["i"] = (state["i"] + 1) % len(queries)
            selector.attend(sequence, queries[state["i"]], out=out)
            return out

        step.selector = selector
        return step

    def decode(self) -> None:
        """Dense decode over a cache, f32, bf16 and i8."""
        heads, kv_heads, d = self.SHAPE
        n = 8192 if self.options.quick else 65536
        k, v = self.normal(kv_heads, n, d), self.normal(kv_heads, n, d)
        queries = [self.normal(heads, 1, d) for _ in range(8)]
        tk, tv, tq = torch.from_numpy(k), torch.from_numpy(v), torch.from_numpy(queries[0])
        peers = {
            "f32": ("torch SDPA enable_gqa f32", lambda: sdpa(tq[None], tk[None], tv[None], enable_gqa=True)),
        }
        bk, bv, bq = tk.bfloat16(), tv.bfloat16(), tq.bfloat16()
        peers["bf16"] = ("torch SDPA enable_gqa bf16", lambda: sdpa(bq[None], bk[None], bv[None], enable_gqa=True))
        peers["i8"] = peers["f32"]
        for dtype, item in [("f32", 4), ("bf16", 2), ("i8", 1 + 4 / d)]:
            cache, sequence = self.cache(k, v, dtype)
            step = self.decoder(cache, sequence, tamis.DenseAttention(), queries)
            t = interleave({"ours": step, "read": self.read, "torch": peers[dtype][1]}, seconds=self.options.seconds)
            rate = 2 * kv_heads * n * d * item / t["ours"].median / 1e6
            self.add(Row(
                "Dense decode", f"{heads}/{kv_heads} heads, d {d}, {n} tokens, {dtype} cache", t["ours"].min, t["ours"].median,
                peers[dtype][0], t["torch"].min, t["torch"].median, {"torch": t["torch"].median / t["ours"].median},
                "10 x torch, 80 % of bandwidth" if dtype == "f32" else "80 % of bandwidth", rate, "GB/s",
                rate / self.bandwidth(t), self.decode_error(sequence, step, queries[0], np.arange(n)),
                f"read {self.bandwidth(t):.1f} GB/s"))

    def decode_error(self, sequence, step, q, tokens) -> float:
        """Largest error of 4 heads against float64 over what the cache holds of `tokens`."""
        out = step.selector.attend(sequence, q)
        k, v = sequence.read()
        group = q.shape[0] // k.shape[0]
        worst = 0.0
        for h in self.rng.choice(q.shape[0], 4, replace=False):
            z = k[h // group, tokens].astype(np.float64) @ q[h, 0].astype(np.float64) / q.shape[2] ** 0.5
            p = np.exp(z - z.max())
            exact = (p / p.sum()) @ v[h // group, tokens].astype(np.float64)
            worst = max(worst, float(np.abs(exact - out[h, 0]).max()))
        return worst

    # ------------------------------------------------------------------------------------------- (d) TokenSelect

    def budget(self):
        return (256, 16, 64) if self.options.quick else (2048, 128, 512)

    def method(self, similarity=None):
        k, sink, recent = self.budget()
        return tamis.TokenSelect(k, sink, recent, chunk=recent, similarity=similarity)

    def tokenselect(self) -> None:
        """TokenSelect decode: score every token, vote, select, attend."""
        heads, kv_heads, d = self.SHAPE
        n = 8192 if self.options.quick else 65536
        top, sink, recent = self.budget()
        k, v = self.normal(kv_heads, n, d), self.normal(kv_heads, n, d)
        queries = [self.normal(heads, 1, d) for _ in range(8)]
        tk, tv, tq = torch.from_numpy(k), torch.from_numpy(v), torch.from_numpy(queries[0])
        caches = {copy: self.cache(k, v, copy=copy) for copy in (None, "bf16", "i8")}
        dense = self.decoder(*caches[None], tamis.DenseAttention(), queries)
        for case, copy, similarity, goal in [
            ("no scoring copy", None, None, "1.6 x own dense"),
            ("bf16 scoring copy", "bf16", None, ""),
            ("i8 scoring copy", "i8", None, "4 x own dense, 24 x torch"),
            ("selection cache hit", "i8", -1.0, "15 x own dense"),
        ]:
            step = self.decoder(*caches[copy], self.method(similarity), queries)
            t = interleave({
                "ours": step, "own dense": dense, "read": self.read,
                "torch": lambda: sdpa(tq[None], tk[None], tv[None], enable_gqa=True),
            }, seconds=self.options.seconds)
            step.selector.reset_stats()
            step()
            stats = step.selector.stats
            rate = stats.kv_bytes_read / t["ours"].median / 1e6
            sequence = caches[copy][1]
            # The cached selection is then the one that retrieve computes afresh.
            step.selector.reset()
            step.selector.attend(sequence, queries[0])
            tokens = step.selector.retrieve(sequence, queries[0])
            error = self.decode_error(sequence, step, queries[0], tokens)
            self.add(Row(
                "TokenSelect decode", f"{heads}/{kv_heads} heads, d {d}, {n} tokens, k {top} + {sink} + {recent}, {case}",
                t["ours"].min, t["ours"].median, "torch dense f32", t["torch"].min, t["torch"].median,
                {"own dense": t["own dense"].median / t["ours"].median, "torch": t["torch"].median / t["ours"].median},
                goal, rate, "GB/s", rate / self.bandwidth(t), error, f"read {self.bandwidth(t):.1f} GB/s"))

    # ------------------------------------------------------------------------------------------------ (e) growth

    def growth(self) -> None:
        """Decode step at growing lengths, per method."""
        heads, kv_heads, d = self.SHAPE
        lengths = [2048, 8192] if self.options.quick else [4096, 65536, 262144]
        _, sink, recent = self.budget()
        queries = [self.normal(heads, 1, d) for _ in range(8)]
        tq = torch.from_numpy(queries[0])
        for n in lengths:
            k, v = self.normal(kv_heads, n, d), self.normal(kv_heads, n, d)
            tk, tv = torch.from_numpy(k), torch.from_numpy(v)
            plain = self.cache(k, v, copy="i8")
            contestants = {
                "dense": self.decoder(*plain, tamis.DenseAttention(), queries),
                "StreamingLLM": self.decoder(
                    *plain, tamis.StreamingLLM(n_sink=sink, n_recent=recent, chunk=recent), queries),
                "TokenSelect, i8 scoring copy": self.decoder(*plain, self.method(), queries),
                "TokenSelect, selection cache hit": self.decoder(*plain, self.method(-1.0), queries),
            }
            # torch repeats K and V for each query head: 4 times the cache, out of proportion beyond 64K.
            if n <= 65536:
                contestants["torch dense"] = lambda: sdpa(tq[None], tk[None], tv[None], enable_gqa=True)
            t = interleave({**contestants, "read": self.read}, seconds=self.options.seconds)
            for name, times in t.items():
                if name == "read":
                    continue
                bytes_read = None
                if hasattr(contestants[name], "selector"):
                    contestants[name].selector.reset_stats()
                    contestants[name]()
                    bytes_read = contestants[name].selector.stats.kv_bytes_read
                rate = bytes_read / times.median / 1e6 if bytes_read else None
                self.add(Row(
                    "Growth of a decode step", f"{n} tokens, {name}", times.min, times.median,
                    ratios={"own dense": t["dense"].median / times.median}, rate=rate, unit="GB/s" if rate else "",
                    share=rate / self.bandwidth(t) if rate else None,
                    note=f"{bytes_read / 1e6:.1f} MB read" if bytes_read else ""))
            del plain, contestants

    # --------------------------------------------------------------------------------- effect of the scoring copy

    def scoring(self) -> None:
        """Which part of the exact selection (float64 votes) a scoring copy finds."""
        heads, kv_heads, d = self.SHAPE
        n = 8192 if self.options.quick else 65536
        top, sink, recent = self.budget()
        for kind in ("random", "clustered"):
            k, v = self.normal(kv_heads, n, d), self.normal(kv_heads, n, d)
            if kind == "clustered":
                centres = self.normal(kv_heads, 64, d)
                k = centres[:, self.rng.integers(0, 64, n)] + 0.3 * k
            # A query at the scale of a trained model's: logits of a few units.
            q = self.normal(heads, 1, d) * np.float32(2 / d**0.5)
            exact = exact_votes(q, k[:, sink : n - recent])
            best = set((np.argsort(-exact, kind="stable")[:top] + sink).tolist())
            for copy in (None, "bf16", "i8"):
                cache, sequence = self.cache(k, v, copy=copy)
                step = self.decoder(cache, sequence, self.method(), [q])
                times = interleave({"ours": step}, seconds=0.2)["ours"]
                chosen = step.selector.retrieve(sequence, q)[sink : sink + top]
                overlap = len(best & set(chosen.tolist())) / top
                mass = exact[chosen - sink].sum() / exact[np.array(sorted(best)) - sink].sum()
                self.add(Row(
                    "Effect of the scoring copy", f"{kind} keys, {copy or 'no'} copy", times.min, times.median,
                    error=self.decode_error(sequence, step, q, np.sort(step.selector.retrieve(sequence, q))),
                    note=f"{100 * overlap:.2f} % of the exact selection, {100 * mass:.3f} % of its vote"))


def exact_votes(q, k) -> np.ndarray:
    """Soft vote in float64 (arXiv 2411.02886, eq. 7 and 8) of one query per head; without RoPE."""
    group = q.shape[0] // k.shape[0]
    total = np.zeros(k.shape[1])
    for g in range(k.shape[0]):
        keys = k[g].astype(np.float64)
        for h in range(g * group, (g + 1) * group):
            z = keys @ q[h, 0].astype(np.float64)
            p = np.exp(z - z.max())
            total += p / p.sum()
    return total


AREAS = {"prefill": Bench.prefill, "decode": Bench.decode, "tokenselect": Bench.tokenselect, "growth": Bench.growth,
         "scoring": Bench.scoring, "sparse": lambda bench: sparse.mixture(bench, Row, interleave),
         "sparse-rivals": lambda bench: sparse.others(bench, Row, interleave),
         "sinks": lambda bench: sparse.sinks(bench, Row, interleave),
         "sparse-recorded": lambda bench: sparse.haystack(bench, Row, interleave),
         "boundaries": lambda bench: sparse.boundaries(bench, Row, interleave),
         "encoder": lambda bench: encoders.run(bench, Row, interleave),
         "compress": lambda bench: compression.run(bench, Row, interleave),
         "tokenizers": lambda bench: tokenizing.run(bench, Row, interleave),
         "metrics": lambda bench: token_metrics.run(bench, Row, interleave),
         "logits": lambda bench: logits.run(bench, Row, interleave)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", nargs="+", choices=AREAS, default=list(AREAS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="per case, after warm-up; at least 5 rounds")
    parser.add_argument("--rounds", type=int, default=3, help="least rounds of the sparse areas, whose calls take seconds")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "build" / "bench")
    options = parser.parse_args()
    if options.quick:
        options.seconds = min(options.seconds, 0.2)
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    print("measuring the ceilings", file=sys.stderr)
    ceilings = measure_ceilings(options.threads, quick=options.quick)
    bench = Bench(options, ceilings)
    for area in options.areas:
        print(area, file=sys.stderr)
        AREAS[area](bench)
    header = machine(options, ceilings, bench.ctx)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [asdict(r) for r in bench.rows]
    with open(options.out / "bench.jsonl", "w") as file:
        for row in rows:
            file.write(json.dumps({**header, **row}) + "\n")
    text = markdown(header, rows)
    (options.out / "bench.md").write_text(text)
    plot(rows, options.out / "bench.svg")
    print(text)
    print(f"written: {options.out}/bench.jsonl, bench.md, bench.svg")


if __name__ == "__main__":
    main()
