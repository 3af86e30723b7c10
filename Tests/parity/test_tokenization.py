"""Tokenisation metrics against tokenization-scorer 1.1.8 and the `tokenizers` package; CharBench's token lengths by three
tokenizers."""

import math
import pathlib
import random

import corpus
import numpy as np
import pytest
import tamis
import transformers
from tamis.metrics import CharBench, TokenStatistics, tokenization_score
from tokenizers import Tokenizer

scorer = pytest.importorskip("tokenization_scorer")
HAYSTACK = pathlib.Path(__file__).resolve().parents[2] / "Models" / "haystack"
METRICS = ["renyi", "renyi_entropy", "shannon_efficiency", "shannon_entropy", "percentile_freq", "bits", "seq_len"]


def close(ours, theirs):
    return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_random_text(metric):
    rng = random.Random(len(metric))
    for _ in range(150):
        words = [f"t{int(rng.paretovariate(0.7)) % 5000}" for _ in range(rng.randint(2, 300))] + ["a", "b"]
        lines = [" ".join(rng.choice(words) for _ in range(rng.randint(0, 30))) for _ in range(rng.randint(1, 12))] + ["a b"]
        # Not 1.0: the package then reads its generator twice, and finds no text the second time.
        options = {"power": rng.choice([0.5, 2.0, 2.5, 3.0, 7.5])} if metric.startswith("renyi") else {}
        if metric in ("renyi", "shannon_efficiency") and rng.random() < 0.5:
            options["vocab"] = rng.randint(2, 60000)
        if metric == "percentile_freq" and rng.random() < 0.8:
            low = rng.choice([0.0, 0.03, rng.random()])
            options.update(perc_start=low, perc_end=rng.choice([1.0, low, low + (1 - low) * rng.random()]))
        text = rng.choice(["\n".join(lines), lines])
        assert close(tokenization_score(text, metric, **options), float(scorer.score(text, metric, **options))), (options, text)
        if metric.startswith("shannon"):
            order_one = tokenization_score(text, metric.replace("shannon", "renyi"), power=1.0, **options)
            assert order_one == tokenization_score(text, metric, **options)


@pytest.mark.parametrize("metric", METRICS)
def test_real_text(metric):
    text = (HAYSTACK / "text" / "haystack.txt").read_text()
    encoding = Tokenizer.from_file(str(HAYSTACK / "tokenizer.json"))
    lines = [" ".join(encoding.encode(line).tokens) for line in text.split("\n")]
    assert close(tokenization_score(lines, metric), float(scorer.score(lines, metric)))


def test_the_packages_examples():
    for text in ("pick @@ed pick @@l @@ed pick @@les", "pick @@e @@d pick @@l @@e @@d pick @@l @@e @@s"):
        for metric in METRICS:
            assert close(tokenization_score(text, metric), float(scorer.score(text, metric)))


def test_a_tokenizer_over_texts_in_many_scripts():
    """Sums of the library's tokenizer against offsets of the `tokenizers` package, counted in Python."""
    path = HAYSTACK / "tokenizer.json"
    texts = [corpus.mixed(400, seed=seed) for seed in range(20)] + [corpus.english()[:5000], ""]
    sums = TokenStatistics().encode(tamis.Tokenizer(path), texts).sums
    peer = Tokenizer.from_file(str(path))
    tokens = words = continued = 0
    for text in texts:
        encoding = peer.encode(text, add_special_tokens=False)
        tokens += len(encoding.ids)
        number, at = np.full(len(text), -1), -1
        for i, c in enumerate(text):
            if not c.isspace():
                at += i == 0 or text[i - 1].isspace()
                number[i] = at
        owners = [next((number[i] for i in range(*o) if number[i] >= 0), -1) for o in encoding.offsets]
        counts = np.bincount([o for o in owners if o >= 0], minlength=at + 1)
        words += at + 1
        continued += int((counts > 1).sum())
    assert (sums.tokens, sums.words, sums.aligned_words, sums.continued_words) == (tokens, words, words, continued)


def test_charbench_features_by_three_tokenizers():
    bench = CharBench([(HAYSTACK / "text" / "haystack.txt").read_text()], rows=10)
    path = str(HAYSTACK / "tokenizer.json")
    ours = bench.features(tamis.Tokenizer(path))
    assert ours == bench.features(Tokenizer.from_file(path))
    assert ours == bench.features(transformers.PreTrainedTokenizerFast(tokenizer_file=path))
    for feature, row in zip(ours, bench):
        pieces = [token.replace("\u0120", "") for token in Tokenizer.from_file(path).encode(row.word).tokens]
        assert feature.number_of_tokens == len(pieces)
        if row.task.startswith("find"):
            ends = np.cumsum([len(piece) for piece in pieces])
            assert feature.target_token_length == len(pieces[int(np.searchsorted(ends, row.gold, side="right"))])
