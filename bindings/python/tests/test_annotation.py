"""Word labels against the annotation of the training recipe (Models/compressor-en), written independently, and against the loop of
the paper's code."""

import importlib.util
import json
import random
import warnings
from pathlib import Path

import numpy as np
import pytest

import tamis

RECIPE = Path(__file__).resolve().parents[3] / "Models" / "compressor-en" / "annotate.py"

WORDS = """the The a budget Budget, meeting (meeting) council Council's $5.2 5.2 million -- & T_V_s. ONE one. Straße STRASSE café CAFÉ
Ann: Bob: um um, yeah Yeah. not don't "quoted" quoted … 日本 日本。 i I I'm""".split()


@pytest.fixture(scope="module")
def recipe():
    if not RECIPE.exists():
        pytest.skip("the training recipe is not here")
    spec = importlib.util.spec_from_file_location("annotate", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pair(r, n):
    """A passage of turns, and words of it: in order as a rule, with changes of case and edges now and then."""
    words = [r.choice(WORDS) for _ in range(n)]
    text = "".join(w + r.choice([" ", " ", " ", "  ", "\n"]) for w in words)
    kept = [w for w in words if r.random() < 0.45]
    kind = r.random()
    if kind < 0.4:
        kept = [r.choice([w, w.lower(), w.strip(".,:"), w.upper()]) for w in kept]
    elif kind < 0.6:
        r.shuffle(kept)
    elif kind < 0.8:
        kept += ["unheard-of", "of"]
    return text, " ".join(kept)


def window_labels(original, compressed, window):
    label, prev, n = [False] * len(original), 0, len(original)
    for c in compressed if n else []:
        for i in range(window):
            j = min(prev + i, n - 1)
            if original[j] == c and not label[j]:
                label[j], prev = True, prev + window // 2 if j - prev > window // 2 else j
                break
            j = max(prev - i, 0)
            if original[j] == c and not label[j]:
                label[j], prev = True, j
                break
    return label


def test_labels_of_the_recipe(recipe):
    r = random.Random(1)
    exact = 0
    for _ in range(600):
        text, compressed = pair(r, r.randint(0, 60))
        found = tamis.annotate(text, compressed, window=150)
        spans, labels, variation, gap = recipe.annotate(text, compressed, 150)
        assert tamis.byte_spans(text, spans).tolist() == found.words.tolist()
        assert found.labels.tolist() == labels, (text, compressed)
        assert found.variation_rate == pytest.approx(variation, abs=1e-12)
        assert found.alignment_gap == pytest.approx(gap, abs=1e-12)
        exact += found.alignment == "exact"
    assert 300 < exact < 600


def test_the_window_of_the_papers_code():
    r = random.Random(2)
    for _ in range(300):
        words = [r.choice("abcdef") for _ in range(r.randint(0, 40))]
        kept = [r.choice("abcdefg") for _ in range(r.randint(0, 25))]
        window = r.randint(1, 30)
        found = tamis.annotate(" ".join(words), " ".join(kept), alignment="window", window=window)
        assert found.labels.tolist() == window_labels(words, kept, window)
        assert found.alignment == "window"
        n, hits = len(words), sum(k in words for k in kept)
        assert found.variation_rate == pytest.approx(1 - hits / len(kept) if kept else 1)
        assert found.hitting_rate == pytest.approx(hits / n if n else 0)
        assert found.matching_rate == pytest.approx(sum(found.labels) / n if n else 0)
        assert found.alignment_gap == pytest.approx(found.hitting_rate - found.matching_rate, abs=1e-12)


def test_bytes_and_odd_text():
    assert tamis.annotate(b"a \xff\xfe b", b"\xff\xfe").labels.tolist() == [False, True, False]
    assert tamis.annotate("a\0b c", "A\0b").labels.tolist() == [True, False]
    assert tamis.annotate("", "").labels.tolist() == []
    long = "word " * 5000
    assert tamis.annotate(long, "word").labels.sum() == 1
    for match, call in [
        ("window", lambda: tamis.annotate("a", "a", window=0)), ("window", lambda: tamis.annotate("a", "a", window=-3)),
        ("alignment", lambda: tamis.annotate("a", "a", alignment="best")), ("compressed", lambda: tamis.annotate("a", None)),
    ]:
        with pytest.raises(tamis.InvalidArgumentError, match=match):
            call()


@pytest.mark.parametrize("filter", ["paper", "official"])
def test_filters(rng, filter):
    for n in (0, 1, 2, 10, 333):
        vr, ag = np.round(rng.random((2, n)), 1)
        kept = np.arange(n)
        if n:
            for values, q in ((vr, 95 if filter == "paper" else 90), (ag, 90)):
                if not len(kept):
                    break
                theta = np.percentile(values[kept], q)
                kept = kept[values[kept] <= theta] if filter == "paper" else kept[values[kept] < theta]
        np.testing.assert_array_equal(tamis.filter_annotations(vr, ag, filter), kept)
    assert len(tamis.filter_annotations([1, 0, 0], [0, 0, 0], None)) == 3
    with pytest.raises(tamis.InvalidArgumentError, match="drop_gap"):
        tamis.filter_annotations([1], [1], drop_gap=2)
    with pytest.raises(tamis.InvalidArgumentError, match="filter"):
        tamis.filter_annotations([1], [1], "all")


def write(path, pairs):
    path.write_text("".join(json.dumps(p, ensure_ascii=False) + "\n" for p in pairs), encoding="utf-8")


def test_files(tmp_path):
    r = random.Random(3)
    pairs = [dict(zip(("text", "compressed"), pair(r, 40)), id=f"m/{i}") for i in range(200)]
    write(tmp_path / "in.jsonl", pairs)
    report = tamis.annotate_file(tmp_path / "in.jsonl", tmp_path / "out.jsonl", progress=False)
    found = [tamis.annotate(p["text"], p["compressed"]) for p in pairs]
    kept = tamis.filter_annotations([f.variation_rate for f in found], [f.alignment_gap for f in found])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == [f"m/{i}" for i in kept]
    for row, i in zip(rows, kept):
        assert row["text"] == pairs[i]["text"]
        assert row["words"] == found[i].words.tolist() and row["labels"] == found[i].labels.astype(int).tolist()
        assert row["alignment_gap"] == found[i].alignment_gap and row["variation_rate"] == found[i].variation_rate
    assert report.pairs == 200 and report.kept == len(kept) == 200 - report.dropped_variation - report.dropped_gap
    assert report.labelled == sum(int(found[i].labels.sum()) for i in kept)


def test_the_recipe_keeps_the_same_pairs(recipe, tmp_path):
    r = random.Random(4)
    write(tmp_path / "in.jsonl", [dict(zip(("text", "compressed"), pair(r, 30)), id=f"m/{i}") for i in range(150)])
    theirs = recipe.passages(tmp_path / "in.jsonl", window=150)
    tamis.annotate_file(tmp_path / "in.jsonl", tmp_path / "out.jsonl", progress=False)
    ours = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [o["id"] for o in ours] == [t["id"] for t in theirs]
    assert [o["labels"] for o in ours] == [[int(x) for x in t["labels"]] for t in theirs]


def test_bad_lines(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a b", "compressed": "a"}\nnonsense\n{"text": 1}\n')
    seen = []
    report = tamis.annotate_file(
        tmp_path / "in.jsonl", tmp_path / "out.jsonl", bad_line=lambda line, sentence: seen.append((line, sentence)), progress=False)
    assert [line for line, _ in seen] == [2, 3] and report.bad_lines == 2 and report.kept == 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tamis.annotate_file(tmp_path / "in.jsonl", tmp_path / "out.jsonl", progress=False)
    assert ["line 2" in str(w.message) for w in caught] == [True, False]
    with pytest.raises(tamis.FormatError, match="line 2"):
        tamis.annotate_file(tmp_path / "in.jsonl", tmp_path / "other.jsonl", strict=True, progress=False)
    assert not (tmp_path / "other.jsonl").exists()
    with pytest.raises(ZeroDivisionError):
        tamis.annotate_file(tmp_path / "in.jsonl", tmp_path / "other.jsonl", bad_line=lambda *_: 1 / 0, progress=False)
    with pytest.raises(tamis.FileMissingError):
        tamis.annotate_file(tmp_path / "none.jsonl", tmp_path / "other.jsonl", progress=False)
    write(tmp_path / "many.jsonl", [{"text": "a b", "compressed": "b"}] * 200)
    with pytest.raises(tamis.CancelledError):
        tamis.annotate_file(tmp_path / "many.jsonl", tmp_path / "other.jsonl", progress=lambda done: False)
