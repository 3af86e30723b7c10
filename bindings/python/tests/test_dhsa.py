"""DHSA v1 in parts: the boundary predictor, boundaries, chunks at decode, against loops in float64 written from the paper's page
(arXiv 2510.24606 v1)."""

import json

import numpy as np
import pytest

import tamis
from conftest import plain, stored


def network(rng, width, hidden, gated=False):
    """Random weights under the official names."""
    normal = lambda *shape, scale=1.0, around=0.0: (around + scale * rng.normal(size=shape)).astype(np.float32)
    spread = width**-0.5
    tensors = {
        "enc.mha.in_proj_weight": normal(3 * width, width, scale=1.5 * spread), "enc.mha.in_proj_bias": normal(3 * width, scale=0.3),
        "enc.mha.out_proj.weight": normal(width, width, scale=spread), "enc.mha.out_proj.bias": normal(width, scale=0.3),
        "enc.norm.weight": normal(width, scale=0.2, around=1), "enc.norm.bias": normal(width, scale=0.2),
        "mlp.0.weight": normal(hidden, 4 * width + 1, scale=0.5 * spread), "mlp.0.bias": normal(hidden, scale=0.2),
        "mlp.2.weight": normal(1, hidden, scale=hidden**-0.5), "mlp.2.bias": normal(1, scale=0.2),
    }
    if gated:
        tensors["pool.gate.weight"] = normal(1, width, scale=2 * spread)
    return tensors


def save(path, tensors, **metadata):
    header, data = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, b""
    for name, t in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [len(data), len(data) + t.nbytes]}
        data += t.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def window_logit(w, x, heads):
    """One window x [2w, C] of float64, by itself."""
    n, width = x.shape
    d = width // heads
    w = {name: t.astype(np.float64) for name, t in w.items()}
    q, k, v = np.split(x @ w["enc.mha.in_proj_weight"].T + w["enc.mha.in_proj_bias"], 3, axis=1)
    context = np.zeros_like(x)
    for h in range(heads):
        at = slice(h * d, (h + 1) * d)
        context[:, at] = softmax(q[:, at] @ k[:, at].T / np.sqrt(d)) @ v[:, at]
    y = context @ w["enc.mha.out_proj.weight"].T + w["enc.mha.out_proj.bias"]
    y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5) * w["enc.norm.weight"] + w["enc.norm.bias"]
    halves = []
    for half in (y[: n // 2], y[n // 2:]):
        share = np.full(n // 2, 2 / n)
        if "pool.gate.weight" in w:
            share = softmax(half @ w["pool.gate.weight"][0])
        halves.append(share @ half)
    left, right = halves
    cosine = left @ right / (max(np.linalg.norm(left), 1e-6) * max(np.linalg.norm(right), 1e-6))
    f = np.concatenate([left, right, np.abs(left - right), left * right, [cosine]])
    return float(np.maximum(f @ w["mlp.0.weight"].T + w["mlp.0.bias"], 0) @ w["mlp.2.weight"][0] + w["mlp.2.bias"][0])


def oracle_logits(tensors, k, heads, w=4):
    x = np.concatenate(list(k), axis=1)  # [n, C], heads side by side
    padded = np.pad(x, ((w - 1, w), (0, 0)))
    return np.array([window_logit(tensors, padded[i:i + 2 * w], heads) for i in range(len(x))])


@pytest.mark.parametrize("width, heads, hidden, w, gated", [
    (64, 4, 32, 4, False), (32, 2, 8, 4, True), (40, 5, 12, 2, False), (128, 8, 16, 4, False), (16, 16, 4, 3, False)])
def test_predictor(tmp_path, rng, ctx, width, heads, hidden, w, gated):
    tensors = network(rng, width, hidden, gated)
    path = save(tmp_path / "boundary_predictor.safetensors", tensors, heads=heads, window=w)
    predictor = tamis.BoundaryPredictor.load(tmp_path, ctx=ctx)
    assert (predictor.width, predictor.heads, predictor.window) == (width, heads, w)
    for n in (1, 2, 7, 270):
        k = rng.normal(size=(2, n, width // 2)).astype(np.float32)
        assert np.abs(predictor.run(k) - oracle_logits(tensors, k.astype(np.float64), heads, w)).max() < 1e-5
    assert path.exists()


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16", "i8"])
def test_dtypes_and_strides(tmp_path, rng, cpu, dtype):
    tensors = network(rng, 32, 8)
    predictor = tamis.BoundaryPredictor.load(save(tmp_path / "p", tensors, heads=4), ctx=cpu)
    k, values = stored(rng.normal(size=(2, 30, 16)), dtype)
    expected = oracle_logits(tensors, values, 4)
    assert np.abs(plain(predictor.run(k)) - expected).max() < 1e-5
    if dtype in ("f32", "f16"):
        by_token = np.ascontiguousarray(k.transpose(1, 0, 2)).transpose(1, 0, 2)
        assert (predictor.run(by_token) == predictor.run(k)).all()
        assert (predictor.run(np.repeat(k, 2, axis=2)[..., ::2]) == predictor.run(k)).all()


def test_threads_change_no_bit(tmp_path, rng):
    path = save(tmp_path / "p", network(rng, 32, 8), heads=4)
    k = rng.normal(size=(2, 900, 16)).astype(np.float32)
    runs = [tamis.BoundaryPredictor.load(path, ctx=tamis.Context(threads=t)).run(k) for t in (1, 2, 4)]
    assert all((run == runs[0]).all() for run in runs)


@pytest.mark.parametrize("precision, limit", [("bf16", 0.03), ("i8", 0.08)])
def test_narrow_precisions(tmp_path, rng, cpu, precision, limit):
    tensors = network(rng, 64, 32)
    path = save(tmp_path / "p", tensors, heads=4)
    k = rng.normal(size=(2, 120, 32)).astype(np.float32)
    error = tamis.BoundaryPredictor.load(path, precision=precision, ctx=cpu).run(k) - oracle_logits(tensors, k.astype(np.float64), 4)
    assert 1e-6 < np.abs(error).max() < limit


def test_predictor_refusals(tmp_path, rng, cpu):
    tensors = network(rng, 32, 8)
    path = save(tmp_path / "p", tensors)
    load = lambda *args, **kwargs: tamis.BoundaryPredictor.load(*args, ctx=cpu, **kwargs)
    assert load(path).heads == 8
    with pytest.raises(tamis.InvalidArgumentError, match="heads is 3; expected a divisor of the width 32"):
        load(path, 3)
    with pytest.raises(tamis.InvalidArgumentError, match="precision"):
        load(path, precision="f16")
    with pytest.raises(tamis.FileMissingError):
        load(tmp_path / "nowhere")
    with pytest.raises(tamis.FormatError, match="mlp.2.bias"):
        load(save(tmp_path / "q", {name: t for name, t in tensors.items() if name != "mlp.2.bias"}))
    with pytest.raises(tamis.FormatError, match=r"mlp.0.weight.* is \[8, 128\]; expected \[8, 129\]"):
        load(save(tmp_path / "q", tensors | {"mlp.0.weight": tensors["mlp.0.weight"][:, :-1].copy()}))
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-5])
    with pytest.raises(tamis.FormatError):
        load(tmp_path / "cut")
    (tmp_path / "text").write_bytes(b"not a file of weights at all")
    with pytest.raises(tamis.FormatError):
        load(tmp_path / "text")
    predictor = load(path)
    for shape in [(2, 10, 8), (1, 10, 16), (10, 32), (3, 10, 16)]:
        with pytest.raises(tamis.InvalidArgumentError):
            predictor.run(np.zeros(shape, np.float32))
    with pytest.raises(tamis.CancelledError):
        predictor.run(np.zeros((2, 3000, 16), np.float32), progress=lambda done: False)


def oracle_boundaries(logits, threshold=1.1, min_gap=8, max_per_block=8, query_block=128, window=4, instruction_tokens=64):
    n = len(logits)
    end = n - instruction_tokens if 0 < instruction_tokens < n else None
    accepted = [] if end is None else [end]
    candidates = [i for i in range(window - 1, n - window) if logits[i] > threshold and (end is None or i <= end)]
    for i in sorted(candidates, key=lambda i: (-logits[i], i)):
        if len(accepted) >= n // query_block * max_per_block:
            break
        if all(abs(i - a) > min_gap for a in accepted):
            accepted.append(i)
    return sorted({0, n} | {i + 1 for i in accepted})


@pytest.mark.parametrize("options", [
    {}, {"threshold": 0.0}, {"instruction_tokens": 0}, {"min_gap": 0, "query_block": 16}, {"max_per_block": 1}, {"window": 9},
    {"instruction_tokens": 1, "query_block": 32}, {"instruction_tokens": 5000}])
def test_boundaries(rng, options):
    for n in (1, 8, 127, 128, 1000):
        logits = np.round(rng.normal(size=n) * 4) / 2  # ties
        logits[rng.random(n) < 0.05] = np.nan
        found = tamis.boundaries_from_logits(logits, **options)
        assert found.dtype == np.int64 and found.tolist() == oracle_boundaries(logits, **options)


def test_boundaries_refusals():
    for bad in ([], np.zeros((2, 3))):
        with pytest.raises(tamis.InvalidArgumentError):
            tamis.boundaries_from_logits(bad)
    for options in ({"min_gap": -1}, {"query_block": 0}, {"threshold": float("nan")}, {"instruction_tokens": -1}, {"window": 0}):
        with pytest.raises(tamis.InvalidArgumentError, match=next(iter(options))):
            tamis.boundaries_from_logits(np.zeros(10), **options)


# ---------------------------------------------------------------------------------------------------- the selection


def oracle_selection(q, k, edges, block, unit, budget, sinks, local, tail, offset=0, window=None):
    """The rule of TAMIS_SPARSE_DHSA token by token: units of each query block, as sets. q [h, n, d], k [g, m, d] float64."""
    n, m = q.shape[1], k.shape[1]
    mean_q, mean_k = q.mean(0), k.mean(0)
    chunk_of = np.searchsorted(edges, np.arange(m), side="right") - 1
    chunks = np.array([mean_k[a:b].sum(0) / np.sqrt(b - a) for a, b in zip(edges, edges[1:])])
    lists = []
    for start in range(0, n, block):
        end = min(start + block, n)
        low = 0 if window is None else min(max(offset + start - window + 1, 0), m)
        high = min(max(offset + end, 0), m)
        units = lambda keys: {t // unit for t in keys}
        if end > n - tail or high - low <= budget:
            lists.append(sorted(units(range(low, high))))
            continue
        first = min(sinks, budget // 4)
        own = high - min(max(offset + start, low), high)
        last = min(max(own, min(local, budget - first)), high - low)
        taken = units(range(low, low + first)) | units(range(high - last, high))
        score = (chunks @ mean_q[start:end].mean(0))[chunk_of]
        best = {u: max(score[t] for t in range(max(u * unit, low), min((u + 1) * unit, high))) for u in units(range(low, high))}
        for u in sorted(best, key=lambda u: (-best[u], -u)):
            if len(taken) >= -(-budget // unit):
                break
            taken.add(u)
        lists.append(sorted(taken))
    return lists


def lists_of(mask):
    tiles = mask.tiles
    return [tiles.index[a:b].tolist() for a, b in zip(tiles.row_ptr, tiles.row_ptr[1:])]


@pytest.mark.parametrize("granularity, unit", [("tokens", 1), ("tiles", 8), ("tiles", 32)])
@pytest.mark.parametrize("offset, window", [(0, None), (60, None), (0, 50)])
@pytest.mark.parametrize("head_lists", [False, True])
def test_selection(rng, cpu, granularity, unit, offset, window, head_lists):
    n, m = 200, 200 + offset
    q, k = rng.normal(size=(4, n, 16)).astype(np.float32), rng.normal(size=(2, m, 16)).astype(np.float32)
    edges = [0, *sorted(rng.choice(np.arange(1, m), 17, replace=False).tolist()), m]
    mask = tamis.sparse_select(
        q, k, "dhsa", granularity=granularity, query_block=32, key_block=32 if unit == 1 else unit, budget=48, sinks=8, local=20,
        instruction_tokens=30, boundaries=edges, q_offset=offset, window=window, head_lists=head_lists, ctx=cpu)
    q, k = q.astype(np.float64), k.astype(np.float64)
    views = [(q[h : h + 1], k[h // 2 : h // 2 + 1]) for h in range(4)] if head_lists else [(q, k)]
    expected = sum((oracle_selection(*view, edges, 32, unit, 48, 8, 20, 30, offset, window) for view in views), [])
    assert mask.tiles.heads == len(views)
    assert lists_of(mask) == expected
    assert mask.boundaries.tolist() == edges


def test_literal_form_has_one_list(rng, cpu):
    q, k = (rng.normal(size=(2, 300, 16)).astype(np.float32) for _ in range(2))
    with pytest.raises(tamis.InvalidArgumentError, match="options->head_lists is 1"):
        tamis.sparse_select(q, k, "compat_dhsa", head_lists=True, ctx=cpu)


def test_attention_over_the_selection(rng, cpu):
    """Attention over the tokens listed is dense attention with the mask, and with the whole budget dense attention, bit for bit."""
    n = 260
    q, k, v = (rng.normal(size=(h, n, 32)).astype(np.float32) for h in (4, 2, 2))
    settings = dict(granularity="tokens", query_block=32, sinks=4, local=32, instruction_tokens=10, dense_below=0, ctx=cpu)
    out, mask = tamis.sparse_prefill(q, k, v, "dhsa", budget=60, return_mask=True, **settings)
    allowed = np.zeros((n, n), bool)
    for block, tokens in enumerate(lists_of(mask)):
        allowed[block * 32:(block + 1) * 32, tokens] = True
    allowed &= np.tri(n, dtype=bool)
    for h in range(4):
        logits = q[h].astype(np.float64) @ k[h // 2].T.astype(np.float64) / np.sqrt(32)
        assert np.abs(out[h] - softmax(np.where(allowed, logits, -np.inf)) @ v[h // 2]).max() < 1e-5
    dense = tamis.attention(q, k, v, ctx=cpu)
    for options in (dict(budget=n), dict(budget=-1), dict(density=1.0), dict(budget=n, boundaries=range(n + 1))):
        for granularity in ("tokens", "tiles"):
            assert (tamis.sparse_prefill(q, k, v, "dhsa", **{**settings, "granularity": granularity}, **options) == dense).all()


def test_selection_with_a_predictor(tmp_path, rng, cpu):
    """The predictor's boundaries are those of its logits, and another layer may be given them."""
    predictor = tamis.BoundaryPredictor.load(save(tmp_path / "p", network(rng, 32, 8), heads=4), ctx=cpu)
    q, k = rng.normal(size=(4, 400, 16)).astype(np.float32), rng.normal(size=(2, 400, 16)).astype(np.float32)
    threshold = float(np.median(predictor.run(k)))
    options = dict(query_block=32, budget=64, instruction_tokens=16, ctx=cpu)
    where = dict(threshold=threshold, query_block=32, instruction_tokens=16)
    mask = tamis.sparse_select(q, k, "dhsa", predictor=predictor, boundary_options=where, **options)
    boundaries = tamis.boundaries_from_logits(predictor.run(k), **where)
    assert mask.boundaries.tolist() == boundaries.tolist() and len(boundaries) > 10
    assert lists_of(tamis.sparse_select(q, k, "dhsa", boundaries=boundaries, **options)) == lists_of(mask)
    with pytest.raises(tamis.InvalidArgumentError, match="width"):
        tamis.sparse_select(q[..., :8], k[..., :8], "dhsa", predictor=predictor, **options)


def test_selection_refusals(rng, cpu):
    q, k = rng.normal(size=(2, 40, 16)).astype(np.float32), rng.normal(size=(2, 40, 16)).astype(np.float32)
    for edges in ([0, 39], [1, 40], [0, 20, 20, 40], [0, 41], [0]):
        with pytest.raises(tamis.InvalidArgumentError, match="boundaries"):
            tamis.sparse_select(q, k, "dhsa", boundaries=edges, ctx=cpu)
    with pytest.raises(tamis.UnsupportedError, match="causal"):
        tamis.sparse_select(q, k, "dhsa", causal=False, ctx=cpu)
    with pytest.raises(tamis.InvalidArgumentError, match="query_block"):
        tamis.sparse_select(q, k, "compat_dhsa", query_block=64, ctx=cpu)
    k[:] = np.nan
    rows = lists_of(tamis.sparse_select(q, k, "dhsa", granularity="tokens", query_block=8, budget=16, ctx=cpu, instruction_tokens=-1))
    assert len(rows[-1]) == 16 and rows[-1][-8:] == list(range(32, 40))


# ----------------------------------------------------------------------------------------------------- chunks at decode


def oracle_tokens(k, edges, q, budget, sinks, local, pooling="sqrt"):
    n = k.shape[1]
    if budget < 0 or budget >= n:
        return list(range(n))
    first = min(sinks, budget // 4)
    last = max(1, min(local, budget - first))
    taken = set(range(first)) | set(range(n - last, n))
    mean_k, mean_q = k.mean(0), q[:, 0].mean(0)
    token = np.empty(n)
    for a, b in zip(edges, edges[1:]):
        token[a:b] = mean_k[a:b].sum(0) @ mean_q / (np.sqrt(b - a) if pooling == "sqrt" else b - a)
    for t in sorted(range(n), key=lambda t: (-token[t], -t)):
        if len(taken) >= budget:
            break
        taken.add(t)
    return sorted(taken)


@pytest.mark.parametrize("pooling", ["sqrt", "mean"])
def test_chunks_at_decode(rng, cpu, pooling):
    n = 240
    k = rng.normal(size=(2, n, 32)).astype(np.float32)
    index = tamis.ChunkIndex(kv_heads=2, head_dim=32, open_tokens=16, pooling=pooling, sinks=4, local=12, ctx=cpu)
    index.append(k[:, :150], [0, 40, 41, 100, 150])
    for t in range(150, n):
        index.append(k[:, t:t + 1])
        edges = [0, 40, 41, 100, *range(150, t + 1, 16), t + 1]
        q = rng.normal(size=(6, 1, 32)).astype(np.float32)
        for budget in (1, 10, 50, 149, -1, 1000):
            found = index.select(q, budget)
            assert found.tolist() == oracle_tokens(k[:, :t + 1].astype(np.float64), edges, q, budget, 4, 12, pooling)
    index.truncate(160)
    assert len(index) == 160
    edges = [0, 40, 41, 100, 150, 160]
    assert index.select(q, 50).tolist() == oracle_tokens(k[:, :160].astype(np.float64), edges, q, 50, 4, 12, pooling)


def test_decode_over_a_cache(rng, cpu):
    """All of the budget is dense attention, bit for bit; a planted chunk is found, and then the result is near the dense one."""
    n, needle = 600, range(300, 316)
    k = (0.3 * rng.normal(size=(2, n, 16))).astype(np.float32)
    v = rng.normal(size=(2, n, 16)).astype(np.float32)
    q = rng.normal(size=(4, 1, 16)).astype(np.float32)
    q[1:] = q[0] + 0.3 * q[1:]
    k[:, needle] = 4 * q[:, 0].reshape(2, 2, 16).sum(1)[:, None]
    cache = tamis.KVCache(kv_heads=2, head_dim=16, max_tokens=1024, ctx=cpu)
    text = cache.sequence()
    text.append(k, v)
    dense = tamis.Selector(cache, tamis.DenseAttention(), q_heads=4)
    index = tamis.ChunkIndex(kv_heads=2, head_dim=16, sinks=8, local=16, ctx=cpu)
    index.append(k, [*range(0, n, 20), n])
    expected = dense.attend(text, q)
    everything = tamis.Selector(cache, tamis.StreamingLLM(n_sink=8, n_recent=512, chunk=1, positions="natural"), q_heads=4)
    assert (everything.attend_tokens(text, q, index.select(q)) == expected).all()
    tokens = index.select(q, 64)
    assert len(tokens) == 64 and set(needle) <= set(tokens.tolist())
    assert np.abs(everything.attend_tokens(text, q, tokens) - expected).max() < 0.05


def test_chunk_refusals(cpu):
    for options in ({"head_dim": 20}, {"open_tokens": 0}, {"pooling": "max"}, {"sinks": -1}, {"kv_heads": 0}):
        with pytest.raises(tamis.InvalidArgumentError, match=next(iter(options))):
            tamis.ChunkIndex(**options, ctx=cpu)
    index = tamis.ChunkIndex(kv_heads=2, head_dim=8, ctx=cpu)
    k = np.zeros((2, 10, 8), np.float32)
    for edges in ([0, 9], [1, 10], [0, 5, 5, 10], [0], [0.0, 10.0]):
        with pytest.raises(tamis.InvalidArgumentError):
            index.append(k, edges)
    assert len(index) == 0
    index.append(k)
    for q, budget in ((k[:1, :1], 4), (k, 4), (k[:, :1], 0), (k[:, :1], -2)):
        with pytest.raises(tamis.InvalidArgumentError):
            index.select(q, budget)
    with pytest.raises(tamis.InvalidArgumentError):
        index.truncate(11)
