"""CharBench against Python's own re, random and str, figures against numpy, bad input."""

import math
import random
import re

import numpy as np
import pytest

import tamis
from tamis.metrics import CharBench
from tamis.metrics.charbench import TASKS, accuracy_by_value, correlation, counting_bias, error_overlap, score, token_lengths

ALPHABET = "aAbBcDeéß_9 -.\n東"


def texts(seed, n=4000):
    rng = random.Random(seed)
    return ["".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, n))) for _ in range(4)]


def rows(texts, count, lengths, seed):
    """The rows by Python alone."""
    words = {w for text in texts for w in re.findall(r"\b[a-zA-Z]+\b", text)}
    rng, found = random.Random(seed), []
    for length in lengths:
        chosen = sorted(w for w in words if len(w) == length)
        rng.shuffle(chosen)
        each = min(count, len(chosen) // 4)
        for number, task in enumerate(TASKS):
            for word in chosen[number * each : (number + 1) * each]:
                c = rng.choice(word)
                gold = {
                    "count_unique_chars": len(set(word)), "count_character_frequency": word.count(c),
                    "find_first_occurrence": word.index(c), "find_last_occurrence": word.rindex(c)}[task]
                found.append((task, word, None if task == "count_unique_chars" else c, gold, len(set(word))))
    return found


@pytest.mark.parametrize("count, low, high, seed", [(3, 1, 5, 42), (10**6, 2, 4, 7), (1, 3, 3, 2**40 + 1)])
def test_rows_are_those_of_python(count, low, high, seed):
    given = texts(seed % 1000)
    bench = CharBench(given, rows=count, min_length=low, max_length=high, seed=seed)
    expected = rows(given, count, range(low, high + 1), seed)
    assert [(r.task, r.word, r.character, r.gold, r.unique_characters) for r in bench] == expected
    words = [r.word for r in bench]
    assert len(set(words)) == len(words) >= 4 * (high - low + 1) or low < 3
    # Texts of one word each give the same as one text.
    single = sorted(set(re.findall(r"\b[a-zA-Z]+\b", "\n".join(given))))
    again = CharBench(single, rows=count, min_length=low, max_length=high, seed=seed)
    assert list(again) == list(bench)


def test_prompts():
    bench = CharBench(texts(1), rows=2, min_length=3, max_length=3)
    for i, row in enumerate(bench):
        prompt = bench.prompt(i)
        assert f'"{row.word}"' in prompt and prompt.endswith("Answer:")
        assert row.character is None or f'"{row.character}"' in prompt


def test_features():
    bench = CharBench(["abcabc bcabca cabcab aabbcc"], rows=1, min_length=6, max_length=6)
    for i, row in enumerate(bench):
        pieces = [row.word[:1], row.word[1:4], row.word[4:]]
        found = bench.features_of(i, pieces)
        assert (found.word_length, found.number_of_tokens, found.compression_rate) == (6, 3, 2)
        assert found.gold == row.gold and found.gold_share == row.gold / 6 and found.unique_characters == row.unique_characters
        at = np.repeat([1, 3, 2], [1, 3, 2])
        assert found.target_token_length == (at[row.gold] if row.task.startswith("find") else 0)
        assert bench.features_of(i, [1, 3, 2]) == found
    with pytest.raises(tamis.InvalidArgumentError, match="token_lengths add up to 5; expected 6"):
        bench.features_of(0, [1, 4])
    with pytest.raises(tamis.InvalidArgumentError, match=r"token_lengths\[1\] is 0; expected at least 1"):
        bench.features_of(0, [6, 0])


def python_int(reply):
    try:
        return int(reply.strip())
    except ValueError:
        return None


@pytest.mark.parametrize("reply", [
    "3", " 3\n", "+3", "-3", "3.0", "", " ", "three", "3 3", "1_0", "1__0", "_1", "1_", "+", "--1", "003", "0x3", "3,",
    "\u30003\u00a0", "9" * 30, "-" + "9" * 30, "\x1f4", "12345678901234567890"])
def test_replies_are_read_as_pythons_int(reply):
    expected = python_int(reply)
    right, parsed, value = score(reply, 3)
    assert (right, parsed) == (expected == 3, expected is not None)
    assert value == (0 if expected is None else min(max(expected, -(2**63)), 2**63 - 1))


def test_figures():
    rng = np.random.default_rng(5)
    for n in (2, 3, 50, 400):
        x, y = rng.integers(0, 6, n) * 1.5, rng.integers(0, 2, n)
        x[0], y[0], y[1] = 77, 0, 1
        assert correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
        for value, count, share, error in accuracy_by_value(x, y):
            own = y[x == value]
            assert count == len(own) and share == own.mean()
            assert error == pytest.approx(math.sqrt(share * (1 - share) / count))
        assert [row[0] for row in accuracy_by_value(x, y)] == sorted(set(x))
        a, b = rng.integers(0, 2, n), rng.integers(0, 2, n)
        wrong = [set(np.flatnonzero(v == 0)) for v in (a, b)]
        if wrong[0] | wrong[1]:
            assert error_overlap(a, b) == len(wrong[0] & wrong[1]) / len(wrong[0] | wrong[1])
        values, gold, parsed = rng.integers(0, 5, n), rng.integers(0, 5, n), rng.integers(0, 2, n)
        kept = (values != gold) & (gold != 0) & (parsed == 1)
        expected = (values - gold)[kept].mean() if kept.any() else math.nan
        assert counting_bias(values, gold, parsed) == pytest.approx(expected, nan_ok=True)
    assert error_overlap([1, 1], [1, 1]) == 1 and error_overlap([], []) == 1
    assert math.isnan(correlation([2.5, 2.5, 2.5], [0, 1, 1])) and math.isnan(correlation([1, 2], [1, 1]))
    assert math.isnan(correlation([], [])) and accuracy_by_value([], []) == []
    assert correlation([1e308, -1e308], [1, 0]) == pytest.approx(1)
    assert math.isnan(counting_bias([1], [1])) and counting_bias([5, 9], [3, 0]) == 2


def test_figures_of_a_run():
    bench = CharBench(texts(3), rows=6, min_length=2, max_length=5)
    features = [bench.features_of(i, [1] * len(row.word)) for i, row in enumerate(bench)]
    right = [str(row.gold) for row in bench]
    assert all(found["accuracy"] == 1 for found in bench.figures(right, features).values())
    off = [str(row.gold + 2) if i % 2 else f" {row.gold} " for i, row in enumerate(bench)]
    found = bench.figures(off, features)
    assert found["all"]["n"] == len(bench) and found["all"]["bias"] == 2
    assert found["all"]["accuracy"] == pytest.approx(bench.score(off).correct.mean())
    assert set(found) == {*TASKS, "all"} and "target_token_length" not in found["count_unique_chars"]["pearson"]
    assert sum(n for _, n, _, _ in found["all"]["by_value"]["word_length"]) == len(bench)


def test_lengths_of_tokens():
    class Cut:
        def __init__(self, offsets):
            self.offsets = offsets

        def __call__(self, word, **_):
            return {"offset_mapping": self.offsets}

    assert token_lengths(Cut([(0, 2), (2, 5)]), "abcde") == [2, 3]
    assert token_lengths(Cut([(0, 0), (0, 2), (2, 5)]), "abcde") == [2, 3]
    assert token_lengths(Cut([(0, 1), (0, 5)]), "abcde") == [5]  # a word mark of its own
    with pytest.raises(tamis.InvalidArgumentError, match="expected tokens that cover it one after another"):
        token_lengths(Cut([(0, 2), (3, 5)]), "abcde")


@pytest.mark.parametrize("call, sentence", [
    (lambda: CharBench(["ab"]), "text has fewer than 4 words of each length 4 to 10"),
    (lambda: CharBench([]), "text has fewer than 4 words"),
    (lambda: CharBench("abcd"), "texts is str"),
    (lambda: CharBench(["abcd"], min_length=0), "options->min_length is 0 and max_length 10"),
    (lambda: CharBench(["abcd"], min_length=9, max_length=8), "options->min_length is 9 and max_length 8"),
    (lambda: CharBench(["abcd"], max_length=65), "options->min_length is 4 and max_length 65"),
    (lambda: CharBench(["abcd"], rows=0), "options->rows is 0"),
    (lambda: CharBench(["abcd"], seed=-1), "seed is -1"),
    (lambda: correlation([1, math.inf], [0, 1]), "feature[1] is inf"),
    (lambda: correlation([1, 2], [0, 2]), "correct is int64[2], expected [n] of 0 or 1"),
    (lambda: error_overlap([1], [1, 0]), "correct_a has 1 rows and correct_b 2"),
])
def test_bad_input(call, sentence):
    with pytest.raises(tamis.InvalidArgumentError) as error:
        call()
    assert str(error.value).startswith(sentence)
