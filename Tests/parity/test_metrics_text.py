"""Scores of texts against sacrebleu 2.6.0, rouge-score 0.1.2, jiwer 4.0.0, rapidfuzz, nltk 3.10.4 and torchmetrics 1.9.0."""

import random
import sys

import numpy as np
import pytest

import corpus as texts
from tamis import metrics

sacrebleu = pytest.importorskip("sacrebleu.metrics")
PLAIN_SUM = sys.version_info < (3, 12)

PIECES = [
    "the", "cat", "sat", "on", "mat", "Hello", "World's", "3.14", "1,000", "a.b", "e-mail", "10-20", "...", "(hi)", "&quot;x&quot;",
    "&amp;", "<skipped>", "naïve", "Straße", "中文", "你好。", "日本語", "—", "…", "$5", "€7", "50%", "don't", "x²", "١٢", "ΣΑΣ", "İi", "“q”",
    "foo_bar", "@user", "#tag", "C++", "http://a.b/c?d=e", "-\nend", "a\u3000b", "tab\there", "\u00a0", "½", "🙂", "ſ", "K", "'s", "it's",
    "\u2a6e", "\u2014x", "5.", "5-", ".5", ",5", "running", "relational", "happily", "skies",
]


def line(rng, longest=14):
    separator = lambda: rng.choice([" ", " ", " ", "", "  "])  # noqa: E731
    return "".join(rng.choice(PIECES) + separator() for _ in range(rng.randint(0, longest)))


def edited(rng, text):
    words = text.split(" ")
    for _ in range(rng.randint(0, 4)):
        if not words:
            break
        i = rng.randrange(len(words))
        action = rng.random()
        if action < 0.3:
            words[i] = rng.choice(PIECES)
        elif action < 0.5:
            del words[i]
        elif action < 0.7:
            words.insert(i, rng.choice(PIECES))
        else:
            j = rng.randrange(len(words))
            words = words[:i] + words[j:] + words[i:j] if i < j else words
    return " ".join(words)


def corpora(seed, cases, references=1, most=4):
    rng = random.Random(seed)
    for _ in range(cases):
        n = rng.randint(1, most)
        streams = [[line(rng) for _ in range(n)] for _ in range(references)]
        hypotheses = [edited(rng, rng.choice(streams)[i]) for i in range(n)]
        yield hypotheses, streams


def real(n=60):
    text = texts.english()
    sentences = [s.strip() for s in text.replace("\n", " ").split(". ") if 20 < len(s) < 300][: 2 * n]
    rng = random.Random(1)
    return [edited(rng, s) for s in sentences[:n]], [sentences[:n]]


def check(ours, theirs, hypotheses, streams):
    a, b = ours.corpus_score(hypotheses, streams), theirs.corpus_score(hypotheses, streams)
    where = (hypotheses, streams)
    if PLAIN_SUM:
        assert a.score == b.score, where
    assert a.score == pytest.approx(b.score, rel=1e-12), where
    assert str(ours.get_signature()) == str(theirs.get_signature())
    assert ours.get_signature().format(short=True) == theirs.get_signature().format(short=True)
    assert a.format(signature="S") == b.format(signature="S"), where


@pytest.mark.parametrize("tokenize", ["13a", "intl", "char", "zh", "none"])
@pytest.mark.parametrize("lowercase", [False, True])
def test_bleu_of_texts(tokenize, lowercase):
    ours = metrics.BLEU(tokenize=tokenize, lowercase=lowercase)
    theirs = sacrebleu.BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    for references in (1, 3):
        for hypotheses, streams in corpora(f"{tokenize}{references}", 200, references):
            check(ours, theirs, hypotheses, streams)
    check(ours, theirs, *real())


@pytest.mark.parametrize("tokenize", ["13a", "intl", "zh", "char"])
def test_tokenizers_word_by_word(tokenize):
    theirs = sacrebleu.BLEU(tokenize=tokenize, force=True)
    rng = random.Random(tokenize)
    for _ in range(1500):
        text = line(rng)
        words = theirs._preprocess_segment(text).split()
        ids = metrics.WordIDs([text, " ".join(words)], "none" if tokenize == "none" else tokenize)
        plain = metrics.WordIDs([*words], "none")
        numbers = {}
        assert len(ids[0]) == len(words), (text, words)
        assert list(ids[0]) == [numbers.setdefault(w, len(numbers)) for w in words], text
        assert len(plain) == len(words)


def test_bleu_signatures_and_arguments():
    for options in (
        {"smooth_method": "floor"}, {"smooth_method": "add-k", "smooth_value": 2}, {"smooth_method": "none"},
        {"effective_order": True, "max_ngram_order": 2}, {"lowercase": True},
    ):
        ours, theirs = metrics.BLEU(**options), sacrebleu.BLEU(force=True, **options)
        for hypotheses, streams in corpora(7, 60, 2):
            check(ours, theirs, hypotheses, streams)


def test_references_that_vary():
    ours, theirs = metrics.BLEU(), sacrebleu.BLEU(force=True)
    check(ours, theirs, ["a b c d e", "f g h i j"], [["a b c d e", "f g x i j"], [None, "f g h i j"]])


@pytest.mark.parametrize("metric", ["BLEU", "CHRF", "TER"])
def test_bootstrap_intervals(metric):
    ours, theirs = getattr(metrics, metric)(), getattr(sacrebleu, metric)()
    hypotheses, streams = real()
    a, b = ours.corpus_score(hypotheses, streams, 200), theirs.corpus_score(hypotheses, streams, 200)
    assert a._mean == pytest.approx(b._mean, rel=2e-6)
    assert a._ci == pytest.approx(b._ci, rel=2e-5)
    assert str(ours.get_signature()) == str(theirs.get_signature())
    assert a.format() == b.format()


@pytest.mark.parametrize("options", [
    {}, {"word_order": 2}, {"lowercase": True}, {"whitespace": True}, {"eps_smoothing": True}, {"char_order": 3, "word_order": 1, "beta": 3},
])
def test_chrf(options):
    ours, theirs = metrics.CHRF(**options), sacrebleu.CHRF(**options)
    for references in (1, 2):
        for hypotheses, streams in corpora(str(options), 150, references):
            check(ours, theirs, hypotheses, streams)
    check(ours, theirs, *real())


@pytest.mark.parametrize("options", [{}, {"normalized": True}, {"no_punct": True}, {"case_sensitive": True}])
def test_ter(options):
    ours, theirs = metrics.TER(**options), sacrebleu.TER(**options)
    for references in (1, 2):
        for hypotheses, streams in corpora(str(options), 150, references):
            check(ours, theirs, hypotheses, streams)
    check(ours, theirs, *real())


def test_ter_of_long_and_shuffled_sentences():
    ours, theirs = metrics.TER(), sacrebleu.TER()
    rng = random.Random(2)
    for n, h in ((60, 60), (90, 20), (10, 90), (120, 3), (70, 75)):
        reference = [str(rng.randrange(30)) for _ in range(n)]
        hypothesis = reference[:]
        for _ in range(3):
            i, j, k = sorted(rng.randrange(len(hypothesis) + 1) for _ in range(3))
            hypothesis = hypothesis[:i] + hypothesis[j:k] + hypothesis[i:j] + hypothesis[k:]
        check(ours, theirs, [" ".join(hypothesis[:h] + hypothesis[: max(0, h - n)])], [[" ".join(reference)]])


@pytest.mark.parametrize("stem", [False, True])
def test_rouge(stem):
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    kinds = ["rouge1", "rouge2", "rouge5", "rougeL", "rougeLsum"]
    ours, theirs = metrics.RougeScorer(kinds, use_stemmer=stem), scorer.RougeScorer(kinds, use_stemmer=stem)
    rng = random.Random(stem)
    for _ in range(400):
        target = "\n".join(line(rng, 9) for _ in range(rng.randint(1, 4)))
        prediction = edited(rng, target)
        a, b = ours.score(target, prediction), theirs.score(target, prediction)
        for kind in kinds:
            assert tuple(a[kind]) == tuple(b[kind]), (kind, target, prediction)


def test_porter_stemmer():
    porter = pytest.importorskip("nltk.stem.porter").PorterStemmer()
    words = sorted({w for w in texts.english().lower().split() if w.isascii() and w.isalpha() and len(w) > 3})
    words += [w + s for w in words[:400] for s in ("ies", "ied", "ing", "ed", "ational", "fulli", "logi", "ness", "ization", "alli", "ement", "y")]
    words += ["dying", "news", "skies", "dies", "proceed", "oed", "flies", "happy", "apply", "geology", "owed"]
    ids = metrics.WordIDs(words + [porter.stem(w) for w in words], "rouge-stem")
    plain = metrics.WordIDs([porter.stem(w) for w in words], "rouge")
    assert len(plain) == len(words)
    numbers, wrong = {}, []
    for i, word in enumerate(words):
        stem = porter.stem(word)
        if numbers.setdefault(stem, int(ids[i][0])) != int(ids[i][0]):
            wrong.append(word)
    assert not wrong
    assert len(set(numbers.values())) == len(numbers)


def test_word_and_character_errors():
    jiwer = pytest.importorskip("jiwer")
    rng = random.Random(4)
    words = ["a", "b", "c", "dd", "e"]
    for _ in range(1500):
        n = rng.randint(1, 3)
        references = [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(n)]
        hypotheses = [" ".join(rng.choices(words, k=rng.randint(0, 12))) for _ in range(n)]
        theirs, ours = jiwer.process_words(references, hypotheses), metrics.process_words(references, hypotheses)
        assert (ours.hits, ours.substitutions, ours.deletions, ours.insertions) == (
            theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions), (references, hypotheses)
        for rate in ("wer", "mer", "wil", "wip"):
            assert getattr(ours, rate) == pytest.approx(getattr(theirs, rate), abs=1e-15)
        assert metrics.cer(references, hypotheses) == jiwer.cer(references, hypotheses)


def test_distances_and_alignments():
    distance = pytest.importorskip("rapidfuzz.distance")
    rng = random.Random(6)
    codes = {"replace": 1, "delete": 2, "insert": 3}
    for case in range(600):
        longest = 400 if case % 20 == 0 else 70
        a = [rng.randrange(5) for _ in range(rng.randint(0, longest))]
        b = [t if rng.random() < 0.7 else rng.randrange(6) for t in a] if rng.random() < 0.6 else [rng.randrange(6) for _ in range(rng.randint(0, longest))]
        for kind, peer in (("levenshtein", "Levenshtein"), ("indel", "Indel"), ("osa", "OSA")):
            assert metrics.edit_distance([a], [b], kind)[0] == getattr(distance, peer).distance(a, b), (kind, a, b)
        steps = metrics.alignment(a, b)
        edits = [codes[op.tag] for op in distance.Levenshtein.editops(a, b)]
        assert [s for s in steps.tolist() if s] == edits, (a, b)


def test_meteor_of_equal_words():
    meteor = pytest.importorskip("nltk.translate.meteor_score")

    class Stemmer:
        def stem(self, word):
            return word

    class WordNet:
        def synsets(self, word):
            return []

    rng = random.Random(8)
    for _ in range(600):
        refs = [[str(rng.randrange(6)) for _ in range(rng.randint(0, 9))] for _ in range(rng.randint(1, 3))]
        hyp = [str(rng.randrange(7)) for _ in range(rng.randint(0, 9))]
        theirs = meteor.meteor_score(refs, hyp, stemmer=Stemmer(), wordnet=WordNet())
        assert metrics.meteor_ids([refs], [hyp])[0] == theirs, (refs, hyp)


def test_squad():
    functional = pytest.importorskip("torchmetrics.functional.text")
    rng = random.Random(9)
    for _ in range(200):
        n = rng.randint(1, 3)
        answers = [[line(rng, 5) for _ in range(rng.randint(1, 3))] for _ in range(n)]
        predictions = [edited(rng, "The " + rng.choice(group)) for group in answers]
        theirs = functional.squad(
            [{"prediction_text": p, "id": str(i)} for i, p in enumerate(predictions)],
            [{"answers": {"answer_start": [0] * len(g), "text": g}, "id": str(i)} for i, g in enumerate(answers)])
        ours = metrics.squad(predictions, answers)
        assert ours["exact_match"] == pytest.approx(theirs["exact_match"].item(), rel=1e-5)
        assert ours["f1"] == pytest.approx(theirs["f1"].item(), rel=1e-5)


def test_self_bleu():
    nltk_bleu = pytest.importorskip("nltk.translate.bleu_score")
    smooth = nltk_bleu.SmoothingFunction().method1
    rng = random.Random(10)
    for n in (2, 3, 4):
        weights = (1 / n,) * n
        sentences = [[rng.randrange(5) for _ in range(rng.randint(1, 14))] for _ in range(14)]
        for i, score in enumerate(metrics.self_bleu(sentences, n)):
            others = sentences[:i] + sentences[i + 1 :]
            theirs = nltk_bleu.sentence_bleu(others, sentences[i], weights, smooth)
            assert np.float64(score) == theirs, (n, i)
