"""tamis.eval: needles, retained mass against loops in float64, the oracle against all subsets, pictures, the command line."""

import itertools
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tamis
from tamis.eval import (
    EvalMethod, HaystackModel, PeakMemory, RecallTable, SentenceNeedles, TokenNeedles, compare, oracle_mass, parse_methods,
    row_mass, tile_mass, wilson,
)
from tamis.eval.__main__ import main
from tamis.eval.evaluation import Picture
from tamis.eval.svg import _percent, colour, mask_map, needle_map

SVG = "{http://www.w3.org/2000/svg}"


def probabilities(q, k, window=None, softcap=None):
    """Causal attention in float64, by loops: [heads, n, n]."""
    heads, n, d = q.shape
    p = np.zeros((heads, n, n))
    for h in range(heads):
        keys = k[h * k.shape[0] // heads].astype(np.float64)
        for i in range(n):
            low = 0 if window is None else max(0, i - window + 1)
            z = np.array([q[h, i].astype(np.float64) @ keys[j] for j in range(low, i + 1)]) / np.sqrt(d)
            if softcap:
                z = softcap * np.tanh(z / softcap)
            e = np.exp(z - z.max())
            p[h, i, low : i + 1] = e / e.sum()
    return p


@pytest.fixture
def tensors(rng):
    q, k, v = (rng.standard_normal((heads, 90, 16), dtype=np.float32) for heads in (4, 2, 2))
    return 2 * q, k, v


# ------------------------------------------------------------------------------------------------------------- mass


@pytest.mark.parametrize("rule", [{}, {"window": 20}, {"softcap": 3.0}])
def test_tile_mass(tensors, cpu, rule):
    q, k, v = tensors
    _, lse = tamis.attention(q, k, v, return_lse=True, ctx=cpu, **rule)
    p = probabilities(q, k, **rule)
    seen = 0
    for h, b, mass in tile_mass(q, k, lse, 32, 8, **rule):
        exact = p[h, b * 32 : (b + 1) * 32].mean(0)
        np.testing.assert_allclose(mass, [exact[j : j + 8].sum() for j in range(0, 90, 8)], atol=2e-6)
        assert abs(mass.sum() - 1) < 1e-5
        seen += 1
    assert seen == 4 * 3


@pytest.mark.parametrize("name", ["dhsa_topk", "block", "dhsa", "dhsa_vsb"])
def test_compare(tensors, cpu, name):
    q, k, v = tensors
    own = {"sinks": 8, "local": 16, "instruction_tokens": 3} if name == "dhsa" else {}
    method = EvalMethod(name, {"query_block": 32, "key_block": 8, "density": 0.45, **own})
    found = compare(method, q, k, v, ctx=cpu)
    p = probabilities(q, k)
    tiles = found.mask.tiles
    keys = tiles.to_mask(90).reshape(tiles.heads, 3, 90)
    listed = np.repeat(np.repeat(keys, 32, axis=1)[:, :90], 4 // tiles.heads, axis=0)
    kept = p * listed
    assert found.retained == pytest.approx(kept.sum(-1).mean(), abs=1e-5)
    assert 0.2 < found.retained < 0.9999
    # The best subset of as many tiles, by trying them all.
    best = 0.0
    counts = np.diff(tiles.row_ptr).reshape(tiles.heads, 3)
    for h in range(4):
        for b in range(3):
            rows = p[h, b * 32 : min((b + 1) * 32, 90)]
            mass = [rows[:, j : j + 8].sum() for j in range(0, 90, 8)]
            subsets = itertools.combinations(range(12), counts[h * tiles.heads // 4, b])
            best += max(sum(mass[j] for j in subset) for subset in subsets)
    assert found.oracle == pytest.approx(best / (4 * 90), abs=1e-5)
    assert found.retained <= found.oracle + 1e-6
    assert found.retained_of_oracle_blocks == pytest.approx(found.retained, abs=1e-6)
    # The output that the mask's renormalised probabilities give.
    values = np.repeat(v, 2, axis=0).astype(np.float64)
    sparse, dense = (kept / np.maximum(kept.sum(-1, keepdims=True), 1e-300)) @ values, p @ values
    assert found.output_error == pytest.approx(np.linalg.norm(sparse - dense) / np.linalg.norm(dense), rel=1e-4)
    legal = np.tril(np.ones((90, 90), bool))
    assert found.share_of_pairs == pytest.approx((listed & legal).sum() / (4 * legal.sum()))
    assert found.share_of_all_tiles == pytest.approx(counts.mean() / 12)


def test_everything_listed_is_dense(tensors, cpu):
    q, k, v = tensors
    for method in (EvalMethod("dense"), EvalMethod("dhsa_topk", {"query_block": 32, "key_block": 8, "density": 1.0})):
        found = compare(method, q, k, v, ctx=cpu)
        assert found.retained == 1 and found.output_error == 0 and found.density == 1
        assert found.oracle == pytest.approx(1, abs=1e-5)


def test_row_mass_of_empty_rows():
    np.testing.assert_allclose(row_mass([[-np.inf, 0.0]], [[1.0, np.log(4)]]), [[0.0, 0.25]])


def test_oracle_of_some_blocks(tensors, cpu):
    q, k, v = tensors
    _, lse = tamis.attention(q, k, v, return_lse=True, ctx=cpu)
    tiles = EvalMethod("dhsa_topk", {"query_block": 32, "key_block": 8, "density": 0.3}).prompt(cpu).select(q, k).tiles
    rows = np.ones((4, 90))
    rows[:, 32:64] = 0.5
    by_block = [oracle_mass(tiles, rows, q, k, lse, blocks=[b]) for b in range(3)]
    assert [round(kept, 6) for _, kept in by_block] == [1.0, 0.5, 1.0]
    whole, _ = oracle_mass(tiles, rows, q, k, lse)
    assert whole == pytest.approx(sum(best * size for (best, _), size in zip(by_block, (32, 32, 26))) / 90)


# ---------------------------------------------------------------------------------------------------------- needles


def test_token_needles():
    needles = TokenNeedles(range(1000, 3000), range(300, 400), 7, 8)
    haystack = needles.haystack(256, 10, np.random.default_rng(3))
    assert [q.depth for q in haystack] == list(range(10))
    for question in haystack:
        body = question.prompt.tolist()
        assert len(body) + len(question.answer) == 256
        start, end = question.place
        needle = body[start:end]
        assert needle == [7, *body[-2:], *question.answer, 8] and body[-3] == 7
        assert abs(start / 251 - (question.depth + 0.5) / 10) < 0.06
        filler = [i for i in body if i >= 1000]
        assert filler == list(range(filler[0], filler[0] + 256 - 5 - 60))
    words = np.concatenate([q.prompt[q.place[0] + 1 : q.place[1] - 1] for q in haystack])
    assert len(set(words.tolist())) == 40
    with pytest.raises(ValueError, match="length is 60: 10 needles of 6 tokens leave no room"):
        needles.haystack(60, 10, np.random.default_rng(3))
    with pytest.raises(ValueError, match="depths is 26, expected at most 25"):
        needles.haystack(512, 26, np.random.default_rng(3))


@pytest.mark.parametrize("suffix", [(), (1, 2, 3)])
def test_sentence_needles(suffix):
    def encode(text):  # words with the space before them
        return [int.from_bytes(word.encode()[:7], "big") for word in text.replace(" ", "\0 ").split("\0") if word]

    needles = SentenceNeedles(encode, "one two three four. " * 400, prefix=(5,), suffix=suffix)
    for depth in range(4):
        question = needles.question(300, depth, 4, np.random.default_rng(depth))
        assert question.prompt.size + len(question.answer) == 300 and question.prompt[0] == 5
        start, end = question.place
        shown = [int(i).to_bytes(8, "big").lstrip(b"\0").decode() for i in question.prompt[start:end]]
        assert shown[:4] == [" The", " secret", " number", " of"] and shown[-1] == f" {question.text}."
        assert question.answer == (encode(f" {question.text}")[0],)
        assert set(suffix) <= set(question.prompt.tolist())
        assert depth / 4 < (start - 10) / (300 - 45) < (depth + 1) / 4 + 0.1
    with pytest.raises(ValueError, match="length is 20: the needle and the question leave no room"):
        needles.question(20, 0, 4, np.random.default_rng(0))


def test_wilson():
    assert wilson(0, 0) == (0, 1)
    low, high = wilson(197, 200)
    assert (round(low, 3), round(high, 3)) == (0.957, 0.995)
    assert wilson(200, 200)[1] == 1 and wilson(0, 200)[0] == 0


# ---------------------------------------------------------------------------------------------------------- methods


def test_settings():
    dense, topk, mean, block = parse_methods(
        ["dense", "dhsa_topk", "dhsa_topk@mean", "block"],
        ["query_block=32", "dhsa_topk@mean.score=mean", "dhsa_topk.key_block=16", "block.budget=64",
         "dhsa_topk.query_block=64"],
        density=0.25, defaults={"": {"key_block": 8}, "block": {"query_block": 96}})
    assert dense.dense and dense.options == {"key_block": 8, "query_block": 32}
    assert topk.options == {"key_block": 16, "query_block": 64, "density": 0.25}
    assert mean.name == "dhsa_topk" and mean.options == {**topk.options, "score": "mean"}
    assert block.options == {"key_block": 8, "query_block": 32, "budget": 64}
    assert parse_methods(["dhsa_topk"], ["density=null"], density=0.25)[0].options == {}


@pytest.mark.parametrize("labels, settings, sentence", [
    (["fast"], [], "method is 'fast', expected one of dense, dhsa"),
    (["block", "block"], [], "method 'block' is given twice"),
    (["block"], ["dhsa.sinks=3"], "--set dhsa.sinks=3: dhsa is none of the methods, block"),
    (["block"], ["sink=3"], "--set sink=3: expected option=value"),
    (["block"], ["sinks"], "--set sinks: expected option=value"),
])
def test_bad_settings(labels, settings, sentence):
    with pytest.raises(tamis.InvalidArgumentError) as error:
        parse_methods(labels, settings)
    assert str(error.value).startswith(sentence)


# ------------------------------------------------------------------------------------------------- memory, pictures


def test_peak_memory():
    with PeakMemory() as peak:
        np.ones(16 << 20, np.float32)
    with PeakMemory() as none:
        pass
    if peak.bytes is None:
        pytest.skip("/proc/self/clear_refs is not writable")
    assert 63 << 20 < peak.bytes < 80 << 20
    assert none.bytes < 8 << 20


def test_needle_map():
    table = RecallTable(4)
    for depth in range(4):
        for trial in range(5):
            table.cell("block", 512).add(depth, trial < depth)
    root = ET.fromstring(needle_map(table, ["dense", "block"], [256, 512], "a < b"))
    texts = [t.text for t in root.iter(SVG + "text")]
    assert "a < b" in texts and {"0", "20", "40", "60"} <= set(texts) and texts.count("256") == 2
    titles = {t.text for t in root.iter(SVG + "title")}
    assert "block, 512 tokens, depth 88%: 3 of 5" in titles and "dense, 256 tokens, depth 12%" in titles
    cells = {g.find(SVG + "title").text: g.find(SVG + "rect").get("fill") for g in root.iter(SVG + "g")}
    assert cells["block, 512 tokens, depth 88%: 3 of 5"] == colour(0.6)
    assert cells["block, 256 tokens, depth 88%"] == "#e4e4e4"
    assert [_percent(x) for x in (0.9999, 1, 0.5, 0.123)] == ["99.9", "100", "50", "12.3"]


def test_mask_map():
    listed = np.zeros((4, 16), bool)
    mass = np.zeros((4, 16))
    for b in range(4):
        listed[b, [0, 4 * b, 4 * b + 1, 4 * b + 2, 4 * b + 3]] = True
        mass[b, : 4 * b + 4] = 1 / (4 * b + 4)
    root = ET.fromstring(mask_map(Picture("block", 128, 1, 0, listed, mass, 32, 8, (40, 46)), "title"))
    texts = [t.text for t in root.iter(SVG + "text")]
    # 4 + 3 x 5 of 40 legal tiles; their mass over the rows.
    assert f"listed: {19 / 40:.1%} of the legal tiles, {(1 + 5 / 8 + 5 / 12 + 5 / 16) / 4:.1%} of the mass" in texts
    assert texts.count("needle") == 2


# ------------------------------------------------------------------------------------------------- the haystack model


@pytest.fixture(scope="module")
def model():
    try:
        return HaystackModel(ctx=tamis.Context(threads=2))
    except tamis.FileMissingError as missing:
        pytest.skip(str(missing))


def test_haystack_accuracy(model):
    """Dense attention answers everything at the trained length; first and last keys alone answer late needles only."""
    haystack = next(model.questions(256, 5, 9))
    dense, ends = EvalMethod("dense"), EvalMethod("a_shape", {"query_block": 32, "key_block": 8, "sinks": 8, "local": 40})
    assert model.answers(haystack, dense) == model.answers(haystack, dense, "decode") == [True] * 5
    assert model.answers(haystack, ends) == [False, False, False, False, True]
    # What a needle leaves in its own keys and values is local, so a dense question finds it.
    assert sum(model.answers(haystack, ends, "decode")) >= 3


def test_forward_in_parts(model):
    """Decode over the keys of a prompt gives the logits of one pass."""
    prompt = next(model.questions(128, 3, 2))[1].prompt
    attend = EvalMethod("dense").prompt(model.ctx)
    past = []
    model.forward(prompt[:-1], lambda _, q, k, v: attend(q, k, v), past)
    parts = model.forward(prompt[-1:], lambda _, q, k, v: tamis.attention(q, k, v, ctx=model.ctx), past)
    whole = model.forward(prompt, lambda _, q, k, v: attend(q, k, v))
    assert np.abs(parts - whole).max() < 1e-3
    assert past[0][0].shape == (model.kv_heads, prompt.size, model.head_dim)


def test_command_line(tmp_path, capsys):
    status = main([
        "--methods", "dense", "dhsa_topk", "dhsa", "block", "--lengths", "128", "256", "--depths", "3", "--trials", "2",
        "--repeats", "1", "--threads", "2", "--asked", "decode", "--set", "dhsa.sinks=4", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert status == 0
    rows = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines()]
    assert [(row["length"], row["method"]) for row in rows] == [
        (n, m) for n in (128, 256) for m in ("dense", "dhsa_topk", "dhsa", "block")]
    for row in rows:
        assert row["asked"] == 6 and sum(row["won_by_depth"]) == row["won"] and row["command"].endswith(str(tmp_path))
        assert 0 < row["retained_mass"] <= row["oracle_mass"] + 1e-5
        assert (row["density"] == 1) == (row["method"] == "dense") == (row["output_error"] == 0)
        assert row["dense_ms"] > 0 and (row["select_ms"] > 0) == (row["method"] != "dense")
        assert len(row["retained_by_layer"]) == 4
    assert rows[0]["accuracy"] == 1 and rows[2]["options"]["sinks"] == 4
    assert (tmp_path / "eval.md").read_text() in out and "| 256 | dhsa_topk |" in out
    names = {"eval.md", "eval.jsonl", "needles.svg"} | {
        f"mask-{m}-{n}.svg" for m in ("dense", "dhsa_topk", "dhsa", "block") for n in (128, 256)}
    assert {path.name for path in tmp_path.iterdir()} == names
    for path in tmp_path.glob("*.svg"):
        ET.parse(path)


@pytest.mark.parametrize("arguments, sentence", [
    (["--depths", "0"], "--depths is 0, expected at least 1"),
    (["--methods", "quick"], "method is 'quick', expected one of"),
    (["--model", "haystack:/nowhere"], "/nowhere/config.json: no such file"),
    (["--lengths", "40"], "length is 40: 10 needles of 6 tokens leave no room for text"),
    (["--methods", "dhsa_topk", "--set", "query_block=33"], "options->query_block is 33"),
])
def test_bad_command_lines(tmp_path, capsys, arguments, sentence):
    assert main([*arguments, "--out", str(tmp_path), "--trials", "1"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"tamis eval: {sentence}")
