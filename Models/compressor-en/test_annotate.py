"""python -m pytest Models/compressor-en/test_annotate.py"""

import itertools
import random

import annotate


def test_words_are_runs_of_non_space():
    assert annotate.words("") == [] and annotate.words(" \n ") == []
    assert [("a  bc\nd"[s:e]) for s, e in annotate.words("a  bc\nd")] == ["a", "bc", "d"]


def test_key_folds_case_and_edges_only():
    assert annotate.key("\u201cWell-matched,\u201d") == "well-matched"
    assert annotate.key("T_V_.") == "t_v"
    assert annotate.key("--") == "--"


def test_a_stammer_keeps_the_word_next_to_its_phrase():
    original = "I think the the um the remote".split()
    assert annotate.align_exact(original, "the remote".split()) == [False] * 5 + [True] * 2


def test_surface_decides_between_equals():
    original = "off. On x off".split()
    assert annotate.align_exact(original, ["off."]) == [True, False, False, False]


def test_not_a_subsequence():
    assert annotate.align_exact("a b c".split(), "c a".split()) is None
    _, label, variation, _ = annotate.annotate("a b c", "c a z")
    assert label == [True, False, True] and abs(variation - 1 / 3) < 1e-12


def test_a_name_is_taken_from_the_turn_whose_words_are_kept():
    text = "Ann: Well.\nBob: No.\nAnn: I want tea"
    spans, label, _, _ = annotate.annotate(text, "Ann: want tea")
    assert [text[a:b] for (a, b), x in zip(spans, label) if x] == ["Ann:", "want", "tea"]
    assert label == [False] * 4 + [True, False, True, True]
    assert annotate.lines(text, spans) == [0, 0, 1, 1, 2, 2, 2, 2]


def cost(original, compressed, line, at):
    inside = lambda j: j > 0 and line[j] == line[j - 1]
    gaps = sum(4 * (b - a - 1).bit_length() + 8 * (line[a] != line[b] and inside(b)) for a, b in zip(at, at[1:]))
    return gaps + sum(original[j] != w for j, w in zip(at, compressed))


def test_exact_is_the_cheapest_embedding():
    """Against every embedding there is."""
    rng = random.Random(0)
    for _ in range(300):
        original = [rng.choice(["a", "A", "b", "b.", "c"]) for _ in range(rng.randint(1, 9))]
        at = sorted(rng.sample(range(len(original)), rng.randint(1, len(original))))
        compressed = [original[j].lower().strip(".") for j in at]
        line = sorted(rng.randint(0, 3) for _ in original)
        label = annotate.align_exact(original, compressed, line)
        chosen = [j for j, x in enumerate(label) if x]
        keys = [annotate.key(w) for w in original]
        best = min(cost(original, compressed, line, c) for c in itertools.combinations(range(len(original)), len(compressed))
                   if [keys[j] for j in c] == [annotate.key(w) for w in compressed])
        assert [keys[j] for j in chosen] == [annotate.key(w) for w in compressed]
        assert cost(original, compressed, line, chosen) == best


def test_window_alignment_follows_the_paper():
    original, compressed = "a b a c a".split(), "c a".split()
    assert annotate.align_window(original, compressed, 8) == [False, False, False, True, True]
    # equal distance both ways: the later word
    assert annotate.align_window("a b a".split(), "b a".split(), 8) == [False, True, True]
    # beyond the window: skipped
    assert annotate.align_window(["x"] * 10 + ["a"], ["a"], 4) == [False] * 11
    assert annotate.align_window([], ["a"]) == []


def test_filters_drop_what_is_strictly_above_the_quantile(tmp_path):
    import json
    path = tmp_path / "pairs.jsonl"
    rows = [{"id": f"m/{i}", "text": "a b c d", "compressed": "a c"} for i in range(30)]
    rows.append({"id": "m/30", "text": "a b c d", "compressed": "x y a"})
    path.write_text("\n".join(json.dumps(r) for r in rows))
    kept = annotate.passages(str(path))
    assert len(kept) == 30 and all(r["labels"] == [True, False, True, False] for r in kept)


def test_group_is_all_but_the_last_part():
    assert annotate.group("qmsum/ES2014d/14") == "qmsum/ES2014d"
