"""BLEU against nltk 3.10.4, sacrebleu 2.6.0 and torchmetrics 1.9.0 on random corpora: NLTK and sacreBLEU bit by bit."""

import random
import sys
import warnings

import numpy as np
import pytest

from tamis import metrics
from tamis.metrics import _bleu

nltk_bleu = pytest.importorskip("nltk.translate.bleu_score")
METHODS = [f"method{i}" for i in range(8)]


def sentence(rng, longest, vocabulary, shortest=0):
    return [rng.randrange(vocabulary) for _ in range(rng.randint(shortest, longest))]


def corpus(rng, segments, references=3, longest=14, vocabulary=6):
    hypotheses, targets = [], []
    for _ in range(segments):
        h = sentence(rng, longest, vocabulary)
        hypotheses.append(h)
        targets.append([])
        for _ in range(rng.randint(1, references)):
            r = [t if rng.random() < 0.8 else rng.randrange(vocabulary) for t in h] if rng.random() < 0.6 else sentence(rng, longest, vocabulary)
            targets[-1].append(r)
    return hypotheses, targets


def same(ours, theirs):
    return np.float64(ours).tobytes() == np.float64(theirs).tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weights", [
    (0.25, 0.25, 0.25, 0.25), (0.5, 0.3, 0.2), (0.1, 0.2, 0.3, 0.2, 0.1, 0.1), [(1.0, 0.0, 0.0), (0.5, 0.5), (0.25, 0.25, 0.25, 0.25)],
])
def test_nltk_to_the_last_bit(method, weights):
    rng = random.Random(f"{method}{weights}")
    compared = 0
    for case in range(400):
        hypotheses, references = corpus(rng, rng.choice([1, 1, 2, 4]))
        theirs_function = getattr(nltk_bleu.SmoothingFunction(), method)
        ours_function = getattr(metrics.SmoothingFunction(), method)
        auto = case % 3 == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                theirs = nltk_bleu.corpus_bleu(references, hypotheses, weights, theirs_function, auto)
            except AssertionError:
                with pytest.raises(ValueError, match="method6"):
                    metrics.corpus_bleu(references, hypotheses, weights, ours_function, auto)
                continue
            except (ZeroDivisionError, ValueError):  # nltk itself fails on the smallest corpora
                metrics.corpus_bleu(references, hypotheses, weights, ours_function, auto)
                continue
            ours = metrics.corpus_bleu(references, hypotheses, weights, ours_function, auto)
        if isinstance(theirs, list):
            assert all(map(same, ours, theirs)), (method, hypotheses, references, ours, theirs)
        else:
            assert same(ours, theirs), (method, hypotheses, references, ours, theirs)
        compared += 1
    assert compared > 50


def test_nltk_smoothing_functions_are_taken_as_they_are():
    function = nltk_bleu.SmoothingFunction(epsilon=0.3).method1
    refs, hyp = [[1, 2, 3, 4, 5, 6]], [1, 2, 9, 4]
    assert same(metrics.sentence_bleu(refs, hyp, smoothing_function=function),
                nltk_bleu.sentence_bleu(refs, hyp, smoothing_function=function))


def test_nltk_words_and_other_hashables():
    refs, hyp = [["the", "cat", ("a", 1), 2**80]], ["the", "cat", ("a", 1), 2**80, 1.5]
    assert same(metrics.sentence_bleu(refs, hyp), nltk_bleu.sentence_bleu(refs, hyp))


@pytest.mark.parametrize("method", METHODS)
def test_long_sentences_and_real_repetition(method):
    rng = random.Random(5)
    hypotheses, references = corpus(rng, 12, longest=700, vocabulary=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for h, r in zip(hypotheses, references):
            try:
                theirs = nltk_bleu.sentence_bleu(r, h, smoothing_function=getattr(nltk_bleu.SmoothingFunction(), method))
            except AssertionError:
                continue
            assert same(metrics.sentence_bleu(r, h, smoothing_function=getattr(metrics.SmoothingFunction(), method)), theirs)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="sum() is compensated from CPython 3.12 on")
@pytest.mark.parametrize("smoothing", ["exp", "floor", "add-k", "none"])
@pytest.mark.parametrize("effective", [False, True])
def test_sacrebleu_to_the_last_bit(smoothing, effective):
    sacrebleu = pytest.importorskip("sacrebleu.metrics")
    rng = random.Random(f"{smoothing}{effective}")
    metric = sacrebleu.BLEU(tokenize="none", smooth_method=smoothing, effective_order=effective, force=True)
    for _ in range(400):
        hypotheses, references = corpus(rng, rng.choice([1, 2, 5]))
        count = min(map(len, references))
        references = [r[:count] for r in references]
        words = [" ".join(map(str, h)) for h in hypotheses]
        streams = [[" ".join(map(str, r[j])) for r in references] for j in range(count)]
        theirs = metric.corpus_score(words, streams)
        ours = _bleu.bleu(hypotheses, references, smoothing=smoothing, effective_order=effective, corpus=True)
        assert same(ours, theirs.score), (hypotheses, references)
        each = _bleu.bleu(hypotheses, references, smoothing=smoothing, effective_order=effective)
        for i, word in enumerate(words):
            assert same(each[i], metric.sentence_score(word, [s[i] for s in streams]).score)


@pytest.mark.parametrize("smooth", [False, True])
def test_torchmetrics(smooth):
    functional = pytest.importorskip("torchmetrics.functional.text")
    rng = random.Random(3)
    for _ in range(150):
        hypotheses, references = corpus(rng, rng.choice([1, 3]))
        words = [" ".join(map(str, h)) for h in hypotheses]
        targets = [[" ".join(map(str, r)) for r in group] for group in references]
        theirs = functional.bleu_score(words, targets, smooth=smooth).item()
        ours = _bleu.bleu(hypotheses, references, rule="torchmetrics", smoothing="add-k" if smooth else "none", corpus=True)
        assert ours == pytest.approx(theirs, rel=3e-6, abs=1e-9)
