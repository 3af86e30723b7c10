"""Selection and attention together: what holds for every method, budgets, statistics, and bad input."""

import numpy as np
import oracle
import pytest
from conftest import TOLERANCE, plain, stored
from oracle_sparse_rows import Rows
from test_sparse_select import METHODS, random

import tamis

#: What makes a method list all it may see.
EVERYTHING = {
    "dense": {}, "dhsa": {"budget": -1}, "dhsa_topk": {"density": 1}, "dhsa_a": {"density": 1}, "dhsa_vs": {"density": 1},
    "dhsa_vsb": {"density": 1}, "block": {"budget": -1}, "a_shape": {"local": 10000},
    "vertical_slash": {"vertical": 10000, "slash": 10000}, "block_topk": {"max_blocks": 10000},
    "minference": {
        "patterns": [("a_shape", 0, 10000), ("vertical_slash", 10000, 1), ("block_topk", 10000), ("a_shape", 5000, 1)]},
    "flexprefill": {"coverage": 1}, "xattention": {"coverage": 1}, "sparge": {"top_share": 1},
}
CAUSAL_BY_BLOCK = ["dhsa_topk", "dhsa_a", "block", "a_shape", "block_topk"]


def keys_of(mask, heads, k_len):
    """bool [heads, q_len, k_len] of a mask of one batch element."""
    t = mask.tiles
    rows = t.to_mask(k_len).reshape(t.heads, -1, k_len)
    return np.repeat(np.repeat(rows, heads // t.heads, 0), t.query_block, 1)


def masked_attention(q, k, v, seen):
    """Attention over the legal ones of the keys that `seen` has, float64."""
    heads, n, d = q.shape
    m = k.shape[1]
    causal = np.arange(m) <= np.arange(n)[:, None] + m - n
    o = np.zeros((heads, n, d))
    for h in range(heads):
        g = h // (heads // k.shape[0])
        z = np.where(causal & seen[h, :n], q[h] @ k[g].T / np.sqrt(d), -np.inf)
        top = z.max(1, keepdims=True)
        p = np.where(np.isinf(top), 0, np.exp(z - np.where(np.isinf(top), 0, top)))
        o[h] = np.divide(p @ v[g], p.sum(1, keepdims=True), out=o[h], where=p.sum(1, keepdims=True) > 0)
    return o


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["f32", "bf16"])
def test_the_output_is_attention_over_the_mask(method, dtype, rng, ctx):
    q, k = random(rng, 4, 2, 500, 700, 32)
    v = rng.standard_normal(k.shape)
    (tq, q64), (tk, k64), (tv, v64) = stored(q, dtype), stored(k, dtype), stored(v, dtype)
    out, mask = tamis.sparse_prefill(
        tq, tk, tv, method, dense_below=0, return_mask=True, ctx=ctx, pv_threshold=0, **METHODS[method])
    wanted = masked_attention(q64, k64, v64, keys_of(mask, 4, 700))
    assert np.abs(plain(out) - wanted).max() < TOLERANCE[dtype]
    again = tamis.sparse_attention(tq, tk, tv, tamis.sparse_select(tq, tk, method, ctx=ctx, **METHODS[method]), ctx=ctx)
    assert np.array_equal(plain(out), plain(again))


@pytest.mark.parametrize("method", EVERYTHING)
def test_a_budget_of_everything_is_dense_bit_for_bit(method, rng):
    q, k = random(rng, 4, 2, 500, 650, 32)
    v = rng.standard_normal(k.shape, np.float32)
    out, lse, mask = tamis.sparse_prefill(
        q, k, v, method, dense_below=0, return_lse=True, return_mask=True, pv_threshold=0, **EVERYTHING[method])
    assert mask is not None
    dense, dense_lse = tamis.attention(q, k, v, return_lse=True)
    assert np.array_equal(out, dense) and np.array_equal(lse, dense_lse)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("xattention", "sparge")])
def test_no_list_names_a_tile_that_no_query_may_see(method, rng):
    q, k = random(rng, 2, 1, 300, 500, 16)
    for rule in ({}, {"window": 150}, {"q_offset": 60}):
        t = tamis.sparse_select(q, k, method, **rule, **METHODS[method]).tiles
        rows = Rows(300, 500, t.query_block, t.key_block, **rule)
        for r in range(t.n_rows):
            assert set(t.index[t.row_ptr[r] : t.row_ptr[r + 1]].tolist()) <= set(rows.available(r % rows.blocks))


@pytest.mark.parametrize("method", ["dhsa_topk", "dhsa_a", "dhsa_vsb"])
@pytest.mark.parametrize("density", [0.05, 0.125, 0.3, 0.7])
def test_rows_list_what_the_budget_allows(method, density, rng):
    q, k = random(rng, 2, 2, 900, 1100, 16)
    t = tamis.sparse_select(q, k, method, density=density).tiles
    rows = Rows(900, 1100, 128, 64)
    budget = max(1, int(density * rows.tiles + 1e-9))
    counts = np.diff(t.row_ptr).reshape(2, -1)
    for b in range(rows.blocks):
        assert (counts[:, b] == min(len(rows.available(b)), budget)).all()


@pytest.mark.parametrize("score", ["lse8", "mean"])
def test_row_budgets_move_tiles_between_rows_and_keep_their_number(score, rng):
    q, k = random(rng, 3, 1, 2000, 2000, 32)
    q[:, 1000:] *= 6  # these rows are peaked: they need less
    alike = np.diff(tamis.sparse_select(q, k, density=0.25, score=score).tiles.row_ptr).reshape(3, -1)
    moved = np.diff(tamis.sparse_select(q, k, density=0.25, score=score, row_min=0.5, row_max=2).tiles.row_ptr).reshape(3, -1)
    assert (alike.sum(1) == moved.sum(1)).all() and not np.array_equal(alike, moved)
    budget = 8  # of 32 tiles
    available = np.array([len(Rows(2000, 2000, 128, 64).available(b)) for b in range(16)])
    tight = available > budget
    assert (moved[:, ~tight] == available[~tight]).all()
    assert (moved[:, tight] >= 4).all() and (moved[:, tight] <= np.minimum(available[tight], 16)).all()
    half = tight & (np.arange(16) < 7)
    assert moved[:, half].mean() > moved[:, np.arange(16) > 8].mean()
    fixed = np.diff(tamis.sparse_select(q, k, density=0.25, score=score, row_min=1, row_max=1).tiles.row_ptr).reshape(3, -1)
    assert np.array_equal(fixed, alike)


@pytest.mark.parametrize("method", CAUSAL_BY_BLOCK)
def test_later_tokens_do_not_change_earlier_blocks(method, rng):
    q, k = random(rng, 2, 1, 1024, 1024, 16)
    before = tamis.sparse_select(q, k, method, **METHODS[method]).tiles
    q2, k2 = q.copy(), k.copy()
    q2[:, 768:], k2[:, 768:] = random(rng, 2, 1, 256, 256, 16)
    after = tamis.sparse_select(q2, k2, method, **METHODS[method]).tiles
    blocks = before.n_rows // before.heads
    for r in range(before.n_rows):
        if r % blocks < blocks * 3 // 4:
            a, b = (t.index[t.row_ptr[r] : t.row_ptr[r + 1]] for t in (before, after))
            assert np.array_equal(a, b)


@pytest.mark.parametrize("method", METHODS)
def test_nan_keys_count_as_the_least(method, rng):
    q, k = random(rng, 2, 1, 1024, 1024, 16)
    bad = k.copy()
    bad[0, 300] = np.nan
    bad[0, 400, 3] = np.inf
    t = tamis.sparse_select(q, bad, method, **METHODS[method]).tiles
    assert t.n_rows > 0 and (np.diff(t.row_ptr) > 0).all()
    if method in ("dhsa_topk", "block"):  # tile 4 is nobody's choice; block 2 holds it
        blocks = t.n_rows // t.heads
        for r in range(t.n_rows):
            if r % blocks >= 5:
                assert 4 not in t.index[t.row_ptr[r] : t.row_ptr[r + 1]]


@pytest.mark.parametrize("method", METHODS)
def test_all_nan_and_huge_values_are_no_trap(method, rng):
    q, k = random(rng, 2, 1, 600, 600, 16)
    for factor in (np.nan, np.inf, 1e4, 1e30):
        for a, b in ((q * np.float32(factor), k), (q, k * np.float32(factor))):
            t = tamis.sparse_select(a, b, method, **METHODS[method]).tiles
            assert (np.diff(t.row_ptr) > 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 127, 128, 129, 300])
def test_short_prompts(method, n, rng):
    q, k = random(rng, 2, 1, n, n, 8)
    v = rng.standard_normal(k.shape, np.float32)
    out, mask = tamis.sparse_prefill(q, k, v, method, dense_below=0, return_mask=True, pv_threshold=0, **METHODS[method])
    assert np.abs(out - masked_attention(q, k, v, keys_of(mask, 2, n))).max() < 2e-5


def test_soft_cap_scale_and_bias_reach_both_stages(rng):
    q, k = random(rng, 2, 2, 512, 512, 16)
    v = rng.standard_normal(k.shape, np.float32)
    rule = {"softcap": 5.0, "scale": 0.3, "window": 300}
    bias = np.array([0.5, -2], np.float32)
    out, mask = tamis.sparse_prefill(
        q, k, v, "dhsa_vs", density=0.3, dense_below=0, return_mask=True, key0_bias=bias, **rule)
    assert np.array_equal(mask.tiles.index, tamis.sparse_select(q, k, "dhsa_vs", density=0.3, **rule).tiles.index)
    assert np.array_equal(out, tamis.sparse_attention(q, k, v, mask, key0_bias=bias, **rule))


def test_short_prompts_take_the_dense_path(rng):
    q, k = random(rng, 2, 1, 300, 300, 16)
    v = rng.standard_normal(k.shape, np.float32)
    stats = tamis.SparseStats()
    out, lse, mask = tamis.sparse_prefill(q, k, v, stats=stats, return_lse=True, return_mask=True)
    dense, dense_lse = tamis.attention(q, k, v, return_lse=True)
    assert mask is None and np.array_equal(out, dense) and np.array_equal(lse, dense_lse)
    assert (stats.calls_dense, stats.calls_sparse, stats.select_ns) == (1, 0, 0) and stats.attend_ns > 0
    assert stats.tiles_listed == stats.tiles_legal == 2 * sum(len(Rows(300, 300, 128, 64).available(b)) for b in range(3))
    assert stats.pairs_attended == stats.pairs_legal == 2 * 300 * 301 // 2 and stats.density == 1
    assert tamis.sparse_prefill(q, k, v, dense_below=300, return_mask=True)[1] is not None
    assert tamis.sparse_prefill(q, k, v, dense_below=301, return_mask=True)[1] is None


def test_stats_add_up(rng):
    q, k = random(rng, 4, 2, 1000, 1000, 16)
    v = rng.standard_normal(k.shape, np.float32)
    stats = tamis.SparseStats()
    for _ in range(2):
        _, mask = tamis.sparse_prefill(q, k, v, density=0.25, dense_below=0, stats=stats, return_mask=True)
    seen = keys_of(mask, 4, 1000)[:, :1000] & (np.arange(1000) <= np.arange(1000)[:, None])
    assert (stats.calls_sparse, stats.calls_dense) == (2, 0)
    assert stats.tiles_listed == 2 * mask.tiles.index.size
    assert stats.tiles_legal == 2 * 4 * sum(len(Rows(1000, 1000, 128, 64).available(b)) for b in range(8))
    assert stats.pairs_attended == 2 * seen.sum() and stats.pairs_legal == 2 * 4 * 1000 * 1001 // 2
    assert stats.select_ns > 0 and stats.attend_ns > 0 and 0 < stats.density < 1


def test_a_mask_serves_another_layer(rng):
    q, k = random(rng, 4, 2, 600, 600, 16)
    mask = tamis.sparse_select(q, k, "xattention", coverage=0.5)
    q2, k2 = random(rng, 4, 2, 600, 600, 16)
    v2 = rng.standard_normal(k2.shape, np.float32)
    out = tamis.sparse_attention(q2, k2, v2, mask)
    assert np.abs(out - masked_attention(q2, k2, v2, keys_of(mask, 4, 600))).max() < 2e-5


def test_options_as_an_object(rng):
    q, k = random(rng, 2, 1, 700, 700, 16)
    options = tamis.SparseOptions("dhsa_topk", density=0.25, key_block=32)
    a, b = tamis.sparse_select(q, k, options).tiles, tamis.sparse_select(q, k, density=0.25, key_block=32).tiles
    assert np.array_equal(a.index, b.index)
    c, d = tamis.sparse_select(q, k, options, density=0.5).tiles, tamis.sparse_select(q, k, density=0.5, key_block=32).tiles
    assert np.array_equal(c.index, d.index) and c.index.size > a.index.size


def test_progress_and_cancelling(rng):
    q, k = random(rng, 2, 1, 500, 500, 16)
    v = rng.standard_normal(k.shape, np.float32)
    for method in METHODS:
        done = []
        tamis.sparse_prefill(q, k, v, method, dense_below=0, progress=lambda x, done=done: done.append(x), **METHODS[method])
        assert done == sorted(done) and all(0 <= x <= 1 for x in done)
    with pytest.raises(tamis.CancelledError):
        tamis.sparse_select(q, k, progress=lambda x: False)


def test_attention_of_an_oracle_row(rng):
    """One row in full by the attention oracle, so that both sides of the other tests cannot be wrong alike."""
    q, k = random(rng, 2, 1, 400, 400, 16)
    v = rng.standard_normal(k.shape, np.float32)
    out, mask = tamis.sparse_prefill(q, k, v, "dhsa_topk", density=0.3, dense_below=0, return_mask=True)
    seen = keys_of(mask, 2, 400)
    for h, i in ((0, 399), (1, 200)):
        keys = np.nonzero(seen[h, i, : i + 1])[0]
        wanted, _ = oracle.attention(q[h : h + 1, i : i + 1], k[:, keys], v[:, keys], causal=False)
        assert np.abs(out[h, i] - wanted[0, 0]).max() < 2e-5


# --------------------------------------------------------------------------------------------------------- bad input

BAD = [
    ({"method": "fast"}, "method is 'fast'"),
    ({"query_block": 12}, "query_block is 12"), ({"query_block": -32}, "query_block is -32"),
    ({"query_block": 8192}, "query_block"),
    ({"key_block": 12}, "key_block is 12"), ({"key_block": -8}, "key_block is -8"), ({"key_block": 0}, "key_block is 0"),
    ({"density": 1.5}, "density is 1.5"), ({"density": -0.1}, "density is -0.1"), ({"density": np.nan}, "density is nan"),
    ({"density": 0}, "density is 0"), ({"score": "max"}, "score is 'max'"),
    ({"row_min": 0.5}, "row_max is 0"), ({"row_min": 1.5, "row_max": 2}, "row_min is 1.5"),
    ({"row_min": 0.5, "row_max": 0.9}, "row_max is 0.9"), ({"row_min": 0.5, "row_max": np.inf}, "row_max is inf"),
    ({"row_min": -1, "row_max": 2}, "row_min is -1"),
    ({"method": "dhsa_vs", "vertical_ratio": 1.5}, "vertical_ratio is 1.5"),
    ({"method": "dhsa_vs", "sampled_rows": 129}, "sampled_rows is 129"),
    ({"method": "dhsa_vs", "sampled_rows": -1}, "sampled_rows"),
    ({"method": "dhsa_vsb", "density": 2}, "density is 2"), ({"method": "compat_dhsa_topk", "density": 2}, "density is 2"),
    ({"method": "compat_dhsa_vsb", "query_block": 1}, "query_block is 1"),
    ({"method": "block", "budget": -2}, "budget is -2"), ({"method": "block", "density": 3}, "density is 3"),
    ({"method": "a_shape", "sinks": -5}, "sinks is -5"), ({"method": "a_shape", "local": -1}, "local is -1"),
    ({"method": "vertical_slash", "vertical": -3}, "vertical is -3"),
    ({"method": "vertical_slash", "slash": -3}, "slash is -3"),
    ({"method": "vertical_slash", "sampled_rows": 5000}, "sampled_rows is 5000"),
    ({"method": "block_topk", "max_blocks": -1}, "max_blocks is -1"),
    ({"method": "minference", "patterns": [("a_shape", 1, 1)]}, "patterns has 1"),
    ({"method": "minference", "patterns": [("xattention", 1, 1)] * 2}, r"patterns\[0\]"),
    ({"method": "minference", "patterns": [("a_shape", 1, 1), ("a_shape", -1, 1)]}, r"patterns\[1\]"),
    ({"method": "minference", "patterns": [("a_shape", 1)] * 2}, r"patterns\[0\]"),
    ({"method": "minference", "patterns": [("vertical_slash", 0, 10)] * 2}, r"patterns\[0\]"),
    ({"method": "flexprefill", "coverage": 1.1}, "coverage is 1.1"),
    ({"method": "flexprefill", "similarity": 1.1}, "similarity is 1.1"),
    ({"method": "flexprefill", "similarity": -0.5}, "similarity is -0.5"), ({"similarity": -3}, "similarity is -3"),
    ({"method": "flexprefill", "min_budget": -1}, "min_budget is -1"),
    ({"method": "flexprefill", "max_budget": 100}, "max_budget is 100"),
    ({"method": "flexprefill", "max_budget": -9}, "max_budget is -9"),
    ({"method": "xattention", "stride": 7}, "stride is 7"), ({"method": "xattention", "stride": -8}, "stride is -8"),
    ({"method": "xattention", "stride": 256}, "stride is 256"), ({"method": "xattention", "coverage": -1}, "coverage is -1"),
    ({"method": "xattention", "head_coverage": [0.5]}, "head_coverage"),
    ({"method": "xattention", "head_coverage": [0.5, 1.5]}, r"head_coverage\[1\] is 1.5"),
    ({"method": "sparge", "head_coverage": [-0.5, 0.5]}, r"head_coverage\[0\] is -0.5"),
    ({"method": "sparge", "top_share": 1.5}, "top_share is 1.5"),
    ({"method": "sparge", "similarity": 1.5}, "similarity is 1.5"),
    ({"method": "sparge", "coverage": 1.5}, "coverage is 1.5"), ({"method": "sparge", "sinks": 5}, "sinks is 5"),
    ({"method": "dhsa", "budget": -2}, "budget is -2"), ({"method": "dhsa", "granularity": "words"}, "granularity is 'words'"),
    ({"method": "dhsa", "pooling": "max"}, "pooling is 'max'"),
    ({"method": "dhsa", "instruction_tokens": -2}, "instruction_tokens is -2"),
    ({"method": "dhsa", "boundaries": [0, 10]}, "boundaries"), ({"method": "dhsa", "boundaries": [0.5]}, "boundaries"),
    ({"method": "dhsa", "boundaries": [0]}, "boundaries"), ({"method": "dhsa", "predictor": "file"}, "predictor is 'file'"),
    ({"speed": 9}, "speed is no option"), ({"window": -1}, "window is -1"), ({"scale": np.nan}, "scale is nan"),
    ({"softcap": -1}, "softcap is -1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_options_are_named(arguments, message, rng):
    q, k = random(rng, 2, 1, 300, 300, 16)
    with pytest.raises(tamis.InvalidArgumentError, match=message):
        tamis.sparse_select(q, k, **arguments)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"pv_threshold": -2}, "pv_threshold is -2"), ({"pv_threshold": np.nan}, "pv_threshold is nan"),
    ({"dense_below": -2}, "dense_below is -2"), ({"stats": 3}, "stats is 3"),
])
def test_bad_options_of_prefill_are_named(arguments, message, rng):
    q, k = random(rng, 2, 1, 300, 300, 16)
    with pytest.raises(tamis.InvalidArgumentError, match=message):
        tamis.sparse_prefill(q, k, k, **arguments)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("xattention", "sparge")])
def test_causal_methods_say_so(method, rng):
    q, k = random(rng, 2, 1, 300, 300, 16)
    with pytest.raises(tamis.UnsupportedError, match="causal is 0"):
        tamis.sparse_select(q, k, method, causal=False, **METHODS[method])


def test_bad_tensors_are_named(rng):
    q, k = random(rng, 2, 1, 300, 300, 16)
    for a, b, message in (
        (q[0], k, "q->ndim"), (q, k[None], "k->ndim"), (q, k[:, :, :8], "k->shape"), (q[:1], np.concatenate([k, k]), "heads"),
    ):
        with pytest.raises(tamis.InvalidArgumentError, match=message):
            tamis.sparse_select(a, b)
    with pytest.raises(tamis.UnsupportedError, match="head_dim"):
        tamis.sparse_select(q[:, :, :12].copy(), k[:, :, :12].copy())
    with pytest.raises(tamis.InvalidArgumentError, match="out"):
        tamis.sparse_prefill(q, k, k, out=q)
