"""tamis.metrics against plain implementations with dictionaries and fractions, golden values, and invariants."""

import math
import random
import warnings
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

import tamis
from tamis import metrics

# ------------------------------------------------------------------------------------------------ plain counting


def ngrams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def row(hypothesis, references, orders, rule="shortest"):
    matches, totals = [], []
    for n in range(1, orders + 1):
        h = ngrams(hypothesis, n)
        largest = Counter()
        for r in references:
            largest |= ngrams(r, n)
        matches.append(sum(min(c, largest[g]) for g, c in h.items()))
        totals.append(max(0, len(hypothesis) - n + 1))
    lengths = [len(r) for r in references]
    near = min(abs(n - len(hypothesis)) for n in lengths)
    nearest = [n for n in lengths if abs(n - len(hypothesis)) == near]
    return [len(hypothesis), min(nearest) if rule == "shortest" else nearest[0], *matches, *totals]


def corpus(rng, segments, vocabulary=5, longest=12, references=3):
    hypotheses = [[rng.randrange(vocabulary) for _ in range(rng.randint(0, longest))] for _ in range(segments)]
    targets = [
        [[rng.randrange(vocabulary) for _ in range(rng.randint(0, longest))] for _ in range(rng.randint(1, references))]
        for _ in hypotheses
    ]
    return hypotheses, targets


@pytest.mark.parametrize("vocabulary,longest", [(2, 8), (5, 12), (40, 300), (100000, 500)])
@pytest.mark.parametrize("rule", ["shortest", "first"])
def test_statistics_are_those_of_dictionaries(vocabulary, longest, rule):
    rng = random.Random(vocabulary)
    hypotheses, references = corpus(rng, 60, vocabulary, longest)
    for i in range(0, 60, 3):  # overlap, which random ids of a large vocabulary lack
        references[i][-1] = [t if rng.random() < 0.8 else rng.randrange(vocabulary) for t in hypotheses[i]]
    found = metrics.ngram_statistics(hypotheses, references, 6, length_rule=rule)
    assert found.tolist() == [row(h, r, 6, rule) for h, r in zip(hypotheses, references)]


def test_long_sentences_with_more_than_65536_different_ngrams():
    rng = np.random.default_rng(3)
    reference = rng.integers(0, 200_000, 150_000)
    hypothesis = np.where(rng.random(150_000) < 0.7, reference, rng.integers(0, 200_000, 150_000))
    found = metrics.ngram_statistics([hypothesis], [[reference, reference[:1000]]], 4)
    assert found[0].tolist() == row(hypothesis.tolist(), [reference.tolist(), reference[:1000].tolist()], 4)


def test_padded_ragged_and_lists_agree():
    rng = random.Random(1)
    hypotheses = [[rng.randrange(9) for _ in range(rng.randint(0, 20))] for _ in range(12)]
    references = [[[rng.randrange(9) for _ in range(rng.randint(0, 20))] for _ in range(2)] for _ in hypotheses]
    expected = metrics.ngram_statistics(hypotheses, references)

    def pad(rows, width, value):
        return np.array([r + [value] * (width - len(r)) for r in rows])

    flat = [r for group in references for r in group]
    h, r = pad(hypotheses, 24, 5), pad(flat, 30, 7).reshape(12, 2, 30)  # padded with ids that are in use: lengths decide
    lengths = [len(x) for x in hypotheses], np.array([len(x) for x in flat]).reshape(12, 2)
    assert (metrics.ngram_statistics(h, r, hypothesis_lengths=lengths[0], reference_lengths=lengths[1]) == expected).all()
    h, r = pad(hypotheses, 24, -1), pad(flat, 30, -1).reshape(12, 2, 30)
    assert (metrics.ngram_statistics(h, r, pad_id=-1) == expected).all()
    ragged = [metrics.Ragged(np.concatenate([np.array(x, int) for x in rows]), np.cumsum([0, *map(len, rows)])) for rows in (hypotheses, flat)]
    assert (metrics.ngram_statistics(*ragged) == expected).all()


def test_padding_inside_breaks_ngrams_only():
    found = metrics.ngram_statistics(np.array([[1, 2, 0, 3, 4]]), np.array([[[1, 2, 3, 4, 0]]]), 2, pad_id=0)
    # 4 tokens and the bigrams 1 2 and 3 4; 2 3 is broken.
    assert found.tolist() == [[4, 4, 4, 2, 4, 2]]


@pytest.mark.parametrize("threads", [1, 3])
def test_rewards_are_those_of_single_calls(threads):
    rng = np.random.default_rng(7)
    candidates, references = rng.integers(0, 6, (5, 4, 30)), rng.integers(0, 6, (5, 2, 25))
    ctx = tamis.Context(threads=threads)
    scores = metrics.bleu(candidates, references, effective_order=True, ctx=ctx)
    assert scores.shape == (5, 4)
    for b in range(5):
        for k in range(4):
            assert scores[b, k] == metrics.bleu([candidates[b, k]], [list(references[b])], effective_order=True)[0]


def test_invariants():
    rng = random.Random(9)
    hypotheses, references = corpus(rng, 20)
    rows = metrics.ngram_statistics(hypotheses, references)
    assert (metrics.ngram_statistics(hypotheses, [r + [r[0]] for r in references]) == rows).all()
    order = rng.sample(range(20), 20)
    assert (metrics.ngram_statistics([hypotheses[i] for i in order], [references[i] for i in order]) == rows[order]).all()
    renamed = [[t * 1_000_003 - 7 for t in h] for h in hypotheses], [[[t * 1_000_003 - 7 for t in r] for r in g] for g in references]
    assert (metrics.ngram_statistics(*renamed) == rows).all()
    assert metrics.bleu([[1, 2, 3, 4]], [[[1, 2, 3, 4]]])[0] == 100.00000000000004
    assert metrics.bleu(hypotheses, references, max_n=2, corpus=True) == metrics.bleu(
        hypotheses * 2, references * 2, max_n=2, corpus=True)


# ------------------------------------------------------------------------------------------------ NLTK

GOLDEN = [
    ([[1, 2, 9, 4, 5, 8]], [1, 2, 3, 4, 5, 6], [
        1.0719249972567852e-154, 0.12209471671615688, 0.35930411196308426, 0.2295748846661433, 0.1374292659508281,
        0.23037777369138907, None, 0.26523875812539377]),
    ([[1, 2, 3]], [1, 2, 3], [
        1.2213386697554703e-77, 0.5623413251903491, 0.8408964152537145, 0.8408964152537145, 0.5757197301274735, 0.703215867220802,
        1.0, 0.7466681393420525]),
    ([[1, 2, 3, 4, 9, 6, 7, 8], [1, 2, 3, 9, 9, 9]], [1, 2, 3, 4, 5, 6, 7, 8], [
        0.5, 0.5, 0.5946035575013605, 0.5, 0.5, 0.5694279957535772, 0.5646473783680996, None]),
]


@pytest.mark.parametrize("references,hypothesis,scores", GOLDEN)
def test_nltk_golden_values(references, hypothesis, scores):
    for i, score in enumerate(scores):
        function = getattr(metrics.SmoothingFunction(), f"method{i}")
        if score is None:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert metrics.sentence_bleu(references, hypothesis, smoothing_function=function) == score


def test_method6_without_a_trigram_says_so():
    with pytest.raises(ValueError, match="method6"):
        metrics.sentence_bleu(*GOLDEN[0][:2], smoothing_function=metrics.SmoothingFunction().method6)


def test_nltk_corpus_golden_value():
    corpus_ = [[[1, 2]], [[1, 2, 3, 4, 5]]], [[1, 2], [1, 2, 3, 4, 5]]
    assert metrics.corpus_bleu(*corpus_) == 0.8408964152537145
    assert metrics.bleu(corpus_[1], corpus_[0], corpus=True) == pytest.approx(100, abs=1e-12)


def plain_method5(hypothesis, references):
    """Method 5 in fractions, then one logarithm each."""
    counted = row(hypothesis, references, 5)
    p = [Fraction(counted[1 + n], max(1, counted[6 + n])) for n in range(1, 6)]
    previous, smooth = p[0] + 1, []
    for n in range(4):
        smooth.append((previous + p[n] + p[n + 1]) / 3)
        previous = smooth[-1]
    h, r = counted[:2]
    return (1 if h > r else math.exp(1 - r / h)) * math.exp(math.fsum(0.25 * math.log(x) for x in smooth if x > 0))


def test_method5_against_fractions():
    rng = random.Random(11)
    function, checked = metrics.SmoothingFunction().method5, 0
    for _ in range(400):
        (h,), (r,) = corpus(rng, 1, 4, 40)
        if row(h, r, 1)[2] == 0:
            assert metrics.sentence_bleu(r, h, smoothing_function=function) == 0
            continue
        assert metrics.sentence_bleu(r, h, smoothing_function=function) == plain_method5(h, r)
        assert metrics.sentence_bleu(r, h, smoothing_function=function, exact=False) == pytest.approx(plain_method5(h, r), rel=1e-14)
        checked += 1
    assert checked > 200


def test_sentence_bleus_is_many_sentence_bleu():
    rng = random.Random(12)
    hypotheses, references = corpus(rng, 40)
    function = metrics.SmoothingFunction().method3
    many = metrics.sentence_bleus(references, hypotheses, smoothing_function=function)
    assert many.tolist() == [metrics.sentence_bleu(r, h, smoothing_function=function) for h, r in zip(hypotheses, references)]


def test_zero_counts_warn():
    with pytest.warns(UserWarning, match="4-gram"):
        metrics.sentence_bleu([[1, 2, 3]], [1, 2, 3])


# ------------------------------------------------------------------------------------------------ TensorBLEU


def test_tensorbleu_quirks_and_the_default_without_them():
    same = np.array([[4, 5, 6, 0]]), np.array([[[4, 5, 6, 0]]])
    quirks = {"exp": 0.0012, "none": 0.0010, "floor": 0.5623, "add-k": 1.0}
    for method, score in quirks.items():
        assert metrics.tensor_sentence_bleu(*same, smoothing_method=method, compat=True)[0] == pytest.approx(score, abs=1e-4)
    assert metrics.tensor_sentence_bleu(*same)[0] == pytest.approx(1, abs=1e-12)
    # An all-pad reference counts as one of length 0 in the code, and takes the penalty away.
    h, r = np.array([[1, 2, 0, 0, 0, 0]]), np.array([[[1, 2, 3, 4, 5, 6], [0] * 6]])
    assert metrics.tensor_sentence_bleu(h, r[:, :1], max_n=1, compat=True)[0] == pytest.approx(math.exp(-2), rel=1e-6)
    assert metrics.tensor_sentence_bleu(h, r, max_n=1, compat=True)[0] == pytest.approx(1, rel=1e-6)


def test_tensorbleu_corpus_drops_orders():
    h = np.array([[1, 2, 3, 4, 5], [7, 0, 0, 0, 0]])
    scores = {
        m: metrics.tensor_corpus_bleu(h, h[:, None], smoothing_method=m, compat=True) for m in ("floor", "exp", "add-k", "none")
    }
    assert scores["none"] == 0
    assert scores["exp"] == pytest.approx(math.exp(0.25 * sum(math.log(x) for x in (1, 0.5, 0.25, 0.125))), rel=1e-5)
    assert scores["floor"] == pytest.approx(0.1**0.75, rel=1e-5)
    assert scores["add-k"] == pytest.approx(1, rel=1e-5)


# ------------------------------------------------------------------------------------------------ texts

PAIR = ["the cat sat on the mat"], [["the cat is on the mat today"]]


def test_golden_values_of_texts():
    assert metrics.CHRF().corpus_score(*PAIR).score == 52.78354809249414
    assert metrics.CHRF(word_order=2).corpus_score(*PAIR).score == 55.25277108137981
    assert metrics.CHRF(eps_smoothing=True).corpus_score(*PAIR).score == 52.77937642294506
    assert metrics.TER().corpus_score(*PAIR).score == pytest.approx(200 / 7)
    assert metrics.TER().corpus_score(["on the mat the cat sat"], [["the cat sat on the mat"]]).score == pytest.approx(100 / 6)
    rouge = metrics.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(PAIR[1][0][0], PAIR[0][0])
    assert rouge["rouge1"] == pytest.approx((5 / 6, 5 / 7, 10 / 13))
    assert rouge["rouge2"] == pytest.approx((0.6, 0.5, 6 / 11))
    assert rouge["rougeL"] == pytest.approx(rouge["rouge1"])


@pytest.mark.parametrize("kind", ["BLEU", "CHRF", "TER"])
def test_batches_add_up_to_the_corpus(kind):
    texts = ["the cat sat on the mat", "a dog", "it is what it is", "no more of this"]
    references = [["the cat is on the mat today"], ["a dog barks"], ["it was what it was"], ["no more of that"]]
    whole, parts = getattr(metrics, kind)(), getattr(metrics, kind)()
    parts.update(texts[:1], references[:1])
    parts.update(texts[1:], references[1:])
    assert parts.compute() == whole.corpus_score(texts, [[r[0] for r in references]]).score
    assert str(parts.get_signature()) == str(whole.get_signature())
    parts.reset()
    with pytest.raises(ValueError, match="nothing"):
        parts.compute()


def test_signatures():
    metric = metrics.BLEU(smooth_method="floor")
    with pytest.raises(ValueError, match="unknown"):
        metric.get_signature()
    metric.corpus_score(*PAIR)
    assert str(metric.get_signature()) == "nrefs:1|case:mixed|eff:no|tok:13a|smooth:floor[0.10]|version:2.6.0"
    assert metric.get_signature().format(short=True) == "#:1|c:mixed|e:no|tok:13a|s:floor[0.10]|v:2.6.0"


def test_invalid_utf8_reads_as_replacement_characters():
    for tokenizer in ("none", "13a", "intl", "char", "zh", "ter", "rouge", "squad", "chrf", "code-points", "chrf-chars"):
        data = b"a\xff b\xe4\xb8 \xf0\x9f\x98 \xed\xa0\x80 end\xc3"
        bad, good = metrics.WordIDs([data, data.decode("utf-8", "replace")], tokenizer).lists(0, 1), None
        words = metrics.WordIDs([data, data.decode("utf-8", "replace")], tokenizer)
        assert words[0].tolist() == words[1].tolist(), tokenizer
        del bad, good


# ------------------------------------------------------------------------------------------------ distances, diversity


def plain_distance(a, b):
    line = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, line[0] = line[0], i
        for j, y in enumerate(b, 1):
            before, line[j] = line[j], min(before + (x != y), line[j] + 1, line[j - 1] + 1)
    return line[-1]


def plain_lcs(a, b):
    line = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, line[j] = line[j], before + 1 if x == y else max(line[j], line[j - 1])
    return line[-1]


def test_distances_against_dynamic_programming():
    rng = random.Random(13)
    pairs = []
    for _ in range(120):
        a = [rng.randrange(4) for _ in range(rng.choice([0, 1, 5, 63, 64, 65, 130]))]
        b = [t if rng.random() < 0.8 else rng.randrange(5) for t in a][rng.randint(0, 3):] if rng.random() < 0.5 else [
            rng.randrange(5) for _ in range(rng.choice([0, 1, 7, 64, 100]))]
        pairs.append((a, b))
    a, b = zip(*pairs)
    assert metrics.edit_distance(a, b).tolist() == [plain_distance(x, y) for x, y in pairs]
    assert metrics.edit_distance(a, b, "indel").tolist() == [len(x) + len(y) - 2 * plain_lcs(x, y) for x, y in pairs]
    for x, y in pairs:
        steps, out, i, j = metrics.alignment(x, y).tolist(), [], 0, 0
        for step in steps:  # replaying the steps turns x into y
            if step in (0, 1):
                assert (x[i] == y[j]) == (step == 0)
            out += [] if step == 2 else [y[j]]
            i, j = i + (step != 3), j + (step != 2)
        assert out == y and i == len(x)
        assert sum(s != 0 for s in steps) == plain_distance(x, y)
    rouge = metrics.rouge_ids(a, b, "l")
    for (x, y), (p, r, _) in zip(pairs, rouge):
        assert p * len(y) == pytest.approx(plain_lcs(x, y)) and r * len(x) == pytest.approx(plain_lcs(x, y))


def test_diversity_and_repetition():
    rng = random.Random(14)
    sequences = [[rng.randrange(3) for _ in range(rng.randint(0, 20))] for _ in range(30)]
    whole, each = metrics.distinct_n(sequences, 3)
    for n in range(1, 4):
        bags = [ngrams(s, n) for s in sequences]
        together = sum(bags, Counter())
        assert whole[n - 1] == len(together) / sum(together.values())
        assert each[:, n - 1].tolist() == [len(b) / sum(b.values()) if b else 0 for b in bags]
    found = metrics.repetition(sequences, window=4)
    for i, s in enumerate(sequences):
        assert found["rep"][i] * len(s) == pytest.approx(sum(s[t] in s[max(0, t - 4) : t] for t in range(len(s))))
        assert found["longest_repeat"][i] == max((n for n in range(1, len(s)) if max(ngrams(s, n).values()) > 1), default=0)
    assert metrics.repetition([[1] * 9 + [2]])["longest_run"][0] == 9
    scores = metrics.self_bleu(sequences, 3)
    function = metrics.SmoothingFunction().method1
    for i, s in enumerate(sequences):
        assert scores[i] == metrics.sentence_bleu(sequences[:i] + sequences[i + 1 :], s, (1 / 3,) * 3, function)


def test_token_f1():
    exact, f1 = metrics.token_f1([[[1, 2, 3], [9]], [[]], [[]]], [[2, 3, 4, 4], [], [5]])
    assert exact.tolist() == [0, 1, 0] and f1.tolist() == pytest.approx([2 * 0.5 * (2 / 3) / (0.5 + 2 / 3), 1, 0])


# ------------------------------------------------------------------------------------------------ bad input


def test_empty_input():
    assert metrics.bleu([[]], [[[1, 2]]])[0] == 0
    assert metrics.bleu([[1]], [[[]]])[0] == 0
    assert metrics.corpus_bleu([[[]]], [[]]) == 0
    assert metrics.bleu([], []).shape == (0,)
    assert metrics.edit_distance([[]], [[]])[0] == 0
    assert metrics.wer("", "a b") == 2 and metrics.mer("", "a b") == 1
    assert metrics.TER().corpus_score(["a"], [[""]]).score == 100
    assert metrics.TER().corpus_score([""], [[""]]).score == 0
    assert metrics.CHRF().corpus_score([""], [[""]]).score == 0


@pytest.mark.parametrize("call,word", [
    (lambda: metrics.bleu([[1]], [[]]), "reference"),
    (lambda: metrics.bleu([[1], [2]], [[[1]]]), "references"),
    (lambda: metrics.bleu(np.array([[2**31]]), np.array([[1]])), "32 bits"),
    (lambda: metrics.bleu(np.array([[1.5]]), np.array([[1]])), "integers"),
    (lambda: metrics.bleu(np.array([[1, 2]]), np.array([[1, 2]]), hypothesis_lengths=[3]), "lengths"),
    (lambda: metrics.bleu(np.array([[1, 2]]), np.array([[1, 2]]), hypothesis_lengths=[-1]), "lengths"),
    (lambda: metrics.bleu([[1]], [[[1]]], weights=[0.5, float("nan")]), "weights"),
    (lambda: metrics.bleu([[1]], [[[1]]], weights=[]), "max_n"),
    (lambda: metrics.bleu([[1]], [[[1]]], max_n=17), "max_n"),
    (lambda: metrics.bleu([[1]], [[[1]]], rule="nltk", smoothing="exp"), "smoothing"),
    (lambda: metrics.bleu([[1]], [[[1]]], smoothing="method1"), "smoothing"),
    (lambda: metrics.sentence_bleu([[1]], [1], smoothing_function=lambda p: p), "smoothing_function"),
    (lambda: metrics.sentence_bleu([], [1]), "reference"),
    (lambda: metrics.self_bleu([[1]]), "at least 2"),
    (lambda: metrics.BLEU(tokenize="moses"), "tokenize"),
    (lambda: metrics.BLEU().corpus_score(["a"], [["a", "b"]]), "references"),
    (lambda: metrics.edit_distance([[1]], [[1], [2]]), "references"),
    (lambda: metrics.repetition([[1]], 0), "window"),
])
def test_bad_input_names_the_argument(call, word):
    with pytest.raises(ValueError, match=word):
        call()


def test_zero_weights_leave_orders_out():
    one = metrics.bleu([[1, 2, 3, 4, 5]], [[[1, 2, 9, 4, 5]]], weights=[1.0, 0.0, 0.0, 0.0])
    assert one[0] == pytest.approx(metrics.bleu([[1, 2, 3, 4, 5]], [[[1, 2, 9, 4, 5]]], max_n=1)[0])
    assert metrics.bleu([[1, 2]], [[[1, 2]]], weights=[0.0, 0.0])[0] == 0


def test_devices_count_the_same(ctx):
    rng = np.random.default_rng(7)
    for case in range(12):
        vocabulary, longest = int(rng.integers(1, 9)), (4, 40, 700)[case % 3]
        pad = None if case % 2 else 1
        sequence = lambda: rng.integers(-vocabulary, vocabulary, rng.integers(0, longest)).tolist()  # noqa: E731
        references = [[sequence() for _ in range(rng.integers(1, 4))] for _ in range(4)]
        hypotheses = [sequence() for _ in references]
        expected = metrics.ngram_statistics(hypotheses, references, 5, pad_id=pad)
        np.testing.assert_array_equal(metrics.ngram_statistics(hypotheses, references, 5, pad_id=pad, ctx=ctx), expected)
        batch = metrics.TokenBatch(hypotheses, references, ctx=ctx)
        np.testing.assert_array_equal(batch.statistics(5, pad_id=pad), expected)
        if pad is None:
            np.testing.assert_array_equal(batch.bleu(), metrics.bleu(hypotheses, references))
        batch.close()
    candidates = rng.integers(0, 5, (3, 4, 20))
    references = rng.integers(0, 5, (3, 2, 20))
    batch = metrics.TokenBatch(candidates, references, ctx=ctx)
    np.testing.assert_array_equal(batch.bleu(effective_order=True), metrics.bleu(candidates, references, effective_order=True))
    assert batch.bleu().shape == (3, 4)
    for rule in ("nltk", "torchmetrics", "tensorbleu"):
        for corpus in (False, True):
            np.testing.assert_array_equal(
                metrics.bleu(candidates, references, rule=rule, corpus=corpus, ctx=ctx),
                metrics.bleu(candidates, references, rule=rule, corpus=corpus))
    assert metrics.TokenBatch([], [], ctx=ctx).statistics().shape == (0, 10)


def test_threads_number_words_the_same():
    rng = np.random.default_rng(8)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 3000, 400)) + ("é\u3000x" if k % 7 == 0 else ".") for k in range(150)]
    for tokenizer in ("13a", "rouge-stem", "chrf-chars"):
        with tamis.Context(threads=1) as one, tamis.Context(threads=3) as three:
            a, b = metrics.WordIDs(texts, tokenizer, ctx=one), metrics.WordIDs(texts, tokenizer, ctx=three)
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.offsets, b.offsets)
        assert a.vocabulary == b.vocabulary


def test_rates_and_rouge_add_up():
    targets, predictions = ["the cat sat on the mat", "a b c", ""], ["the cat is on a mat", "a c", "x"]
    for running, whole in ((metrics.WordErrorRate, metrics.wer), (metrics.CharErrorRate, metrics.cer)):
        metric = running()
        metric.update(predictions[:1], targets[:1])
        metric.update(predictions[1:], targets[1:])
        assert metric.compute() == whole(targets, predictions)
        metric.reset()
        with pytest.raises(ValueError, match="update"):
            metric.compute()
    rouge = metrics.ROUGEScore(["rouge1", "rougeL"])
    rouge.update(predictions[:2], targets[:2])
    rouge.update(predictions[2], targets[2])
    rows = metrics.RougeScorer(["rouge1", "rougeL"]).score_batch(targets, predictions)
    assert rouge.compute()["rougeL_fmeasure"] == pytest.approx(rows["rougeL"][:, 2].mean())
    assert rouge.compute()["rouge1_recall"] == pytest.approx(rows["rouge1"][:, 1].mean())


def test_bootstrap_of_rouge():
    rng = np.random.default_rng(4)
    rows = {"rouge1": rng.random((200, 3))}
    one, two = metrics.BootstrapAggregator(), metrics.BootstrapAggregator()
    one.add_scores(rows)
    for row in rows["rouge1"]:
        two.add_scores({"rouge1": metrics._sequence.Score(*row)})
    found = one.aggregate()["rouge1"]
    assert found == two.aggregate()["rouge1"]
    np.testing.assert_allclose(found.mid, rows["rouge1"].mean(axis=0), atol=0.01)
    error = rows["rouge1"].std(axis=0) / math.sqrt(200)
    np.testing.assert_allclose(np.array(found.high) - found.low, 2 * 1.96 * error, rtol=0.15)
    with pytest.raises(ValueError, match="confidence_interval"):
        metrics.BootstrapAggregator(1.0)


def test_prefixes_and_novelty():
    assert metrics.prefix_matches([[1, 2, 3], [1], [], [5, 6]], [[1, 2, 4], [1, 2], [3], [6, 5]]).tolist() == [2, 1, 0, 0]
    assert metrics.prefix_matches(np.array([[1, 2, 3]]), [[1, 2]]).tolist() == [2]
    rng = random.Random(3)
    for _ in range(20):
        corpus = [[rng.randrange(5) for _ in range(rng.randrange(12))] for _ in range(4)]
        texts = [[rng.randrange(6) for _ in range(rng.randrange(12))] for _ in range(3)]
        found = metrics.novelty(texts, corpus, 3)
        for n in (1, 2, 3):
            seen = {g for s in corpus for g in ngrams(s, n)}
            mine = {g for s in texts for g in ngrams(s, n)}
            assert found[n - 1] == pytest.approx(len(mine - seen) / len(mine) if mine else 0)


def test_long_segments_with_wide_ranks():
    rng = np.random.default_rng(9)
    references = [(rng.zipf(1.3, 34000) % 20000).tolist(), rng.integers(0, 300, 1000).tolist()]
    hypothesis = references[0][100:9000] + references[1][:500] + references[0][:50] * 3
    row = metrics.ngram_statistics([hypothesis], [references], 4)[0]
    for n in range(1, 5):
        most = Counter()
        for reference in references:
            most |= ngrams(reference, n)
        assert row[1 + n] == sum((ngrams(hypothesis, n) & most).values())
