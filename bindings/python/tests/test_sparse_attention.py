"""Attention over tile lists, masks and their counts, against loops in float64."""

import gc

import numpy as np
import pytest
from conftest import TOLERANCE, plain, stored

import tamis


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def sparse(q, k, v, listed, *, causal=True, q_offset=None, window=0, scale=None, softcap=0.0, key0_bias=None):
    """q [H, Lq, d], k and v [G, Lk, d], listed [H, Lq, Lk] bool -> o, lse, and the mask of what each query attends."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    heads, lq, d = q.shape
    group, lk = heads // k.shape[0], k.shape[1]
    offset = lk - lq if q_offset is None else q_offset
    scale = d**-0.5 if scale is None else scale
    o, lse, seen = np.zeros((heads, lq, d)), np.full((heads, lq), -np.inf), np.zeros((heads, lq, lk), bool)
    for h in range(heads):
        for i in range(lq):
            keys = [
                j for j in range(lk)
                if listed[h, i, j] and (not causal or j <= offset + i) and (not window or j > offset + i - window)]
            seen[h, i, keys] = True
            if not keys:
                continue
            z = scale * (k[h // group, keys] @ q[h, i])
            if softcap:
                z = softcap * np.tanh(z / softcap)
            if key0_bias is not None and keys[0] == 0:
                z[0] += key0_bias[h]
            p = np.exp(z - z.max())
            o[h, i] = p @ v[h // group, keys] / p.sum()
            lse[h, i] = z.max() + np.log(p.sum())
    return o, lse, seen


def random_tiles(rng, heads, lq, lk, query_block, key_block, density=0.4):
    """Lists, one of them empty and one full, and what they list as [heads, lq, lk]."""
    blocks, tiles = -(-lq // query_block), -(-lk // key_block)
    chosen = rng.random((heads, blocks, tiles)) < density
    chosen[0, 0] = False
    chosen[-1, -1] = True
    rows = [np.flatnonzero(row) for row in chosen.reshape(-1, tiles)]
    lists = tamis.TileLists(
        np.cumsum([0] + [len(r) for r in rows]), np.concatenate(rows).astype(np.int32), heads, query_block, key_block)
    listed = np.zeros((heads, lq, lk), bool)
    for h in range(heads):
        for i in range(lq):
            for j in range(lk):
                listed[h, i, j] = chosen[h, i // query_block, j // key_block]
    return lists, listed


def check(ctx, rng, heads, kv_heads, lq, lk, d, list_heads, query_block=32, key_block=16, tolerance=2e-5, **options):
    q, k, v = normal(rng, heads, lq, d), normal(rng, kv_heads, lk, d), normal(rng, kv_heads, lk, d)
    tiles, listed = random_tiles(rng, list_heads, lq, lk, query_block, key_block)
    listed = np.repeat(listed, heads // list_heads, axis=0)
    out, lse = tamis.sparse_attention(q, k, v, tiles, return_lse=True, ctx=ctx, **options)
    o, l, seen = sparse(q, k, v, listed, **options)
    np.testing.assert_allclose(out, o, atol=tolerance, rtol=0)
    np.testing.assert_allclose(lse, l, atol=tolerance, rtol=1e-6)
    assert (out[~seen.any(-1)] == 0).all()
    counts = {name: options[name] for name in ("causal", "q_offset", "window") if name in options}
    stats = tamis.SparseMask(tiles, lq, lk).stats(heads, **counts)
    _, _, legal = sparse(q, k, v, np.ones_like(listed), **options)
    blocks, n_tiles = -(-lq // query_block), -(-lk // key_block)
    legal_tiles = sum(
        legal[0, b * query_block : (b + 1) * query_block, t * key_block : (t + 1) * key_block].any()
        for b in range(blocks) for t in range(n_tiles))
    assert stats == tamis.SparseStats(
        tiles_listed=len(tiles.index) * heads // list_heads, tiles_legal=heads * int(legal_tiles),
        pairs_attended=int(seen.sum()), pairs_legal=int(legal.sum()))


@pytest.mark.parametrize("heads, kv_heads, list_heads", [
    (1, 1, 1), (4, 4, 4), (4, 4, 1), (4, 2, 1), (4, 2, 2), (4, 2, 4), (8, 1, 1), (8, 1, 8), (7, 1, 7)])
def test_heads(ctx, rng, heads, kv_heads, list_heads):
    check(ctx, rng, heads, kv_heads, 45, 70, 32, list_heads)


@pytest.mark.parametrize("d", [8, 64, 80, 96, 128, 256])
def test_head_dims(ctx, rng, d):
    check(ctx, rng, 2, 1, 40, 90, d, 2)


@pytest.mark.parametrize("lq, lk", [(1, 1), (2, 2), (1, 100), (63, 63), (64, 64), (65, 65), (20, 129), (90, 30)])
@pytest.mark.parametrize("query_block, key_block", [(1, 1), (16, 64), (33, 7), (128, 128), (1000, 1000), (5, 256)])
def test_lengths_and_blocks(ctx, rng, lq, lk, query_block, key_block):
    check(ctx, rng, 2, 2, lq, lk, 16, 2, query_block, key_block)


@pytest.mark.parametrize("options", [
    {"causal": False}, {"q_offset": 0}, {"q_offset": -7}, {"q_offset": 10**9}, {"q_offset": -(10**9)}, {"window": 1},
    {"window": 9}, {"window": 10**6}, {"window": 9, "causal": False}, {"window": 4, "q_offset": 60}, {"scale": 0.5},
    {"softcap": 3.0}, {"key0_bias": [5.0, 0.0, -5.0, 2.0]}, {"key0_bias": [5.0, 0.0, -5.0, 2.0], "window": 3},
    {"scale": 2.0, "softcap": 20.0, "window": 11, "q_offset": 20, "key0_bias": [1.0, 2.0, 3.0, 4.0]},
], ids=str)
@pytest.mark.parametrize("key_block", [1, 16])
def test_rules(ctx, rng, options, key_block):
    check(ctx, rng, 4, 2, 29, 50, 64, 4, 16, key_block, **options)


@pytest.mark.parametrize("q_type, kv_type, out_type", [
    ("f16", "f16", "f16"), ("bf16", "bf16", "bf16"), ("f32", "bf16", "f32"), ("f32", "f16", "f32"), ("f32", "i8", "f32"),
    ("bf16", "i8", "f16"),
])
@pytest.mark.parametrize("key_block", [1, 32])
def test_dtypes(ctx, rng, q_type, kv_type, out_type, key_block):
    q, q64 = stored(normal(rng, 4, 40, 64), q_type)
    k, k64 = stored(normal(rng, 2, 90, 64), kv_type)
    v, v64 = stored(normal(rng, 2, 90, 64), kv_type)
    tiles, listed = random_tiles(rng, 4, 40, 90, 32, key_block)
    out = tamis.Tensor.empty((4, 40, 64), out_type)
    assert tamis.sparse_attention(q, k, v, tiles, out=out, ctx=ctx) is out
    np.testing.assert_allclose(plain(out), sparse(q64, k64, v64, listed)[0], atol=TOLERANCE[out_type], rtol=0)


@pytest.mark.parametrize("list_heads", [1, 2, 4])
def test_batch(ctx, rng, list_heads):
    q, k, v = normal(rng, 3, 4, 40, 16), normal(rng, 3, 2, 70, 16), normal(rng, 3, 2, 70, 16)
    tiles, listed = random_tiles(rng, 3 * list_heads, 40, 70, 32, 16)
    tiles = tamis.TileLists(tiles.row_ptr, tiles.index, list_heads, 32, 16)
    out, lse = tamis.sparse_attention(q, k, v, tiles, return_lse=True, ctx=ctx)
    mask = tamis.SparseMask(tiles, 40, 70, batch=3)
    np.testing.assert_array_equal(tamis.sparse_attention(q, k, v, mask, ctx=ctx), out)
    attended = 0
    for b in range(3):
        part = np.repeat(listed[b * list_heads : (b + 1) * list_heads], 4 // list_heads, axis=0)
        o, l, seen = sparse(q[b], k[b], v[b], part)
        np.testing.assert_allclose(out[b], o, atol=2e-5, rtol=0)
        np.testing.assert_allclose(lse[b], l, atol=2e-5, rtol=1e-6)
        attended += int(seen.sum())
    assert mask.stats(4).pairs_attended == attended


@pytest.mark.parametrize("lq, lk", [(1, 300), (60, 60), (130, 700)])
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_all_tiles_give_the_bits_of_dense(ctx, rng, lq, lk, dtype):
    q, k, v = (stored(normal(rng, 2, n, 64), dtype)[0] for n in (lq, lk, lk))
    every = tamis.TileLists.from_dense_mask(np.ones((2, lq, lk), bool), 48, 32)
    legal = tamis.TileLists.from_dense_mask(np.tril(np.ones((2, lq, lk), bool), lk - lq), 48, 32)
    dense = tamis.attention(q, k, v, return_lse=True, ctx=ctx)
    for tiles in (every, legal, None):
        for ours, theirs in zip(tamis.sparse_attention(q, k, v, tiles, return_lse=True, ctx=ctx), dense):
            np.testing.assert_array_equal(plain(ours), plain(theirs))


def test_same_bits_for_any_threads(rng):
    q, k, v = normal(rng, 4, 300, 64), normal(rng, 2, 300, 64), normal(rng, 2, 300, 64)
    tiles, _ = random_tiles(rng, 4, 300, 300, 64, 32)
    runs = [tamis.sparse_attention(q, k, v, tiles, ctx=tamis.Context("cpu", threads=n)) for n in (1, 2, 5)]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


def test_attention_over_halves_merges(ctx, rng):
    """Disjoint lists are shards: merged by log-sum-exp they are attention over all keys."""
    q, k, v = normal(rng, 2, 50, 32), normal(rng, 2, 90, 32), normal(rng, 2, 90, 32)
    first = rng.random((2, 4, 6)) < 0.5
    masks = [np.repeat(np.repeat(half, 16, 1)[:, :50], 16, 2)[:, :, :90] for half in (first, ~first)]
    lists = [tamis.TileLists.from_dense_mask(mask, 16, 16) for mask in masks]
    parts = [tamis.sparse_attention(q, k, v, tiles, return_lse=True, ctx=ctx) for tiles in lists]
    out, lse = tamis.merge([p[0] for p in parts], [p[1] for p in parts], ctx=ctx)
    dense, dense_lse = tamis.attention(q, k, v, return_lse=True, ctx=ctx)
    np.testing.assert_allclose(out, dense, atol=2e-5)
    np.testing.assert_allclose(lse, dense_lse, atol=2e-5)


def test_values_outside_the_list_do_not_matter(ctx, rng):
    q, k, v = normal(rng, 1, 40, 16), normal(rng, 1, 64, 16), normal(rng, 1, 64, 16)
    tiles = tamis.TileLists([0, 2], np.array([0, 3], np.int32), 1, 64, 16)
    out = tamis.sparse_attention(q, k, v, tiles, ctx=ctx)
    k[0, 16:48], v[0, 16:48] = np.nan, np.inf
    np.testing.assert_array_equal(tamis.sparse_attention(q, k, v, tiles, ctx=ctx), out)
    v[0, 60] = np.nan
    spoilt = tamis.sparse_attention(q, k, v, tiles, ctx=ctx)[0]
    assert np.isnan(spoilt[36:]).all()
    np.testing.assert_array_equal(spoilt[:36], out[0, :36])


def test_pv_threshold(cpu, rng):
    q, k, v = 3 * normal(rng, 1, 20, 64), normal(rng, 1, 640, 64), normal(rng, 1, 640, 64)
    tiles, listed = random_tiles(rng, 1, 20, 640, 20, 64, 0.7)
    exact, lse = tamis.sparse_attention(q, k, v, tiles, return_lse=True, ctx=cpu)
    skipped, same = tamis.sparse_attention(q, k, v, tiles, pv_threshold=15, return_lse=True, ctx=cpu)
    np.testing.assert_array_equal(lse, same)
    np.testing.assert_allclose(skipped, exact, atol=640 * np.exp(-15.0) * np.abs(v).max())
    # One query: runs of keys without the running maximum are left out.
    one = tamis.TileLists([0, 2], np.array([2, 5], np.int32), 1, 20, 64)
    q1 = np.zeros((1, 20, 64), np.float32)
    q1[0, :, 0] = 1
    k[0, :, 0], k[0, 130, 0] = 0, 80
    rough = tamis.sparse_attention(q1, k, v, one, pv_threshold=1, causal=False, ctx=cpu)
    full, _, _ = sparse(q1, k, v, np.isin(np.arange(640) // 64, [2, 5])[None, None].repeat(20, 1), causal=False)
    weight = np.exp(np.where(np.arange(640) == 130, 10.0, 0.0))
    only = (weight[128:192] @ v[0, 128:192]) / (weight[128:192].sum() + weight[320:384].sum())
    np.testing.assert_allclose(rough[0, 0], only, atol=1e-5)
    assert np.abs(rough - full).max() > 1e-4


# ------------------------------------------------------------------------------------------------- lists and masks


def test_from_and_to_mask(rng):
    mask = rng.random((2, 3, 50, 40)) < 0.02
    lists = tamis.TileLists.from_dense_mask(mask, 16, 8)
    assert (lists.heads, lists.query_block, lists.key_block, lists.n_rows) == (3, 16, 8, 2 * 3 * 4)
    keys = lists.to_mask(40).reshape(2, 3, 4, 40)
    for b in range(2):
        for h in range(3):
            for i in range(4):
                any_query = mask[b, h, i * 16 : (i + 1) * 16].any(0)
                tiles = [any_query[t * 8 : (t + 1) * 8].any() for t in range(5)]
                np.testing.assert_array_equal(keys[b, h, i], np.repeat(tiles, 8))
    tokens = tamis.TileLists.from_dense_mask(mask[0, 0], 1, 1)
    np.testing.assert_array_equal(tokens.to_mask(40), mask[0, 0])
    every = tamis.TileLists.from_dense_mask(np.ones((9, 20), bool), 4, 64)
    np.testing.assert_array_equal(every.to_mask(20), np.ones((3, 20), bool))
    assert tamis.TileLists.from_dense_mask(np.zeros((9, 20), bool), 4, 8).index.size == 0


@pytest.mark.parametrize("mask", [np.ones((3, 4)), np.ones(4, bool), np.ones((2, 0, 4), bool), np.ones((1, 1, 1, 1, 1), bool)])
def test_bad_masks(mask):
    with pytest.raises(tamis.InvalidArgumentError, match="mask is"):
        tamis.TileLists.from_dense_mask(mask, 2, 2)


@pytest.mark.parametrize("change, word", [
    ({"row_ptr": []}, "row_ptr is empty"), ({"row_ptr": [[0, 1]]}, "row_ptr is"), ({"row_ptr": [0.0, 1.0]}, "row_ptr is"),
    ({"row_ptr": [0, 3]}, "index has 1"), ({"index": [[0]]}, "index is"), ({"index": [2**40]}, "index reaches"),
    ({"heads": 0}, "heads is 0"), ({"query_block": -1}, "query_block is -1"), ({"key_block": 0}, "key_block is 0"),
    ({"key_block": 2**31}, "key_block is"), ({"heads": "x"}, "heads is 'x'"),
])
def test_bad_lists(change, word):
    with pytest.raises(tamis.InvalidArgumentError, match=word):
        tamis.TileLists(**{"row_ptr": [0, 1], "index": [0], "heads": 1, "query_block": 4, "key_block": 4} | change)
    with pytest.raises(tamis.InvalidArgumentError, match="k_len is"):
        tamis.TileLists([0, 1], [5], 1, 4, 4).to_mask(20)


def good(**change):
    lists = {"row_ptr": [0, 2, 2, 3], "index": [0, 2, 1], "heads": 1, "query_block": 4, "key_block": 8}
    return tamis.TileLists(**lists | change)


@pytest.mark.parametrize("tiles, word", [
    (good(index=[0, 0, 1]), "tile 1 of row 0 is 0 after 0"), (good(index=[2, 0, 1]), "tile 1 of row 0 is 0 after 2"),
    (good(index=[0, 3, 1]), "tile 1 of row 0 is 3; expected 0 to 2"), (good(index=[-1, 2, 1]), "tile 0 of row 0 is -1"),
    (good(index=[0, 2, 3]), "tile 0 of row 2 is 3"), (good(row_ptr=[1, 2, 2, 3]), r"row_ptr\[0\] is 1"),
    (good(row_ptr=[0, 2, 1, 3]), r"row_ptr\[2\] is 1 after 2"), (good(row_ptr=[0, -5, 2, 3]), r"row_ptr\[1\] is -5"),
    (good(index=[0, 1, 2, 3], row_ptr=[0, 4, 4, 4]), r"row_ptr\[1\] is 4 after 0"), (good(row_ptr=[0, 3]), "n_rows is 1"),
    (good(heads=3), "heads is 3; expected 1, 2"), (good(query_block=5), "n_rows is 3"), (good(heads=2), "n_rows is 3"),
])
def test_lists_that_are_refused(ctx, rng, tiles, word):
    q, k = normal(rng, 4, 10, 8), normal(rng, 2, 20, 8)
    out = np.full_like(q, 7)
    with pytest.raises(tamis.InvalidArgumentError, match=word):
        tamis.sparse_attention(q, k, k, tiles, out=out, ctx=ctx)
    assert (out == 7).all()
    tamis.sparse_attention(q, k, k, good(), out=out, ctx=ctx)
    if "expected 1, 2" not in word:
        with pytest.raises(tamis.InvalidArgumentError, match=word):
            tamis.SparseMask(tiles, 10, 20)


def test_other_arguments_that_are_refused(cpu, rng):
    q, k = normal(rng, 4, 10, 8), normal(rng, 2, 20, 8)
    for word, change in [
        ("pv_threshold is", {"pv_threshold": -1.0}), ("pv_threshold is", {"pv_threshold": float("nan")}),
        ("pv_threshold is", {"pv_threshold": "x"}), ("window is -1", {"window": -1}), ("tiles is", {"tiles": [0, 1]}),
        ("key0_bias has", {"key0_bias": [1.0]}),
    ]:
        arguments = {"tiles": good(), "ctx": cpu} | change
        with pytest.raises(tamis.InvalidArgumentError, match=word):
            tamis.sparse_attention(q, k, k, **arguments)
    with pytest.raises(tamis.UnsupportedError, match="head_dim"):
        tamis.sparse_attention(q[..., :4], k[..., :4].copy(), k[..., :4].copy(), good(), ctx=cpu)


def test_mask_owns_its_lists():
    lists = good()
    mask = tamis.SparseMask(lists, 10, 20)
    assert repr(mask) == "tamis.SparseMask(3 rows, 3 tiles of 4 x 8, 1 heads)" and mask.boundaries is None
    back = mask.tiles
    del mask
    gc.collect()  # the arrays keep the memory alive
    for name in ("row_ptr", "index"):
        np.testing.assert_array_equal(getattr(back, name), getattr(lists, name))
        assert not getattr(back, name).flags.writeable
    assert (back.heads, back.query_block, back.key_block) == (1, 4, 8)
    mask = tamis.SparseMask(lists, 10, 20)
    for word, change in [("batch is 0", {"batch": 0}), ("q_len is 0", {"q_len": 0}), ("k_len is -1", {"k_len": -1})]:
        with pytest.raises(tamis.InvalidArgumentError, match=word):
            tamis.SparseMask(lists, **{"q_len": 10, "k_len": 20} | change)
    with pytest.raises(tamis.InvalidArgumentError, match="q_heads is 0"):
        mask.stats(0)
    two = tamis.SparseMask(tamis.TileLists([0, 0, 0], [], 2, 16, 8), 10, 20)
    with pytest.raises(tamis.InvalidArgumentError, match="q_heads is 3; expected a multiple of the 2"):
        two.stats(3)
    mask.close()
    assert repr(mask) == "tamis.SparseMask(closed)"
    with pytest.raises(ValueError, match="closed"):
        mask.tiles
    mask.close()


def test_torch(cpu, rng):
    torch = pytest.importorskip("torch")
    q, k, v = (torch.from_numpy(normal(rng, 2, 30, 32)).to(torch.bfloat16) for _ in range(3))
    tiles, listed = random_tiles(rng, 2, 30, 30, 16, 8)
    out = tamis.sparse_attention(q, k, v, tiles, ctx=cpu)
    assert out.dtype == torch.bfloat16
    theirs = sparse(q.float().numpy(), k.float().numpy(), v.float().numpy(), listed)[0]
    np.testing.assert_allclose(out.float().numpy(), theirs, atol=2e-2)
