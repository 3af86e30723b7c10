"""Which tiles each method lists, against plain loops, on random and planted inputs."""

import numpy as np
import oracle_sparse_dhsa as dhsa
import oracle_sparse_flexprefill as flex
import oracle_sparse_minference as minference
import oracle_sparse_sparge as sparge
import oracle_sparse_xattention as xattention
import pytest
from conftest import stored

import tamis


def random(rng, heads, kv_heads, n, m, d):
    """Keys that drift, queries near some of them: scores that differ."""
    k = rng.standard_normal((kv_heads, m, d)) + 2 * np.repeat(rng.standard_normal((kv_heads, -(-m // 48), d)), 48, 1)[:, :m]
    q = rng.standard_normal((heads, n, d)) + 2 * np.repeat(rng.standard_normal((heads, -(-n // 80), d)), 80, 1)[:, :n]
    return q.astype(np.float32), k.astype(np.float32)


def needle(rng, heads, kv_heads, n, m, d):
    """Keys of one stretch point where all queries do."""
    q, k = random(rng, heads, kv_heads, n, m, d)
    q = np.float32(0.1) * q + 1
    k = np.float32(0.1) * k
    k[:, m // 3 : m // 3 + 70] += 2
    return q, k


def diagonal(rng, heads, kv_heads, n, m, d):
    """Query i resembles keys a fixed distance back."""
    k = np.repeat(rng.standard_normal((1, -(-m // 16), d)), 16, 1)[:, :m].repeat(kv_heads, 0).astype(np.float32)
    q = np.roll(k[:1, m - n :], 96, 1).repeat(heads, 0) * np.float32(2)
    return q + np.float32(0.1) * random(rng, heads, kv_heads, n, m, d)[0], k


def sink(rng, heads, kv_heads, n, m, d):
    """The first keys have it all."""
    q, k = random(rng, heads, kv_heads, n, m, d)
    q = np.float32(0.2) * q + 1
    k[:, :20] += 3
    return q, k


def uniform(rng, heads, kv_heads, n, m, d):
    """All scores are alike: ties go to the lower tile."""
    return np.zeros((heads, n, d), np.float32), random(rng, heads, kv_heads, n, m, d)[1]


INPUTS = {"random": random, "needle": needle, "diagonal": diagonal, "sink": sink, "uniform": uniform}
#: heads, kv_heads, q_len, k_len, head_dim, the mask
SHAPES = {
    "plain": (2, 2, 1000, 1000, 32, {}),
    "gqa": (4, 2, 640, 640, 16, {}),
    "chunk": (2, 1, 200, 900, 24, {}),
    "window": (2, 1, 700, 700, 32, {"window": 300}),
    "offset": (2, 1, 300, 500, 32, {"q_offset": 70}),
    "before": (1, 1, 300, 300, 16, {"q_offset": -150}),
    "one": (2, 1, 1, 700, 16, {}),
}


def same(q, k, method, wanted, k_len, heads, mask_rule, ctx=None, **options):
    mask = tamis.sparse_select(q, k, method, ctx=ctx, **mask_rule, **options)
    t = mask.tiles
    assert t.heads == heads and t.n_rows == len(wanted)
    for r, chosen in enumerate(wanted):
        assert t.index[t.row_ptr[r] : t.row_ptr[r + 1]].tolist() == sorted(chosen), f"row {r} of {len(wanted)}"
    return mask


def case(shape, kind, rng):
    heads, kv_heads, n, m, d, rule = SHAPES[shape]
    q, k = INPUTS[kind](rng, heads, kv_heads, n, m, d)
    return q, k, q.astype(np.float64), k.astype(np.float64), rule


ALL = pytest.mark.parametrize("shape", SHAPES)
KINDS = pytest.mark.parametrize("kind", INPUTS)


@ALL
@KINDS
@pytest.mark.parametrize("score", ["lse8", "mean"])
def test_structured_top_k(shape, kind, score, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    for density, bk in ((0.25, 64), (0.5, 32)):
        wanted = dhsa.topk(q64, k64, density=density, bk=bk, score=score, **rule)
        same(q, k, "dhsa_topk", wanted, k.shape[1], q.shape[0], rule, density=density, key_block=bk, score=score)


@ALL
@KINDS
def test_dhsa_a(shape, kind, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    wanted = dhsa.topk(q64, k64, density=0.3, bq=64, score="mean", whole_band=False, **rule)
    same(q, k, "dhsa_a", wanted, k.shape[1], q.shape[0], rule, density=0.3, query_block=64, score="mean")


@ALL
@KINDS
def test_dhsa_vertical_slash(shape, kind, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    wanted = dhsa.vs(q64, k64, bq=64, bk=32, density=0.2, ratio=0.4, sampled=24, **rule)
    same(
        q, k, "dhsa_vs", wanted, k.shape[1], q.shape[0], rule, query_block=64, key_block=32, density=0.2, vertical_ratio=0.4,
        sampled_rows=24)


@ALL
@KINDS
@pytest.mark.parametrize("literal", [False, True])
def test_dhsa_block_slash(shape, kind, literal, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    wanted = dhsa.vsb(q64, k64, bq=128, bk=32, density=0.3, literal=literal, **rule)
    method = "compat_dhsa_vsb" if literal else "dhsa_vsb"
    same(q, k, method, wanted, k.shape[1], q.shape[0], rule, key_block=32, density=0.3)


@ALL
@KINDS
def test_compat_top_k_takes_later_tiles_too(shape, kind, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    wanted = dhsa.whole_row_topk(q64, k64, density=0.25, **rule)
    same(q, k, "compat_dhsa_topk", wanted, k.shape[1], q.shape[0], rule, density=0.25)


@ALL
@KINDS
def test_block_sparse(shape, kind, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    same(q, k, "block", dhsa.block(q64, k64, budget=300, bk=32, **rule), k.shape[1], 1, rule, budget=300, key_block=32)
    same(q, k, "block", dhsa.block(q64, k64, density=0.2, **rule), k.shape[1], 1, rule, density=0.2)


@ALL
@pytest.mark.parametrize(("sinks", "local"), [(70, 130), (0, 1), (10, 5000)])
def test_a_shape(shape, sinks, local, rng):
    q, k, q64, k64, rule = case(shape, "random", rng)
    wanted = minference.a_shape(q64, k64, bk=32, sinks=sinks, local=local, **rule)
    same(q, k, "a_shape", wanted, k.shape[1], 1, rule, key_block=32, sinks=sinks, local=local)


@ALL
@KINDS
def test_vertical_slash(shape, kind, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    wanted = minference.vertical_slash(q64, k64, vertical=60, slash=130, **rule)
    same(q, k, "vertical_slash", wanted, k.shape[1], q.shape[0], rule, vertical=60, slash=130)


@ALL
@KINDS
def test_block_top_k(shape, kind, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    same(q, k, "block_topk", minference.block_topk(q64, k64, n=5, **rule), k.shape[1], q.shape[0], rule, max_blocks=5)


@ALL
def test_minference_gives_each_head_its_pattern(shape, rng):
    q, k, q64, k64, rule = case(shape, "random", rng)
    heads, m = q.shape[0], k.shape[1]
    lines = minference.vertical_slash(q64, k64, vertical=40, slash=110, **rule)
    tiles = minference.block_topk(q64, k64, n=3, **rule)
    rows = minference.Rows(q.shape[1], m, 64, 1, **rule)
    patterns, wanted = [], []
    for h in range(heads):
        part = slice(h * rows.blocks, (h + 1) * rows.blocks)
        if h % 3 == 0:
            patterns.append(("block_topk", 3))
            chosen = [{t for j in row for t in range(j * 64, min(j * 64 + 64, m))} for row in tiles[part]]
            wanted += [keys & set(np.nonzero(rows.keys(b))[0]) for b, keys in enumerate(chosen)]
        elif h % 3 == 1:
            patterns.append(("vertical_slash", 40, 110))
            wanted += lines[part]
        else:
            patterns.append(("a_shape", 20, 100))
            for b in range(rows.blocks):
                first, last = rows.token_range(b)
                own = range(max(first - 99, 0), last + 1)
                wanted.append((set(range(20)) | set(own)) & set(np.nonzero(rows.keys(b))[0]))
    same(q, k, "minference", wanted, m, heads, rule, patterns=patterns)


@ALL
@KINDS
def test_flexprefill(shape, kind, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    for tau in (0.1, 0.4, 1.0):
        wanted, _ = flex.flexprefill(q64, k64, bq=64, bk=64, gamma=0.7, tau=tau, least=128, sampled=50, **rule)
        same(
            q, k, "flexprefill", wanted, k.shape[1], q.shape[0], rule, query_block=64, key_block=64, coverage=0.7, similarity=tau,
            min_budget=128, sampled_rows=50)


def test_flexprefill_takes_both_patterns(rng):
    """What the comparisons above rest on: heads of both kinds occur, and budgets between the bounds."""
    kinds = set()
    for kind in INPUTS:
        q, k = INPUTS[kind](rng, 2, 2, 1000, 1000, 32)
        _, found = flex.flexprefill(q.astype(float), k.astype(float), bq=64, bk=64, gamma=0.7, tau=0.4, least=128, sampled=50)
        kinds |= set(found)
    assert kinds == {False, True}


@ALL
@KINDS
@pytest.mark.parametrize(("stride", "coverage"), [(8, 0.7), (16, 0.95), (4, 0.3)])
def test_xattention(shape, kind, stride, coverage, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    if kind == "uniform" and shape != "one":
        # Shares of equal tiles meet the coverage up to rounding only.
        coverage += 0.0013
    wanted = xattention.xattention(q64, k64, bq=64, bk=32, stride=stride, coverage=coverage, **rule)
    same(
        q, k, "xattention", wanted, k.shape[1], q.shape[0], rule, query_block=64, key_block=32, stride=stride, coverage=coverage)


def test_xattention_coverage_of_heads(rng):
    q, k, q64, k64, rule = case("gqa", "random", rng)
    shares = [0.0, 0.5, 0.9, 1.0]
    wanted = xattention.xattention(q64, k64, bk=64, coverage=shares)
    same(q, k, "xattention", wanted, k.shape[1], 4, rule, key_block=64, head_coverage=shares)


@pytest.mark.parametrize("method", ["xattention", "sparge"])
def test_without_a_causal_mask(method, rng):
    q, k, q64, k64, _ = case("plain", "random", rng)
    if method == "xattention":
        wanted = xattention.xattention(q64, k64, coverage=0.6, causal=False)
        same(q, k, method, wanted, k.shape[1], 2, {"causal": False}, coverage=0.6)
    else:
        wanted = sparge.sparge(q64, k64, top_share=0.3, threshold=-1, causal=False)
        same(q, k, method, wanted, k.shape[1], 2, {"causal": False}, top_share=0.3, similarity=-1)


@ALL
@pytest.mark.parametrize("kind", ["random", "needle", "diagonal", "sink"])
@pytest.mark.parametrize(
    "options",
    [
        {"top_share": 0.3, "threshold": 0.4}, {"top_share": 0.2, "threshold": 0.1, "smooth": False},
        {"coverage": 0.8, "threshold": 0.3, "first_tile": False}, {"coverage": 0.6},
    ])
def test_sparge(shape, kind, options, rng):
    q, k, q64, k64, rule = case(shape, kind, rng)
    wanted = sparge.sparge(q64, k64, bk=32, **options, **rule)
    names = {"threshold": "similarity", "smooth": "smooth_keys", "first_tile": "sinks"}
    ours = {names.get(name, name): int(value) if name == "first_tile" else value for name, value in options.items()}
    same(q, k, "sparge", wanted, k.shape[1], q.shape[0], rule, key_block=32, **ours)


@ALL
@pytest.mark.parametrize("bq", [8, 24])
def test_small_query_blocks(shape, bq, rng):
    q, k, q64, k64, rule = case(shape, "random", rng)
    heads, m = q.shape[0], k.shape[1]
    wanted = dhsa.topk(q64, k64, density=0.2, bq=bq, bk=8, score="lse8", **rule)
    same(q, k, "dhsa_topk", wanted, m, heads, rule, density=0.2, query_block=bq, key_block=8)
    wanted = dhsa.vs(q64, k64, bq=bq, bk=8, density=0.2, ratio=0.5, sampled=bq, **rule)
    same(q, k, "dhsa_vs", wanted, m, heads, rule, query_block=bq, key_block=8, density=0.2)
    wanted = dhsa.vsb(q64, k64, bq=bq, bk=8, density=0.3, literal=False, **rule)
    same(q, k, "dhsa_vsb", wanted, m, heads, rule, query_block=bq, key_block=8, density=0.3)
    same(q, k, "block", dhsa.block(q64, k64, bq=bq, bk=8, density=0.2, **rule), m, 1, rule, query_block=bq, key_block=8, density=0.2)
    wanted, _ = flex.flexprefill(q64, k64, bq=bq, bk=8, gamma=0.7, tau=0.4, least=64, sampled=50, **rule)
    same(
        q, k, "flexprefill", wanted, m, heads, rule, query_block=bq, key_block=8, coverage=0.7, similarity=0.4, min_budget=64,
        sampled_rows=50)
    wanted = xattention.xattention(q64, k64, bq=bq, bk=8, stride=4, coverage=0.7, **rule)
    same(q, k, "xattention", wanted, m, heads, rule, query_block=bq, key_block=8, stride=4, coverage=0.7)
    wanted = sparge.sparge(q64, k64, bq=bq, bk=8, top_share=0.3, threshold=0.4, **rule)
    same(q, k, "sparge", wanted, m, heads, rule, query_block=bq, key_block=8, top_share=0.3, similarity=0.4)


@ALL
def test_dense_lists_what_is_legal(shape, rng):
    q, k, q64, _, rule = case(shape, "random", rng)
    rows = minference.Rows(q.shape[1], k.shape[1], 128, 64, **rule)
    same(q, k, "dense", [set(rows.available(b)) for b in range(rows.blocks)], k.shape[1], 1, rule)


# ----------------------------------------------------------------------------------------------- dtypes and layouts


METHODS = {
    "dhsa_topk": {"density": 0.25}, "dhsa_a": {"density": 0.25}, "dhsa_vs": {"density": 0.25}, "dhsa_vsb": {"density": 0.25},
    "block": {"density": 0.25}, "a_shape": {"sinks": 64, "local": 200}, "vertical_slash": {"vertical": 60, "slash": 120},
    "block_topk": {"max_blocks": 4}, "minference": {}, "flexprefill": {"min_budget": 128, "coverage": 0.6},
    "xattention": {"coverage": 0.6}, "sparge": {"top_share": 0.3},
}


@pytest.mark.parametrize("dtype", ["f16", "bf16", "i8"])
@pytest.mark.parametrize("method", METHODS)
def test_other_dtypes_select_as_their_values_do(method, dtype, rng):
    q, k = random(rng, 4, 2, 700, 700, 32)
    tq, q64 = stored(q, "f16" if dtype == "i8" else dtype)
    tk, k64 = stored(k, dtype)
    a = tamis.sparse_select(tq, tk, method, **METHODS[method]).tiles
    b = tamis.sparse_select(q64.astype(np.float32), k64.astype(np.float32), method, **METHODS[method]).tiles
    assert np.array_equal(a.row_ptr, b.row_ptr) and np.array_equal(a.index, b.index)


@pytest.mark.parametrize("method", METHODS)
def test_strided_tensors_and_batches(method, rng):
    pair = [random(rng, 4, 2, 500, 500, 16) for _ in range(2)]
    q = np.ascontiguousarray(np.stack([x[0] for x in pair]).transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)  # nothing contiguous
    k = np.ascontiguousarray(np.stack([x[1] for x in pair]).transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)  # rows contiguous
    whole = tamis.sparse_select(q, k, method, **METHODS[method]).tiles
    each = [tamis.sparse_select(*x, method, **METHODS[method]).tiles for x in pair]
    assert np.array_equal(whole.index, np.concatenate([t.index for t in each]))
    assert np.array_equal(np.diff(whole.row_ptr), np.concatenate([np.diff(t.row_ptr) for t in each]))


@pytest.mark.parametrize("method", METHODS)
def test_threads_change_nothing(method, rng):
    q, k = random(rng, 4, 2, 1500, 1500, 32)
    masks = [tamis.sparse_select(q, k, method, ctx=tamis.Context(threads=n), **METHODS[method]).tiles for n in (1, 2, 5)]
    for t in masks[1:]:
        assert np.array_equal(masks[0].index, t.index) and np.array_equal(masks[0].row_ptr, t.row_ptr)


@pytest.mark.parametrize("method", METHODS)
def test_permuted_heads_permute_lists(method, rng):
    q, k = random(rng, 4, 4, 700, 700, 32)
    order = [2, 0, 3, 1]
    a, b = (tamis.sparse_select(x, y, method, **METHODS[method]).tiles for x, y in ((q, k), (q[order], k[order])))
    if a.heads == 1:
        if method == "a_shape":
            assert np.array_equal(a.index, b.index)
        return
    lists = [[a.index[a.row_ptr[r] : a.row_ptr[r + 1]] for r in range(h * a.n_rows // 4, (h + 1) * a.n_rows // 4)] for h in order]
    assert np.array_equal(np.concatenate(sum(lists, [])), b.index)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("block", "a_shape")])
def test_share_group_is_the_union(method, rng):
    q, k = random(rng, 6, 2, 700, 700, 32)
    single = tamis.sparse_select(q, k, method, **METHODS[method]).tiles
    shared = tamis.sparse_select(q, k, method, share_group=True, **METHODS[method]).tiles
    blocks = single.n_rows // 6
    assert shared.heads == 2 and shared.n_rows == 2 * blocks
    rows = [set(single.index[single.row_ptr[r] : single.row_ptr[r + 1]].tolist()) for r in range(single.n_rows)]
    for g in range(2):
        for b in range(blocks):
            r = g * blocks + b
            union = set().union(*(rows[(3 * g + h) * blocks + b] for h in range(3)))
            assert shared.index[shared.row_ptr[r] : shared.row_ptr[r + 1]].tolist() == sorted(union)
