"""StreamingLLM and TokenSelect against the papers' formulas in float64."""

import numpy as np
import oracle
import pytest
from conftest import TOLERANCE, plain

import tamis

ROPE = tamis.RoPE()


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def filled(ctx, rng, n, *, kv_heads=2, head_dim=32, dtype="f32", rope=ROPE, scoring_copy=None, spread=1.0):
    """A cache with one sequence of n tokens, and the keys and values it holds."""
    cache = tamis.KVCache(kv_heads=kv_heads, head_dim=head_dim, dtype=dtype, page_tokens=16, max_tokens=2 * n + 64, rope=rope,
                          scoring_copy=scoring_copy, ctx=ctx)
    s = cache.sequence()
    s.append(spread * normal(rng, kv_heads, n, head_dim), normal(rng, kv_heads, n, head_dim))
    return cache, s, *s.read()


def assert_selected(tokens, votes, *, n, n_sink, n_recent, k):
    """`tokens` is sinks ++ k best ++ recent. Votes are f64; a pair closer than rounding may swap."""
    assert tokens.dtype == np.int32
    assert (np.diff(tokens) > 0).all()
    assert len(tokens) == n_sink + k + n_recent
    np.testing.assert_array_equal(tokens[:n_sink], np.arange(n_sink))
    np.testing.assert_array_equal(tokens[n_sink + k :], np.arange(n - n_recent, n))
    middle = tokens[n_sink : n_sink + k] - n_sink
    chosen = np.zeros(len(votes), bool)
    chosen[middle] = True
    if k and not chosen.all():
        worst, best = votes[chosen].min(), votes[~chosen].max()
        assert worst >= best - 1e-4 * abs(best) - 1e-9, (worst, best)


SHAPES = [(2, 2, 32), (4, 2, 32), (8, 1, 64), (6, 2, 128)]


@pytest.mark.parametrize("q_heads, kv_heads, d", SHAPES)
@pytest.mark.parametrize("c", [1, 7])
@pytest.mark.parametrize("rope", [ROPE, None, tamis.RoPE("interleaved", 16, 5e5)], ids=str)
def test_tokenselect(ctx, rng, q_heads, kv_heads, d, c, rope):
    n, k, n_sink, n_recent = 203, 40, 5, 16
    cache, s, keys, values = filled(ctx, rng, n, kv_heads=kv_heads, head_dim=d, rope=rope)
    selector = tamis.Selector(cache, tamis.TokenSelect(k, n_sink, n_recent, chunk=16), q_heads=q_heads)
    q = normal(rng, q_heads, c, d)
    expected = oracle.votes(q, keys[:, n_sink : n - n_recent], n_recent=n_recent, rule=rope)
    tokens, votes = selector.retrieve(s, q, return_votes=True)
    assert_selected(tokens, expected, n=n, n_sink=n_sink, n_recent=n_recent, k=k)
    assert votes.shape == (n,)
    np.testing.assert_allclose(votes[n_sink : n - n_recent], expected, atol=2e-5)
    assert np.isnan(votes[:n_sink]).all() and np.isnan(votes[n - n_recent :]).all()
    assert votes[n_sink : n - n_recent].sum() == pytest.approx(q_heads, rel=1e-4)
    np.testing.assert_array_equal(selector.retrieve(s, q), tokens)
    out, lse = selector.attend(s, q, return_lse=True)
    theirs, their_lse = oracle.attend_list(q, keys, values, tokens, rule=rope)
    np.testing.assert_allclose(out, theirs, atol=3e-5)
    np.testing.assert_allclose(lse, their_lse, atol=3e-5)


@pytest.mark.parametrize("dtype", ["f16", "bf16", "i8"])
@pytest.mark.parametrize("c", [1, 5])
def test_dtypes_of_the_cache(ctx, rng, dtype, c):
    cache, s, keys, values = filled(ctx, rng, 150, dtype=dtype)
    selector = tamis.Selector(cache, tamis.TokenSelect(30, 4, 16, chunk=16), q_heads=4)
    q = normal(rng, 4, c, 32)
    tokens, votes = selector.retrieve(s, q, return_votes=True)
    expected = oracle.votes(q, keys[:, 4:134], n_recent=16, rule=ROPE)
    np.testing.assert_allclose(votes[4:134], expected, atol=0.02)
    theirs = oracle.attend_list(q, keys, values, tokens, rule=ROPE)[0]
    np.testing.assert_allclose(selector.attend(s, q), theirs, atol=TOLERANCE["bf16"])


def test_out_dtypes(ctx, rng):
    cache, s, keys, values = filled(ctx, rng, 150)
    selector = tamis.Selector(cache, tamis.TokenSelect(30, 4, 16, chunk=16), q_heads=4)
    q = normal(rng, 4, 1, 32)
    expected = selector.attend(s, q)
    for dtype in ("f16", "bf16"):
        out = tamis.Tensor.empty(q.shape, dtype)
        assert selector.attend(s, q, out=out) is out
        np.testing.assert_allclose(plain(out), expected, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("vote", ["topk", "heads"])
@pytest.mark.parametrize("c", [1, 6])
def test_ablations(ctx, rng, vote, c):
    n, k = 180, 25
    cache, s, keys, _ = filled(ctx, rng, n)
    selector = tamis.Selector(cache, tamis.TokenSelect(k, 4, 16, chunk=16, vote=vote), q_heads=4)
    q = normal(rng, 4, c, 32)
    expected = oracle.votes(q, keys[:, 4 : n - 16], n_recent=16, rule=ROPE, vote=vote, top=k)
    tokens, votes = selector.retrieve(s, q, return_votes=True)
    np.testing.assert_allclose(votes[4 : n - 16], expected, atol=1e-4)
    if vote == "heads":  # whole numbers: ties are exact
        np.testing.assert_array_equal(tokens[4 : 4 + k] - 4, oracle.top_k(expected, k))
    else:
        assert_selected(tokens, expected, n=n, n_sink=4, n_recent=16, k=k)


def test_soft_vote_limits_a_loud_head_and_topk_does_not(ctx, rng):
    cache, s, keys, _ = filled(ctx, rng, 200, rope=None)
    q = normal(rng, 2, 1, 32)
    loud = q.copy()
    loud[0] *= 100
    soft = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16), q_heads=2)
    raw = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16, vote="topk"), q_heads=2)
    votes = soft.retrieve(s, loud, return_votes=True)[1][4:184]
    assert votes.max() <= 2 + 1e-5 and votes.sum() == pytest.approx(2, rel=1e-4)
    alone = oracle.top_k(keys[0, 4:184] @ loud[0, 0].astype(np.float64), 20)
    np.testing.assert_array_equal(raw.retrieve(s, loud)[4:24] - 4, alone)


@pytest.mark.parametrize("q_heads, kv_heads, same", [(2, 2, True), (4, 1, True), (4, 2, False), (6, 3, False)])
def test_head_maps(ctx, rng, q_heads, kv_heads, same):
    cache, s, keys, _ = filled(ctx, rng, 150, kv_heads=kv_heads)
    q = normal(rng, q_heads, 3, 32)
    got = {}
    for head_map in ("group", "modulo"):
        selector = tamis.Selector(cache, tamis.TokenSelect(30, 4, 16, chunk=16, head_map=head_map), q_heads=q_heads)
        got[head_map] = selector.retrieve(s, q, return_votes=True)[1][4:134]
        np.testing.assert_allclose(
            got[head_map], oracle.votes(q, keys[:, 4:134], n_recent=16, rule=ROPE, head_map=head_map), atol=2e-5)
    assert (np.abs(got["group"] - got["modulo"]).max() < 1e-5) == same


@pytest.mark.parametrize("pool", [1, 3, 9, 401])
def test_pool(ctx, rng, pool):
    n, k = 170, 30
    cache, s, keys, _ = filled(ctx, rng, n)
    selector = tamis.Selector(cache, tamis.TokenSelect(k, 4, 16, chunk=16, pool=pool), q_heads=4)
    q = normal(rng, 4, 1, 32)
    expected = oracle.votes(q, keys[:, 4 : n - 16], n_recent=16, rule=ROPE, pool=pool)
    tokens, votes = selector.retrieve(s, q, return_votes=True)
    np.testing.assert_allclose(votes[4 : n - 16], expected, atol=2e-5)
    # Plateaus tie exactly, in f32 too: the lower index wins.
    np.testing.assert_array_equal(tokens[4 : 4 + k] - 4, oracle.top_k(votes[4 : n - 16], k))


def test_needle(ctx, rng):
    for place in (4, 77, 133):
        cache, s, keys, _ = filled(ctx, rng, 150, rope=None)
        q = normal(rng, 4, 1, 32)
        keys[:, place] = 3 * q.reshape(2, 2, 32).mean(1)
        s2 = cache.sequence()
        s2.append(keys, keys)
        tokens = tamis.Selector(cache, tamis.TokenSelect(1, 4, 16, chunk=16), q_heads=4).retrieve(s2, q)
        assert tokens[4] == place


def test_budget_zero(ctx, rng):
    cache, s, keys, values = filled(ctx, rng, 100)
    q = normal(rng, 4, 1, 32)
    none = tamis.Selector(cache, tamis.TokenSelect(0, 0, 16, chunk=16), q_heads=4)
    np.testing.assert_array_equal(none.retrieve(s, q), np.arange(84, 100))
    np.testing.assert_allclose(
        none.attend(s, q), oracle.attend_list(q, keys, values, np.arange(84, 100), rule=ROPE)[0], atol=3e-5)


# ------------------------------------------------------------------------------------------------- dense, limits


@pytest.mark.parametrize("c", [1, 9])
def test_up_to_the_budget_it_is_dense_bit_for_bit(ctx, rng, c):
    for n, dense in [(60, True), (61, False)]:
        cache, s, keys, values = filled(ctx, rng, n)
        q = normal(rng, 4, c, 32)
        selector = tamis.Selector(cache, tamis.TokenSelect(40, 4, 16, chunk=16), q_heads=4)
        out = selector.attend(s, q)
        exact = tamis.Selector(cache, tamis.DenseAttention(), q_heads=4).attend(s, q)
        theirs = oracle.attend_list(q, keys, values, np.arange(n), rule=ROPE, positions="natural")[0]
        np.testing.assert_allclose(exact, theirs, atol=3e-5)
        assert (out == exact).all() == dense
        assert (selector.stats.chunks_dense, selector.stats.selections) == ((1, 0) if dense else (0, 1))
        assert len(selector.retrieve(s, q)) == 60


@pytest.mark.parametrize("c", [1, 8, 50])
def test_dense_over_a_cache(ctx, rng, c):
    cache, s, keys, values = filled(ctx, rng, 50)
    q = normal(rng, 4, c, 32)
    out, lse = tamis.Selector(cache, tamis.DenseAttention(), q_heads=4).attend(s, q, return_lse=True)
    theirs, their_lse = oracle.attend_list(q, keys, values, np.arange(50), rule=ROPE, positions="natural")
    np.testing.assert_allclose(out, theirs, atol=3e-5)
    np.testing.assert_allclose(lse, their_lse, atol=3e-5)


@pytest.mark.parametrize("options", [{"scale": 0.3}, {"softcap": 4.0}, {"key0_bias": [3.0, -3.0, 0.0, 10.0]}], ids=str)
@pytest.mark.parametrize("method", [tamis.DenseAttention, tamis.StreamingLLM, tamis.TokenSelect])
def test_attention_options_reach_every_method(ctx, rng, method, options):
    cache, s, keys, values = filled(ctx, rng, 120)
    budget = {} if method is tamis.DenseAttention else {"n_sink": 3, "n_recent": 16, "chunk": 16}
    if method is tamis.TokenSelect:
        budget["top_k"] = 20
    selector = tamis.Selector(cache, method(**budget, **options), q_heads=4)
    q = normal(rng, 4, 3, 32)
    tokens = selector.retrieve(s, q)
    theirs = oracle.attend_list(q, keys, values, tokens, rule=ROPE, **options)[0]
    np.testing.assert_allclose(selector.attend(s, q), theirs, atol=3e-5)


def test_dense_window(ctx, rng):
    cache, s, keys, values = filled(ctx, rng, 90, rope=None)
    q = normal(rng, 4, 7, 32)
    out = tamis.Selector(cache, tamis.DenseAttention(window=20), q_heads=4).attend(s, q)
    np.testing.assert_allclose(out, oracle.attention(q, keys, values, window=20)[0], atol=3e-5)


@pytest.mark.parametrize("c", [1, 12])
@pytest.mark.parametrize("positions", ["compact", "natural"])
def test_streaming_llm(ctx, rng, c, positions):
    cache, s, keys, values = filled(ctx, rng, 140)
    selector = tamis.Selector(
        cache, tamis.StreamingLLM(n_sink=4, n_recent=24, chunk=16, positions=positions), q_heads=4)
    q = normal(rng, 4, c, 32)
    tokens = np.r_[0:4, 116:140]
    np.testing.assert_array_equal(selector.retrieve(s, q), tokens)
    theirs = oracle.attend_list(q, keys, values, tokens, rule=ROPE, positions=positions)[0]
    np.testing.assert_allclose(selector.attend(s, q), theirs, atol=3e-5)
    assert selector.stats.tokens_scored == 0


def test_natural_positions(ctx, rng):
    cache, s, keys, values = filled(ctx, rng, 140)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16, positions="natural"), q_heads=4)
    q = normal(rng, 4, 3, 32)
    tokens = selector.retrieve(s, q)
    theirs = oracle.attend_list(q, keys, values, tokens, rule=ROPE, positions="natural")[0]
    np.testing.assert_allclose(selector.attend(s, q), theirs, atol=3e-5)


def test_long_runs_are_cut_into_chunks(ctx, rng):
    n, c, chunk = 160, 70, 16
    cache, s, keys, values = filled(ctx, rng, n)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=chunk), q_heads=4)
    q = normal(rng, 4, c, 32)
    out = selector.attend(s, q)
    for a in range(0, c, chunk):
        b = min(c, a + chunk)
        seen = n - c + b
        part = s.fork(seen)
        tokens = selector.retrieve(part, q[:, a:b])
        theirs = oracle.attend_list(q[:, a:b], keys[:, :seen], values[:, :seen], tokens, rule=ROPE)[0]
        np.testing.assert_allclose(out[:, a:b], theirs, atol=3e-5)
        expected = oracle.votes(q[:, a:b], keys[:, 4 : seen - 16], n_recent=16, rule=ROPE)
        assert_selected(tokens, expected, n=seen, n_sink=4, n_recent=16, k=20)
    assert selector.stats.queries == c and selector.stats.selections == 5


def test_prefill_step_by_step_equals_one_call(ctx, rng):
    cache, s, keys, values = filled(ctx, rng, 130)
    q = normal(rng, 4, 130, 32)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16), q_heads=4)
    whole = selector.attend(s, q)
    t = cache.sequence()
    for a in range(0, 130, 16):
        b = min(130, a + 16)
        t.append(keys[:, a:b], values[:, a:b])
        np.testing.assert_array_equal(selector.attend(t, q[:, a:b]), whole[:, a:b])


def test_attend_tokens(ctx, rng):
    cache, s, keys, values = filled(ctx, rng, 100)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16), q_heads=4)
    q = normal(rng, 4, 2, 32)
    tokens = np.array([0, 3, 17, 50, 51, 98, 99])
    theirs, their_lse = oracle.attend_list(q, keys, values, tokens, rule=ROPE)
    out, lse = selector.attend_tokens(s, q, tokens, return_lse=True)
    np.testing.assert_allclose(out, theirs, atol=3e-5)
    np.testing.assert_allclose(lse, their_lse, atol=3e-5)
    natural = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16, positions="natural"), q_heads=4)
    tokens = np.array([2, 40, 98])
    theirs = oracle.attend_list(q, keys, values, tokens, rule=ROPE, positions="natural")[0]
    np.testing.assert_allclose(natural.attend_tokens(s, q, tokens), theirs, atol=3e-5)
    for bad in ([5, 5, 98, 99], [7, 3, 98, 99], [0, 98, 100], [-1, 98, 99], [0, 1], [0.5, 98, 99], [[98, 99]], [0, 2**40]):
        with pytest.raises(ValueError, match="tokens"):
            selector.attend_tokens(s, q, bad)


# ---------------------------------------------------------------------------------------------- selection cache


def direction(angle, heads=4, d=32):
    """Unit queries in one plane: the cosine of two is that of the difference of their angles."""
    q = np.zeros((heads, 1, d), np.float32)
    q[0, 0, 0], q[1, 0, 1] = np.cos(angle), np.sin(angle)
    return q


def hits(selector):
    return selector.stats.selections, selector.stats.cache_hits


def test_selection_cache_drift(ctx, rng):
    """Each query is 0.95-similar to the one before, the third only 0.8 to the first, which made the selection: it is not
    replaced on a hit, so the third misses (arXiv 2411.02886, Algorithm 1)."""
    cache, s, _, _ = filled(ctx, rng, 150, rope=None)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16, similarity=0.9), q_heads=4)
    step = np.arccos(0.95)
    for i, expected in enumerate([(1, 0), (1, 1), (2, 1), (2, 2)]):
        selector.attend(s, direction(i * step))
        assert hits(selector) == expected


def test_selection_cache_keeps_the_tokens_and_moves_the_window(ctx, rng):
    cache, s, keys, values = filled(ctx, rng, 150)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16), q_heads=4)
    q = normal(rng, 4, 1, 32)
    tokens = selector.retrieve(s, q)
    selector.attend(s, q)
    new = normal(rng, 2, 1, 32)
    s.append(new, new)
    before = selector.stats
    out = selector.attend(s, 3 * q)
    after = selector.stats
    assert after.cache_hits == before.cache_hits + 1 and after.tokens_scored == before.tokens_scored
    expected = np.r_[tokens[:24], 135:151]
    keys, values = s.read()
    theirs = oracle.attend_list(3 * q, keys, values, expected, rule=ROPE)[0]
    np.testing.assert_allclose(out, theirs, atol=5e-5)


@pytest.mark.parametrize("similarity, expected", [(None, (3, 0)), (2.0, (3, 0)), (-1.0, (1, 2))])
def test_similarity_bounds(ctx, rng, similarity, expected):
    cache, s, _, _ = filled(ctx, rng, 150)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16, similarity=similarity), q_heads=4)
    q = normal(rng, 4, 1, 32)
    for x in (q, q, -q):
        selector.attend(s, x)
    assert hits(selector) == expected


def test_selection_cache_is_per_sequence_and_layer_and_forgets(ctx, rng):
    cache = tamis.KVCache(layers=2, kv_heads=2, head_dim=32, page_tokens=16, max_tokens=1024, ctx=ctx)
    a, b = cache.sequence(), cache.sequence()
    for s in (a, b):
        for layer in range(2):
            s.append(*normal(rng, 2, 2, 150, 32), layer=layer)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16), q_heads=4)
    q = normal(rng, 4, 1, 32)
    for s in (a, b):
        for layer in range(2):
            selector.attend(s, q, layer)
    assert hits(selector) == (4, 0)
    selector.attend(a, q, 1)
    assert hits(selector) == (4, 1)
    selector.reset(a)
    selector.attend(a, q, 1)
    selector.attend(b, q, 1)
    assert hits(selector) == (5, 2)
    b.truncate(140)
    selector.attend(b, q, 1)
    assert hits(selector) == (6, 2)
    selector.reset()
    selector.attend(a, q, 0)
    assert hits(selector) == (7, 2)


def test_retrieve_neither_reads_nor_writes_the_selection_cache(ctx, rng):
    cache, s, _, _ = filled(ctx, rng, 150, rope=None)
    frozen = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16, similarity=-1.0), q_heads=4)
    afresh = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16, similarity=None), q_heads=4)
    a, b = normal(rng, 4, 1, 32), normal(rng, 4, 1, 32)
    frozen.retrieve(s, b)
    frozen.attend(s, a)
    np.testing.assert_array_equal(frozen.retrieve(s, b), afresh.retrieve(s, b))
    out = frozen.attend(s, b)
    np.testing.assert_allclose(out, afresh.attend_tokens(s, b, afresh.retrieve(s, a)), atol=1e-6)
    assert hits(frozen) == (1, 1)


def test_prefill_does_not_use_the_selection_cache(ctx, rng):
    cache, s, _, _ = filled(ctx, rng, 150)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16), q_heads=4)
    q = normal(rng, 4, 5, 32)
    selector.attend(s, q)
    selector.attend(s, q)
    assert hits(selector) == (2, 0)


def test_stats(ctx, rng):
    cache, s, _, _ = filled(ctx, rng, 150)
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16), q_heads=4)
    selector.attend(s, normal(rng, 4, 1, 32))
    st = selector.stats
    assert (st.queries, st.tokens_attended, st.tokens_scored, st.selections) == (1, 40, 130, 1)
    assert st.kv_bytes_read == 4 * 32 * 2 * (130 + 2 * 40)
    selector.reset_stats()
    assert selector.stats == tamis.Stats(0, 0, 0, 0, 0, 0, 0)


# ------------------------------------------------------------------------------------------------- scoring copy


@pytest.mark.parametrize("copy, least", [("bf16", 0.95), ("i8", 0.9)])
@pytest.mark.parametrize("keys", ["random", "clustered"])
def test_scoring_copy_and_its_effect_on_the_selection(ctx, rng, copy, least, keys, record_property):
    n, k, heads, d = 2000, 256, 2, 64
    kk = normal(rng, heads, n, d)
    if keys == "clustered":
        centres = normal(rng, heads, 8, d)
        kk = centres[:, rng.integers(0, 8, n)] + 0.2 * kk
    vv = normal(rng, heads, n, d)
    q = 0.5 * normal(rng, 4, 1, d)
    chosen, outs = {}, {}
    for scoring in (None, copy):
        cache = tamis.KVCache(kv_heads=heads, head_dim=d, max_tokens=n, scoring_copy=scoring, ctx=ctx)
        s = cache.sequence()
        s.append(kk, vv)
        selector = tamis.Selector(cache, tamis.TokenSelect(k, 16, 64, chunk=64), q_heads=4)
        chosen[scoring], votes = selector.retrieve(s, q, return_votes=True)
        outs[scoring] = selector.attend(s, q)
        theirs = oracle.attend_list(q, kk, vv, chosen[scoring], rule=None)[0]
        np.testing.assert_allclose(outs[scoring], theirs, atol=3e-5)  # attention reads the keys themselves
        assert votes[16 : n - 64].sum() == pytest.approx(4, rel=1e-3)
    middle = [set(c[16 : 16 + k].tolist()) for c in chosen.values()]
    overlap = len(middle[0] & middle[1]) / k
    record_property("overlap", overlap)
    print(f"scoring copy {copy}, {keys} keys: {100 * overlap:.1f} % of the exact selection")
    assert overlap >= least


def test_scoring_copy_follows_fork_and_truncate(ctx, rng):
    cache, s, _, _ = filled(ctx, rng, 150, scoring_copy="i8")
    f = s.fork(90)
    f.append(*normal(rng, 2, 2, 60, 32))
    s.truncate(100)
    s.append(*normal(rng, 2, 2, 50, 32))
    selector = tamis.Selector(cache, tamis.TokenSelect(20, 4, 16, chunk=16), q_heads=4)
    q = normal(rng, 4, 1, 32)
    for x in (s, f):
        votes = selector.retrieve(x, q, return_votes=True)[1][4:134]
        expected = oracle.votes(q, x.read()[0][:, 4:134], n_recent=16, rule=ROPE)
        np.testing.assert_allclose(votes, expected, atol=0.1)


# ---------------------------------------------------------------------------------------------- values and errors


def test_nan_keys_are_not_selected(ctx, rng):
    cache, s, keys, values = filled(ctx, rng, 150, rope=None)
    keys[:, 60:80] = np.nan
    t = cache.sequence()
    t.append(keys, values)
    selector = tamis.Selector(cache, tamis.TokenSelect(40, 4, 16, chunk=16), q_heads=4)
    q = normal(rng, 4, 1, 32)
    tokens = selector.retrieve(t, q)
    assert not set(range(60, 80)) & set(tokens.tolist())
    assert np.isfinite(selector.attend(t, q)).all()


def test_same_bits_for_any_number_of_threads(rng):
    k, v, q = normal(rng, 2, 3000, 64), normal(rng, 2, 3000, 64), normal(rng, 8, 20, 64)
    results = []
    for threads in (1, 2, 3):
        cache = tamis.KVCache(kv_heads=2, head_dim=64, max_tokens=3000, rope=ROPE, ctx=tamis.Context(threads=threads))
        s = cache.sequence()
        s.append(k, v)
        selector = tamis.Selector(cache, tamis.TokenSelect(200, 16, 64, chunk=64), q_heads=8)
        results.append((*selector.retrieve(s, q, return_votes=True), selector.attend(s, q), selector.attend(s, q[:, -1:])))
    for other in results[1:]:
        for x, y in zip(results[0], other):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("match, method", [
    ("n_sink", {"n_sink": -1}), ("n_recent", {"n_recent": 15}), ("top_k", {"top_k": -1}), ("top_k", {"top_k": 2**31}),
    ("chunk", {"chunk": 0}), ("pool", {"pool": 4}), ("pool", {"pool": -3}), ("vote", {"vote": "hard"}),
    ("head_map", {"head_map": "x"}), ("positions", {"positions": "x"}), ("similarity", {"similarity": float("nan")}),
    ("scale", {"scale": float("inf")}), ("softcap", {"softcap": -1.0}), ("key0_bias", {"key0_bias": [1.0]}),
], ids=str)
def test_bad_methods(cpu, rng, match, method):
    cache = tamis.KVCache(kv_heads=2, head_dim=32, ctx=cpu)
    with pytest.raises(ValueError, match=match):
        tamis.Selector(cache, tamis.TokenSelect(**{"n_recent": 16, "chunk": 16, **method}), q_heads=4)


def test_bad_calls(cpu, rng):
    cache, s, _, _ = filled(cpu, rng, 30)
    for heads in (3, 0, -2):
        with pytest.raises(ValueError, match="q_heads"):
            tamis.Selector(cache, q_heads=heads) if heads else tamis.Selector(cache, q_heads=1)
    with pytest.raises(ValueError, match="method"):
        tamis.Selector(cache, "dense")
    selector = tamis.Selector(cache, tamis.TokenSelect(4, 4, 16, chunk=16), q_heads=4)
    good = normal(rng, 4, 1, 32)
    other = tamis.KVCache(kv_heads=2, head_dim=32, ctx=cpu).sequence()
    closed = cache.sequence()
    closed.close()
    for match, call in [
        ("q", lambda: selector.attend(s, normal(rng, 2, 1, 32))),
        ("q", lambda: selector.attend(s, normal(rng, 4, 1, 16))),
        ("q", lambda: selector.attend(s, normal(rng, 4, 31, 32))),
        ("q", lambda: selector.attend(s, normal(rng, 4, 0, 32)[:, :, ::2])),
        ("q", lambda: selector.retrieve(s, normal(rng, 4, 17, 32))),
        ("layer", lambda: selector.attend(s, good, 1)),
        ("out", lambda: selector.attend(s, good, out=normal(rng, 4, 2, 32))),
        ("another cache", lambda: selector.attend(other, good)),
        ("sequence", lambda: selector.attend("x", good)),
        ("sequence", lambda: selector.attend(closed, good)),
    ]:
        with pytest.raises((ValueError, LookupError), match=match):
            call()
    assert selector.attend(s, good).shape == (4, 1, 32)
