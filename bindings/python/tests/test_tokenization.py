"""Tokenisation metrics against plain counting in Python, golden values, invariants and bad input."""

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tamis
from tamis.metrics import TokenStatistics, tokenization_score

ROOT = Path(__file__).resolve().parents[3]
TEXTS = [
    "The quick brown fox", "", "  two   spaces\u3000and\u00a0others \n", "naïve Übung 東京 🙂🙂", "one", "\t \n",
    "a\x1fb", "x" * 50 + " y",
]


def spans_of_words(text):
    """Words with their bytes, by Python's own rule."""
    spans, at, start = [], 0, None
    for c in text:
        if c.isspace():
            if start is not None:
                spans.append((start, at))
                start = None
        elif start is None:
            start = at
        at += len(c.encode())
    return spans + ([(start, at)] if start is not None else [])


def expected_sums(texts, tokens, offsets, unknown):
    sums = Counter(texts=len(texts))
    seen = Counter()
    for text, ids, places in zip(texts, tokens, offsets):
        data = text.encode()
        words = spans_of_words(text)
        own = {word: [] for word in words}
        for start, end in places:
            # The first byte that is no white space.
            byte = next((b for b in range(start, end) if any(s <= b < e for s, e in words)), None)
            if byte is not None:
                own[next(w for w in words if w[0] <= byte < w[1])].append((start, end))
        sums.update(
            empty_texts=not ids, tokens=len(ids), unknown_tokens=sum(i == unknown for i in ids), bytes=len(data),
            code_points=len(text), words=len(text.split()), aligned_words=len(words),
            continued_words=sum(len(o) > 1 for o in own.values()),
            whole_words=sum(len(o) == 1 and o[0][0] <= w[0] and o[0][1] >= w[1] for w, o in own.items()))
        seen.update(ids)
    return dict(sums, vocabulary=len(seen)), seen


def random_tokens(rng, text):
    """Cuts at random bytes, now and then with gaps, overlaps and empty tokens."""
    n = len(text.encode())
    cuts = sorted({0, n, *(rng.randrange(n + 1) for _ in range(rng.randint(0, 6)))})
    places = [(a, b) for a, b in zip(cuts, cuts[1:]) if rng.random() < 0.9]
    for _ in range(rng.randint(0, 2)):
        a = rng.randrange(n + 1)
        places.insert(rng.randrange(len(places) + 1), (a, rng.randint(a, min(n, a + 3))))
    return [rng.randrange(-3, 6) for _ in places], places


def test_sums_are_those_of_plain_counting():
    rng = random.Random(4)
    for _ in range(200):
        texts = [rng.choice(TEXTS) for _ in range(rng.randint(0, 5))]
        cut = [random_tokens(rng, text) for text in texts]
        tokens, offsets = [ids for ids, _ in cut], [places for _, places in cut]
        unknown = rng.randrange(6)
        statistics = TokenStatistics(unknown).add(tokens, texts, offsets)
        expected, seen = expected_sums(texts, tokens, offsets, unknown)
        found = vars(statistics.sums)
        assert {name: found[name] for name in found} == {name: expected.get(name, 0) for name in found}
        ids, counts = statistics.frequencies
        assert list(zip(ids.tolist(), counts.tolist())) == sorted(seen.items(), key=lambda e: (-e[1], e[0]))


def test_without_offsets_and_texts():
    statistics = TokenStatistics().add([[1, 2], [3]], ["a b", "c"])
    assert statistics.sums.words == 3 and statistics.sums.aligned_words == 0
    report = statistics.report()
    assert report.fertility == 1 and math.isnan(report.continued_word_rate)
    bare = TokenStatistics().add(np.array([[1, 2], [3, 4]], np.int32))
    assert bare.sums.tokens == 4 and bare.sums.bytes == 0 and math.isnan(bare.report().fertility)
    empty = TokenStatistics().report()
    assert all(math.isnan(value) for value in vars(empty).values())


def test_a_token_belongs_to_its_first_word():
    text = "of the cat s"
    offsets = [[(0, 6), (6, 10), (10, 11), (11, 12)]]  # "of the", " cat", " ", "s"
    sums = TokenStatistics().add([[1, 2, 3, 4]], [text], offsets).sums
    assert (sums.aligned_words, sums.continued_words, sums.whole_words) == (4, 0, 3)  # "the" has no token of its own
    sums = TokenStatistics().add([[1, 2, 3]], ["cats dog"], [[(0, 3), (3, 4), (4, 8)]]).sums
    assert (sums.continued_words, sums.whole_words) == (1, 1)


def test_shards_add_up():
    rng = random.Random(9)
    cut = [random_tokens(rng, text) for text in TEXTS]
    tokens, offsets = [ids for ids, _ in cut], [places for _, places in cut]
    whole = TokenStatistics(2).add(tokens, TEXTS, offsets)
    parts = TokenStatistics(2).add(tokens[:3], TEXTS[:3], offsets[:3]).merge(
        TokenStatistics(2).add(tokens[3:], TEXTS[3:], offsets[3:]))
    assert parts.sums == whole.sums and parts.report() == whole.report()
    assert [a.tolist() for a in parts.frequencies] == [a.tolist() for a in whole.frequencies]
    assert parts.premium(whole)[0] == 1
    twice = whole.merge(whole).sums
    assert twice.tokens == 2 * parts.sums.tokens and twice.vocabulary == parts.sums.vocabulary


# --------------------------------------------------------------------------------------------------------- entropy


def entropy(counts, alpha):
    total = sum(counts)
    p = [c / total for c in counts]
    if alpha == 1:
        return -math.fsum(x * math.log2(x) for x in p)
    if math.isinf(alpha):
        return -math.log2(max(p))
    return math.log2(math.fsum(x**alpha for x in p)) / (1 - alpha)


def test_golden():
    text = "pick @@ed pick @@l @@ed pick @@les"
    assert tokenization_score(text, power=2.5) == pytest.approx(0.8265064834225245, rel=1e-14)
    assert tokenization_score(text, "renyi_entropy", power=2.5) == pytest.approx(1.653012966845049, rel=1e-14)
    assert tokenization_score(text, "shannon") == pytest.approx(0.9211854965885544, rel=1e-14)
    assert tokenization_score(text, "bits") == -14
    assert tokenization_score(text, "seq_len") == -7
    assert tokenization_score(text, "percentile_freq") == pytest.approx(6 / 7)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 40.0, math.inf])
def test_entropies(alpha):
    rng = random.Random(int(min(alpha, 50) * 10))
    for _ in range(20):
        tokens = [int(rng.paretovariate(1)) % 3000 for _ in range(rng.randint(2, 400))]
        counts = sorted(Counter(tokens).values(), reverse=True)
        report = TokenStatistics().add([tokens]).report(alpha)
        assert report.renyi_entropy == pytest.approx(entropy(counts, alpha), rel=1e-10, abs=1e-12)
        assert report.shannon_entropy == pytest.approx(entropy(counts, 1), rel=1e-10, abs=1e-12)
        size = 5000
        over = TokenStatistics().add([tokens]).report(alpha, vocabulary=size)
        assert over.renyi_efficiency == pytest.approx(entropy(counts, alpha) / math.log2(size), rel=1e-10, abs=1e-12)
        if len(counts) > 1:
            expected = entropy(counts, alpha) / math.log2(len(counts))
            assert report.renyi_efficiency == pytest.approx(expected, rel=1e-10, abs=1e-12)
            assert 0 <= report.renyi_efficiency <= 1 + 1e-12


def test_uniform_and_single_distributions():
    uniform = TokenStatistics().add([list(range(64)) * 3]).report(2.5)
    assert uniform.shannon_entropy == pytest.approx(6) and uniform.renyi_entropy == pytest.approx(6)
    assert uniform.shannon_efficiency == pytest.approx(1) and uniform.bits == -64 * 3 * 6
    one = TokenStatistics().add([[7] * 9]).report()
    assert (one.shannon_entropy, one.shannon_efficiency, one.renyi_entropy, one.renyi_efficiency, one.bits) == (0, 0, 0, 0, 0)
    # Orders so large that p^alpha is below the smallest float.
    huge = TokenStatistics().add([[1, 1, 1, 2, 3, 4]]).report(5000.0)
    assert huge.renyi_entropy == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("low, high", [(0.03, 0.83), (0, 0), (0, 1), (1, 1), (0.3, 0.6), (0.5, 0.5), (0.99, 1)])
def test_percentile_frequency(low, high):
    for n in (1, 2, 3, 10, 57):
        counts = sorted((1 + 7 * i % 23 for i in range(n)), reverse=True)
        statistics = TokenStatistics().add([[i for i, c in enumerate(counts) for _ in range(c)]])
        start, end = min(int(n * low), n - 1), min(int(n * high), n - 1)
        if start == end:
            start = max(0, start - 1)
        if start == end:
            end = min(n - 1, end + 1)
        expected = sum(counts[start:end]) / sum(counts)
        assert statistics.report(percentiles=(low, high)).percentile_frequency == pytest.approx(expected, abs=1e-15)


# ------------------------------------------------------------------------------------------------- parity, lengths


def test_premium():
    a = TokenStatistics().add([[1, 2, 3], [4], []])
    b = TokenStatistics().add([[1, 2], [3, 4], []])
    assert a.premium(b) == (1, (1.5 + 0.5) / 2)
    corpus, mean = a.premium(TokenStatistics().add([[], [], []]))
    assert math.isnan(corpus) and math.isnan(mean)
    with pytest.raises(tamis.InvalidArgumentError, match="a has 3 texts and b 1; expected as many of both"):
        a.premium(TokenStatistics().add([[1]]))


def test_lengths_in_characters():
    statistics = TokenStatistics().add([[1, 2, 3]], ["äöü more!"])  # 9 characters, 3 tokens
    assert statistics.characters(7) == 21 and statistics.tokens(21) == 7 and statistics.tokens(22) == 8
    third = TokenStatistics().add([[1, 2, 3]], ["1234"])
    for n in (0, 1, 10, 2**40, 2**62):
        assert third.characters(n) == n * 4 // 3 and third.tokens(n) == -(-n * 3 // 4)
    with pytest.raises(tamis.InvalidArgumentError, match="expected one whose length fits 64 bits"):
        third.characters(2**63 - 1)
    with pytest.raises(tamis.InvalidArgumentError, match="tokens is -1"):
        third.characters(-1)
    with pytest.raises(tamis.InvalidArgumentError, match="statistics holds no token"):
        TokenStatistics().characters(5)


@pytest.fixture(scope="module")
def tokenizer():
    path = ROOT / "Models" / "haystack" / "tokenizer.json"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return tamis.Tokenizer(path)


def test_a_tokenizer_over_texts(tokenizer):
    texts = [*TEXTS, (ROOT / "Models" / "haystack" / "text" / "haystack.txt").read_text()[:5000], b"\xff bad \xc3"]
    statistics = TokenStatistics().encode(tokenizer, texts)
    encodings = [
        tokenizer.encode(t if isinstance(t, bytes) else t.encode(), add_special_tokens=False, parse_special=False)
        for t in texts]
    again = TokenStatistics(tokenizer.unk_id).add([e.ids for e in encodings], texts, [e.offsets for e in encodings])
    assert statistics.sums == again.sums and statistics.report() == again.report()
    assert statistics.sums.code_points == sum(
        len(t.decode("utf-8", "replace") if isinstance(t, bytes) else t) for t in texts)
    assert statistics.report().fertility > 1 and 0 < statistics.report().whole_word_rate < 1
    threads = TokenStatistics().encode(tokenizer, texts, ctx=tamis.Context(threads=2))
    assert threads.sums == statistics.sums and threads.premium(statistics) == (1, 1)


def test_progress():
    told = []
    statistics = TokenStatistics().add([[1]] * 3, ["x" * 2**20] * 3, progress=told.append)
    assert len(told) == 3 and told == sorted(told) and told[-1] == 1
    with pytest.raises(tamis.CancelledError, match="progress returned 0 after"):
        statistics.add([[1]] * 3, ["x" * 2**20] * 3, progress=lambda done: False)
    assert statistics.sums.tokens == 3
    with pytest.raises(tamis.CancelledError):
        tamis.metrics.CharBench(["abcd efgh ijkl mnop"], progress=lambda done: False)


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("call, sentence", [
    (lambda s: s.add([[1, 2]], ["ab"], [[(0, 1), (1, 3)]]), "text 0: token 1 has the bytes [1, 3) of a text of 2"),
    (lambda s: s.add([[1]], ["ab"], [[(2, 1)]]), "text 0: token 0 has the bytes [2, 1)"),
    (lambda s: s.add([[1]], ["ab", "c"]), "texts has 2 texts for 1 sequences"),
    (lambda s: s.add([[1]], ["ab"], [[(0, 1), (1, 2)]]), "offsets[0] is int64[2, 2], expected integers [1, 2]"),
    (lambda s: s.add([[1]], ["ab"], [[(0, 2**31)]]), "offsets[0] holds 0 to 2147483648"),
    (lambda s: s.report(-1), "options->alpha is -1.0; expected a number of at least 0"),
    (lambda s: s.report(math.nan), "options->alpha is nan"),
    (lambda s: s.report(vocabulary=0), "vocabulary is 0, expected at least 1"),
    (lambda s: s.report(percentiles=(0.5, 0.2)), "options->percentile_from is 0.5 and percentile_to 0.2"),
    (lambda s: s.report(percentiles=(0, math.nan)), "options->percentile_from is 0.0 and percentile_to nan"),
    (lambda s: TokenStatistics(-2), "unknown_id is -2"),
    (lambda s: s.encode("t", ["a"]), "tokenizer is str, expected tamis.Tokenizer"),
    (lambda s: tokenization_score("a", "best"), "metric is 'best', expected one of"),
    (lambda s: tokenization_score(" \n "), "text holds no token"),
])
def test_bad_input(call, sentence):
    statistics = TokenStatistics().add([[5]], ["z"], [[(0, 1)]])
    with pytest.raises(tamis.InvalidArgumentError) as error:
        call(statistics)
    assert str(error.value).startswith(sentence)
    assert statistics.sums == TokenStatistics().add([[5]], ["z"], [[(0, 1)]]).sums
