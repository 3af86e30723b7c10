"""Units of a text, Selective Context and SpecPC against loops in numpy."""

import numpy as np
import pytest

import tamis


def pieces(text, spans):
    data = text.encode()
    return [data[a:b].decode() for a, b in spans]


# ------------------------------------------------------------------------------------------------ units of a text


def test_words_and_sentences():
    text = " Dr. Élan came, e.g. late.\nHe left!  一。二？"
    assert pieces(text, tamis.split_text(text)) == text.split()
    assert pieces(text, tamis.split_text(text, "sentence")) == ["Dr. Élan came, e.g. late.", "He left!", "一。", "二？"]
    assert tamis.split_text("").shape == (0, 2)
    # more words than the first guess has room for
    assert len(tamis.split_text("a " * 5000)) == 5000
    assert tamis.split_text(b"a\xff \x00b").tolist() == [[0, 2], [3, 5]]


def test_kept_text():
    text = "one two three\nfour five"
    words = tamis.split_text(text)
    spans = tamis.kept_spans(words, [0, 1, 3])
    assert spans.tolist() == [[0, 7], [14, 18]]
    assert tamis.kept_text(text, spans) == "one two\nfour"
    assert tamis.kept_text(text.encode(), spans) == b"one two\nfour"
    assert tamis.kept_text(text, []) == ""
    assert tamis.kept_text("a\0b c\udc80", [[0, 3], [4, 8]]) == "a\0b c\udc80"


def test_byte_spans():
    text = "aé日😀b"
    assert tamis.byte_spans(text, [(0, 1), (1, 3), (3, 4), (4, 5), (5, 5)]).tolist() == [[0, 1], [1, 6], [6, 10], [10, 11], [11, 11]]
    assert tamis.byte_spans("", []).shape == (0, 2)


def test_bad_spans():
    for match, call in [
        ("unit", lambda: tamis.split_text("a", "line")),
        ("text", lambda: tamis.split_text(5)),
        ("indices", lambda: tamis.kept_spans([[0, 1]], [1])),
        ("indices", lambda: tamis.kept_spans([[0, 1], [1, 2]], [1, 0])),
        ("indices", lambda: tamis.kept_spans([[0, 1]], [2**40])),
        ("indices", lambda: tamis.kept_spans([[0, 1]], [0.5])),
        ("units", lambda: tamis.kept_spans([[0, 3], [1, 2]], [0])),
        ("units", lambda: tamis.kept_spans([0, 1], [0])),
        ("spans", lambda: tamis.kept_text("abc", [[0, 4]])),
        ("spans", lambda: tamis.kept_text("abc", [[0, 2], [1, 3]])),
        ("spans", lambda: tamis.kept_text("abc", [[-1, 2]])),
        ("spans", lambda: tamis.byte_spans("abc", [[0, 4]])),
    ]:
        with pytest.raises(tamis.InvalidArgumentError, match=match):
            call()


# ---------------------------------------------------------------------------------------------- Selective Context


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_self_information(ctx, rng, dtype):
    z = (rng.standard_normal((50, 301)) * 8).astype(dtype)
    ids = rng.integers(0, 301, 50)
    logits = z.astype(np.float64)
    expected = np.log(np.exp(logits).sum(-1)) - logits[np.arange(50), ids]
    np.testing.assert_allclose(tamis.self_information(z, ids, ctx=ctx), expected, rtol=1e-6, atol=1e-5)
    with pytest.raises(tamis.InvalidArgumentError, match="ids"):
        tamis.self_information(z, np.full(50, 301), ctx=ctx)
    with pytest.raises(tamis.InvalidArgumentError, match="logits"):
        tamis.self_information(z, ids[:3], ctx=ctx)


def test_the_threshold_is_numpys(rng):
    for n in (1, 2, 3, 50, 999):
        scores = rng.standard_normal(n).astype(np.float32)
        scores[rng.random(n) < 0.1] = np.nan
        for ratio in (0, 0.1, 0.35, 0.5, 0.99, 1):
            indices, threshold = tamis.keep_informative(scores, ratio)
            if np.isnan(scores).all():
                assert np.isnan(threshold) and len(indices) == n
                continue
            assert threshold == pytest.approx(np.nanpercentile(scores.astype(np.float64), 100 * ratio), rel=1e-12)
            np.testing.assert_array_equal(indices, np.flatnonzero(~(scores < threshold)))


def test_selective_context_levels():
    text = "The cat sat. Quantum flux, obviously."
    tokens = tamis.byte_spans(text, [(0, 3), (3, 7), (7, 11), (11, 12), (12, 20), (20, 25), (25, 26), (26, 30), (30, 36), (36, 37)])
    info = [1, 2, 3, 0.1, 9, 8, 0.2, 2, 2, 0.3]
    sentence = tamis.selective_context(text, tokens, info, level="sentence", reduce_ratio=0.5)
    np.testing.assert_allclose(sentence.scores, [np.mean(info[:4]), np.mean(info[4:])], rtol=1e-6)
    assert sentence.text == "Quantum flux, obviously."
    word = tamis.selective_context(text, tokens, info, reduce_ratio=0.5)
    np.testing.assert_allclose(word.scores, [1, 2, 1.55, 9, 4.1, 4.3 / 3], rtol=1e-6)
    assert word.text == "cat Quantum flux,"
    assert pieces(text, word.spans) == ["cat", "Quantum flux,"]
    token = tamis.selective_context(text, tokens, info, level="token", reduce_ratio=0.7)
    assert pieces(text, token.units[token.indices]) == [" sat", " Quantum", " flux"]
    assert token.text == " sat Quantum flux"
    phrases = tamis.byte_spans(text, [(0, 7), (8, 12), (13, 25), (27, 37)])
    phrase = tamis.selective_context(text, tokens, info, phrases=phrases, reduce_ratio=0.35)
    np.testing.assert_allclose(phrase.scores, [1.5, 1.55, 8.5, 4.3 / 3], rtol=1e-6)
    assert phrase.text == "sat. Quantum flux"
    assert tamis.selective_context(text, tokens, info, reduce_ratio=0).text == text
    empty = tamis.selective_context("", [], [])
    assert empty.text == "" and np.isnan(empty.threshold)


def test_selective_context_bad_input():
    text, tokens = "a b", [[0, 1], [1, 3]]
    for match, call in [
        ("level", lambda: tamis.selective_context(text, tokens, [1, 2], level="words")),
        ("reduce_ratio", lambda: tamis.selective_context(text, tokens, [1, 2], reduce_ratio=float("nan"))),
        ("reduce_ratio", lambda: tamis.selective_context(text, tokens, [1, 2], reduce_ratio=1.5)),
        ("reduce_ratio", lambda: tamis.selective_context(text, tokens, [1, 2], reduce_ratio="much")),
        ("token_scores", lambda: tamis.selective_context(text, tokens, [1])),
        ("information", lambda: tamis.selective_context(text, tokens, [1], level="token")),
        ("units", lambda: tamis.selective_context(text, tokens, [1, 2], phrases=[[0, 2], [1, 3]])),
        ("phrases", lambda: tamis.selective_context(text, tokens, [1, 2], phrases=[[0, 2]], level="token")),
        ("tokens", lambda: tamis.selective_context(text, [[1, 3], [0, 1]], [1, 2])),
    ]:
        with pytest.raises(tamis.InvalidArgumentError, match=match):
            call()


# --------------------------------------------------------------------------------------------------------- SpecPC


def attention(rng, heads, w, n):
    z = rng.standard_normal((heads, w, n)) * 3
    z[:, np.arange(n)[None] > n - w + np.arange(w)[:, None]] = -np.inf
    e = np.exp(z)
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def select(s, capacity, w, kernel, neighbours, smoothing):
    """Steps 4 to 7 of the paper's code in numpy (stable sorts for ties)."""
    n = len(s)
    padded = np.pad(s, ((kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2))
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel)
    smooth = {"max": view.max(-1), "mean": view.mean(-1), None: s}[smoothing]
    ind = np.argsort(-smooth, kind="stable")[:capacity] if capacity < n else np.arange(n)
    m = kernel if neighbours is None else neighbours
    if m > 0:
        offsets = np.arange(-((m - 1) // 2), m - (m - 1) // 2)
        offsets = offsets[np.argsort(np.abs(offsets), kind="stable")]
        ind = np.clip(ind[:, None] + offsets, 0, n - 1).ravel()
    ind = list(dict.fromkeys([*range(n - w, n), *ind.tolist()]))
    return sorted(ind[:capacity])


@pytest.mark.parametrize("reduction", ["max", "sum"])
@pytest.mark.parametrize("smoothing", ["max", "mean", None])
def test_specpc(rng, reduction, smoothing):
    heads, w, n, layers = 3, 8, 200, 4
    for capacity, kernel, neighbours in [(40, 5, None), (40, 4, 0), (9, 1, 3), (5, 7, 2), (0, 3, None), (200, 3, 3), (999, 3, 3)]:
        rows = [attention(rng, heads, w, n) for _ in range(layers)]
        step = [attention(rng, heads, 1, n + 3) for _ in range(layers)]
        draft = tamis.SpecPC(
            n, capacity, window=w, starting_layer=1, reduction=reduction, smoothing=smoothing, kernel=kernel, neighbours=neighbours)
        for layer in (2, 0, 3, 1):
            draft.add(rows[layer], layer)
            draft.add(step[layer], layer)
        weighted = np.stack(rows[1:]).astype(np.float64) * np.linspace(0, 1, w)[:, None]
        reduce = np.max if reduction == "max" else np.sum
        s = reduce(np.concatenate([weighted.reshape(-1, n), np.stack(step[1:])[..., :n].reshape(-1, n)]), 0)
        np.testing.assert_allclose(draft.scores(), s, rtol=1e-6)
        np.testing.assert_array_equal(
            draft.select(), select(draft.scores(), min(capacity, n), w, kernel, neighbours, smoothing))


def test_specpc_rows_from_keys(ctx, rng):
    heads, kv, w, n, d = 4, 2, 16, 333, 32
    q, k = rng.standard_normal((heads, w, d)).astype(np.float32), rng.standard_normal((kv, n, d)).astype(np.float32)
    z = np.einsum("hwd,hnd->hwn", q.astype(np.float64), np.repeat(k, heads // kv, 0)) * 0.5
    z[:, np.arange(n)[None] > n - w + np.arange(w)[:, None]] = -np.inf
    e = np.exp(z - z.max(-1, keepdims=True))
    given = tamis.SpecPC(n, 50, window=w, starting_layer=0)
    given.add((e / e.sum(-1, keepdims=True)).astype(np.float32), 0)
    computed = tamis.SpecPC(n, 50, window=w, starting_layer=0)
    computed.add_keys(q, k, 0, scale=0.5, ctx=ctx)
    np.testing.assert_allclose(computed.scores(), given.scores(), rtol=1e-4, atol=1e-6)


def test_specpc_bad_input(cpu):
    draft = tamis.SpecPC(10, window=4, starting_layer=2)
    rows = np.zeros((2, 4, 10), np.float32)
    for match, call in [
        ("window", lambda: tamis.SpecPC(10, window=11)),
        ("window", lambda: tamis.SpecPC(10, window=0)),
        ("n_tokens", lambda: tamis.SpecPC(0)),
        ("capacity", lambda: tamis.SpecPC(10, -1, window=4)),
        ("kernel", lambda: tamis.SpecPC(10, window=4, kernel=0)),
        ("neighbours", lambda: tamis.SpecPC(10, window=4, neighbours=-2)),
        ("reduction", lambda: tamis.SpecPC(10, window=4, reduction="mean")),
        ("smoothing", lambda: tamis.SpecPC(10, window=4, smoothing="median")),
        ("rows", lambda: draft.add(rows[:, :3], 5)),
        ("rows", lambda: draft.add(rows[:, :1, :9], 5)),
        ("rows", lambda: draft.add(rows[0], 5)),
        ("rows", lambda: draft.add(rows.astype(np.int32), 5)),
        ("layer", lambda: draft.add(rows, -1)),
        ("specpc", lambda: draft.add(rows, 1) or draft.select()),
        ("k->", lambda: draft.add_keys(np.zeros((2, 4, 8), np.float32), np.zeros((2, 9, 8), np.float32), 5, ctx=cpu)),
        ("q->", lambda: draft.add_keys(np.zeros((3, 4, 8), np.float32), np.zeros((2, 10, 8), np.float32), 5, ctx=cpu)),
    ]:
        with pytest.raises(tamis.InvalidArgumentError, match=match):
            call()
    with pytest.raises(tamis.UnsupportedError, match="q->"):
        draft.add_keys(np.zeros((2, 4, 9), np.float32), np.zeros((2, 10, 9), np.float32), 5, ctx=cpu)
    draft.close()
    with pytest.raises(ValueError, match="closed"):
        draft.scores()
