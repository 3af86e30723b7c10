"""The sparse area of bench.py: sparse prefill methods against dense attention, ours and torch's, with the selection inside the
time.

Inputs are structured, since random keys have no heavy tiles to find:
- the mixture: a sink, a local band and planted heavy tiles for every query block, which are known, so their recall is stated;
- recorded: queries and keys of the shipped haystack model over its text.
"""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

import tamis
from tamis.eval import EvalMethod, HaystackModel, PeakMemory, compare

QUERY_BLOCK, KEY_BLOCK = 128, 64
#: FLOP of dense over FLOP of the tiles listed where every row lists density * tiles or all it has: 1 / (2 d - d^2).
BOUNDS = {0.125: 4.27, 0.0625: 8.26}
GOALS = {
    0.125: "3.4 x own dense, 4.5 x torch", 0.0625: "6 x own dense",
}
SELECTION = "selection < 10 %, memory < 5 %"


def methods(density: float) -> list[EvalMethod]:
    """What runs. Every one has the same budget; the mean score is the cheaper one of DHSA v2."""
    common = {"density": density, "dense_below": 0}
    return [
        EvalMethod("dhsa_topk", {**common, "query_block": QUERY_BLOCK, "key_block": KEY_BLOCK}),
        EvalMethod("dhsa_topk@mean", {**common, "score": "mean"}),
        EvalMethod("dhsa", {**common, "instruction_tokens": 64}),
        EvalMethod("block", dict(common)),
    ]


def budgets() -> dict[str, tuple[EvalMethod, str]]:
    """Cases of `methods` at every density: the method and its goal."""
    return {
        f"{m.label}, density {100 * density:g} %": (m, f"{GOALS[density]}; {SELECTION}" if m.label == "dhsa_topk" else "")
        for density in BOUNDS for m in methods(density)
    }


def rivals() -> dict[str, tuple[EvalMethod, str]]:
    """The other methods, each with its published numbers; those with a density at 12.5 %."""
    common = {"dense_below": 0}
    names = [
        ("dhsa@heads", {"head_lists": True, "density": 0.125}), ("dhsa_a", {"density": 0.125}), ("dhsa_vs", {"density": 0.125}),
        ("dhsa_vsb", {"density": 0.125}), ("block_topk", {}), ("vertical_slash", {}), ("flexprefill", {}), ("xattention", {}),
        ("sparge", {}),
    ]
    return {name: (EvalMethod(name, {**common, **own}), SELECTION) for name, own in names}


class Mixture:
    """Heads whose dense attention is known: in every query block the sink (4 keys), the tiles of the block itself and `planted`
    tiles before them are heavy, the rest is noise.

    Tile j has a direction u_j of its own in d dimensions, its keys are a u_j and noise. A query of block b is the sum of c u_j
    over its heavy tiles, of the sink's direction, of its own tile's, and noise. Half of the planted tiles concern all rows of their
    block, half a quarter of them, which a mean over the block dilutes.
    """

    def __init__(self, heads: int, n: int, d: int, planted: int, rng: np.random.Generator, logit: float = 7.0) -> None:
        tiles, blocks = n // KEY_BLOCK, n // QUERY_BLOCK
        per = QUERY_BLOCK // KEY_BLOCK
        # A product of a direction's key and query parts is `logit` after the scale 1 / sqrt(d).
        size = np.float32((logit * d**0.5) ** 0.5)
        self.q, self.k = (0.5 * rng.standard_normal((heads, n, d), dtype=np.float32) for _ in range(2))
        self.v = rng.standard_normal((heads, n, d), dtype=np.float32)
        #: [heads][blocks]: tiles planted, ascending.
        self.planted = []
        for h in range(heads):
            u = rng.standard_normal((tiles + 1, d), dtype=np.float32)
            u /= np.linalg.norm(u, axis=1, keepdims=True)
            tile = np.arange(n) // KEY_BLOCK
            self.k[h] += size * u[tile]
            self.k[h, :4] += size * u[tiles] * 1.5
            self.q[h] += size * 0.8 * u[tile] + size * 0.8 * u[tiles]
            rows = []
            for b in range(blocks):
                free = np.arange(1, b * per)
                chosen = np.sort(rng.choice(free, min(planted, free.size), replace=False)) if free.size else free
                for number, j in enumerate(rng.permutation(chosen)):
                    first = 0 if number % 2 == 0 else int(rng.integers(4)) * QUERY_BLOCK // 4
                    length = QUERY_BLOCK if number % 2 == 0 else QUERY_BLOCK // 4
                    own = b * QUERY_BLOCK + first
                    self.q[h, own : own + length] += size * u[j]
                rows.append(chosen)
            self.planted.append(rows)

    def recall(self, tiles: tamis.TileLists) -> float:
        """Share of the planted tiles that a selection lists, over heads and blocks; wider tiles of a method count as theirs."""
        found = total = 0
        blocks = len(self.planted[0])
        keys = self.q.shape[1]
        for h, rows in enumerate(self.planted):
            for b, chosen in enumerate(rows):
                row = h * tiles.heads // len(self.planted) * blocks + b
                listed = np.zeros(-(-keys // tiles.key_block) * tiles.key_block, bool).reshape(-1, tiles.key_block)
                listed[tiles.index[tiles.row_ptr[row] : tiles.row_ptr[row + 1]]] = True
                whole = listed.reshape(-1)[:keys].reshape(-1, KEY_BLOCK).mean(1)
                found += float(whole[chosen].sum())
                total += len(chosen)
        return found / total


def recorded(n: int, ctx: tamis.Context) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotated queries [16, n, 32], keys and values [8, n, 32] of the haystack model: its 4 layers side by side, over n tokens of
    its text with needles. A forward pass with a window of 512 keeps every layer's input as it is within the trained length; the
    tensors stand at their natural positions."""
    model = HaystackModel(ctx=ctx)
    rng = np.random.default_rng(1)
    parts: list[list[np.ndarray]] = [[], [], []]
    while sum(len(part) for part in parts[0]) < n:
        haystack = model.needles.haystack(min(n, 16384), 32, rng)
        parts[0].append(haystack[0].prompt)
    ids = np.concatenate(parts[0])[:n]
    layers: list[tuple[np.ndarray, ...]] = []
    model.visit(ids, lambda layer, q, k, v, rule: layers.append((q, k, v)), window=512)
    q, k, v = (np.ascontiguousarray(np.concatenate([layer[i] for layer in layers])) for i in range(3))
    return q, k, v


def mixture(bench, row, interleave) -> None:
    """`row` and `interleave` are bench.py's, which imports this."""
    heads, d, n, planted = (4, 64, 2048, 2) if bench.options.quick else (8, 128, 16384, 8)
    made = Mixture(heads, n, d, planted, np.random.default_rng(11))
    for name, dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)][: 2 if has_bf16() else 1]:
        case = f"mixture, {heads} heads, d {d}, {n} tokens, {name}"
        measure(bench, row, interleave, case, budgets(), made.q, made.k, made.v, dtype, made)


def others(bench, row, interleave) -> None:
    heads, d, n, planted = (4, 64, 2048, 2) if bench.options.quick else (8, 128, 16384, 8)
    made = Mixture(heads, n, d, planted, np.random.default_rng(11))
    case = f"mixture, {heads} heads, d {d}, {n} tokens, f32"
    measure(bench, row, interleave, case, rivals(), made.q, made.k, made.v, torch.float32, made)


def sinks(bench, row, interleave) -> None:
    """What ZeroTuning and ACT cost: exact attention with a bias on key 0, and with the weights of its sinks spread."""
    heads, d, n, planted = (4, 64, 1024, 2) if bench.options.quick else (8, 128, 8192, 8)
    made = Mixture(heads, n, d, planted, np.random.default_rng(12))
    q, k, v = (torch.from_numpy(x) for x in (made.q, made.k, made.v))
    out = torch.empty_like(q)
    bias = tamis.zero_tuning_bias(np.full(heads, 1.5, np.float32))
    few = np.arange(heads) < heads // 4
    contestants = {
        "own dense": lambda: tamis.attention(q, k, v, out=out, ctx=bench.ctx),
        "ZeroTuning": lambda: tamis.attention(q, k, v, out=out, key0_bias=bias, ctx=bench.ctx),
        "ACT, a quarter of the heads": lambda: tamis.act_attention(q, k, v, heads=few, out=out, ctx=bench.ctx),
        "ACT, all heads": lambda: tamis.act_attention(q, k, v, out=out, ctx=bench.ctx),
    }
    t = interleave(contestants, seconds=bench.options.seconds, least=rounds(bench), warm=1)
    for name in list(contestants)[1:]:
        bench.add(row(
            "Sinks", f"prefill, mixture, {heads} heads, d {d}, {n} tokens, f32, {name}", t[name].min, t[name].median, "own dense",
            t["own dense"].min, t["own dense"].median, {"own dense": t["own dense"].median / t[name].median}, "", share=None,
            note=f"{t[name].median / t['own dense'].median:.2f} times the time of dense attention"))


def haystack(bench, row, interleave) -> None:
    n = 2048 if bench.options.quick else 16384
    q, k, v = recorded(n, bench.ctx)
    measure(
        bench, row, interleave, f"recorded, {q.shape[0]}/{k.shape[0]} heads, d {q.shape[2]}, {n} tokens, f32", budgets(), q,
        k, v, torch.float32, None)


def has_bf16() -> bool:
    """Whether this machine multiplies bfloat16: elsewhere it costs more than float32."""
    return tamis.build_info()["isa"]["active"] == "v4x"


def rounds(bench) -> int:
    return 1 if bench.options.quick else bench.options.rounds


def measure(bench, row, interleave, case, cases, q, k, v, dtype, mixture) -> None:
    """Dense, torch and every method in turn on one input; `cases`: name to (method, goal)."""
    tq, tk, tv = (torch.from_numpy(x).to(dtype) for x in (q, k, v))
    out = torch.empty_like(tq)
    dense_out, dense_lse = (x.float().numpy() for x in tamis.attention(tq, tk, tv, return_lse=True, ctx=bench.ctx))
    group = q.shape[0] // k.shape[0]
    contestants = {
        "own dense": lambda: tamis.attention(tq, tk, tv, out=out, ctx=bench.ctx),
        "torch": lambda: sdpa(tq[None], tk[None], tv[None], is_causal=True, enable_gqa=group > 1),
    }
    shares: dict[str, list[tuple[int, int]]] = {key: [] for key in cases}

    def contestant(key):
        method = cases[key][0]

        def call():
            prompt = method.prompt(bench.ctx)
            prompt(tq, tk, tv, out=out)
            shares[key].append((prompt.stats.select_ns, prompt.stats.attend_ns))

        return call

    for key in cases:
        contestants[key] = contestant(key)
    t = interleave(contestants, seconds=bench.options.seconds, least=rounds(bench), warm=1)
    inputs = sum(x.numel() * x.element_size() for x in (tq, tk, tv))
    oracle_blocks = np.unique(np.linspace(0, q.shape[1] // QUERY_BLOCK - 1, 9).astype(int))
    for name, (method, goal) in cases.items():
        times = t[name]
        found = compare(
            method, q, k, v, dense=(dense_out, dense_lse) if dtype == torch.float32 else None, oracle_blocks=oracle_blocks,
            ctx=bench.ctx)
        select, attend = (np.median([pair[i] for pair in shares[name]]) for i in range(2))
        with tamis.Context(threads=bench.options.threads) as own, PeakMemory() as peak:
            method.prompt(own)(tq, tk, tv, out=out)
        note = [
            f"selection {100 * select / attend:.1f} % of attention",
            f"retained mass {found.retained:.3f}, {found.retained_of_oracle_blocks / found.oracle:.3f} of the oracle's",
            f"density {100 * found.share_of_all_tiles:.1f} % of all tiles, {100 * found.share_of_pairs:.1f} % of legal pairs "
            f"(bound {1 / found.share_of_pairs:.2f} x)",
        ]
        if mixture is not None:
            note.append(f"planted tiles found {100 * mixture.recall(found.mask.tiles):.1f} %")
        if peak.bytes is not None:
            note.append(f"extra memory {100 * peak.bytes / inputs:.1f} % of q, k, v")
        note.append(f"output error {found.output_error:.3f} of the dense norm")
        bench.add(row(
            "Sparse prefill", f"{case}, {name}", times.min, times.median, "own dense", t["own dense"].min, t["own dense"].median,
            {peer: t[peer].median / times.median for peer in ("own dense", "torch")}, goal, share=None, note="; ".join(note)))


def boundaries(bench, row, interleave) -> None:
    """DHSA v1's boundary predictor at the width of Gemma2-2b, against that model's dense layer."""
    quick = bench.options.quick
    n = 1024 if quick else 8192
    heads, kv_heads, d, hidden, wide = 8, 4, 256, 2304, 9216
    rng = np.random.default_rng(5)
    normal = lambda *shape: torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))  # noqa: E731
    q, k, v = normal(heads, n, d), normal(kv_heads, n, d), normal(kv_heads, n, d)
    x = normal(n, hidden)
    w = {name: 0.02 * normal(*shape) for name, shape in {
        "q": (hidden, heads * d), "k": (hidden, kv_heads * d), "v": (hidden, kv_heads * d), "o": (heads * d, hidden),
        "gate": (hidden, wide), "up": (hidden, wide), "down": (wide, hidden)}.items()}
    out = torch.empty_like(q)
    attend = lambda: tamis.attention(q, k, v, out=out, softcap=50.0, ctx=bench.ctx)  # noqa: E731

    def linear():
        for name in "qkv":
            x @ w[name]
        out.transpose(0, 1).reshape(n, -1) @ w["o"]
        (torch.nn.functional.gelu(x @ w["gate"], approximate="tanh") * (x @ w["up"])) @ w["down"]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "boundary_predictor.safetensors"
        random_predictor(path, kv_heads * d, 256, rng)
        contestants = {"attention": attend, "linear": linear}
        precisions = ("f32", "bf16", "i8") if has_bf16() else ("f32", "i8")
        for precision in precisions:
            loaded = tamis.BoundaryPredictor.load(path, precision=precision, ctx=bench.ctx)
            contestants[precision] = lambda loaded=loaded: loaded.run(k)
        t = interleave(contestants, seconds=bench.options.seconds, least=rounds(bench), warm=1)
    layer = t["attention"].median + t["linear"].median
    for precision in precisions:
        times = t[precision]
        bench.add(row(
            "Boundary predictor", f"C {kv_heads * d}, {n} tokens, {precision}", times.min, times.median,
            "dense Gemma2-2b layer: own attention f32 + torch's f32 products", t["attention"].min + t["linear"].min, layer,
            {"layer": layer / times.median, "attention alone": t["attention"].median / times.median},
            "at most 15 % of a layer" if precision == "f32" else "", share=None,
            note=f"{100 * times.median / layer:.1f} % of a layer, {100 * times.median / t['attention'].median:.1f} % of its "
            f"attention ({t['attention'].median:.0f} ms); once a prompt of 26 layers"))


def random_predictor(path: Path, width: int, hidden: int, rng: np.random.Generator) -> None:
    """Random weights of the published layout, as a safetensors file."""
    shapes = {
        "enc.mha.in_proj_weight": (3 * width, width), "enc.mha.in_proj_bias": (3 * width,),
        "enc.mha.out_proj.weight": (width, width), "enc.mha.out_proj.bias": (width,), "enc.norm.weight": (width,),
        "enc.norm.bias": (width,), "mlp.0.weight": (hidden, 4 * width + 1), "mlp.0.bias": (hidden,),
        "mlp.2.weight": (1, hidden), "mlp.2.bias": (1,),
    }
    index, data = {}, b""
    for name, shape in shapes.items():
        values = (rng.standard_normal(shape, dtype=np.float32) * np.float32(shape[-1] ** -0.5)).tobytes()
        index[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    head = json.dumps(index).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
