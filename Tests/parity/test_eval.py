"""tamis.eval against Models/haystack/evaluate.py, which shares no code with it, and its transformers models."""

import json
import pathlib
import sys

import numpy as np
import pytest
import tamis
import torch
from tamis.eval import EvalMethod, HaystackModel, compare
from tamis.eval.__main__ import main
from tamis.eval.transformers_model import TransformersModel

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "Models" / "haystack"
sys.path.insert(0, str(FOLDER))
import evaluate as reference  # noqa: E402


@pytest.fixture(scope="module")
def ctx():
    return tamis.Context(threads=2)


# The reference leaves a file to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("length, few, many", [(256, 20, 20), (1024, 4, 19)])
def test_the_same_answers_as_the_reference(ctx, length, few, many):
    """The same questions, asked of both; at twice the trained length some are answered and some are not."""
    model = HaystackModel(FOLDER, ctx=ctx)
    theirs, settings = reference.Model(str(FOLDER), length + 2), reference.Settings("dense")
    won = []
    haystacks = model.questions(length, 10, 5)
    for _ in range(2):
        haystack = next(haystacks)
        body = haystack[0].prompt[:-3]
        words = [[*question.prompt[-2:].tolist(), *question.answer] for question in haystack]
        expected = reference.recalls(theirs, body, words, int(haystack[0].prompt[-3]), settings)
        ours = model.answers(haystack, EvalMethod("dense"))
        assert ours == expected == model.answers(haystack, EvalMethod("dense"), "decode")
        won += ours
    assert few <= sum(won) <= many


def test_transformers_sees_the_same_tensors(ctx):
    """The haystack model as a transformers model: the same queries and keys, so the same masses, layer by layer."""
    ours, theirs = HaystackModel(FOLDER, ctx=ctx), TransformersModel(str(FOLDER), dtype="float32", ctx=ctx)
    prompt = next(ours.questions(256, 5, 1))[0].prompt
    seen = []
    for model in (ours, theirs):
        layers = []
        model.visit(prompt, lambda layer, q, k, v, rule: layers.append((layer, q, k, v, rule)))
        seen.append(layers)
    for (i, q, k, v, _), (j, q2, k2, v2, rule) in zip(*seen, strict=True):
        assert i == j
        for a, b in ((q, q2), (k, k2), (v, v2)):
            np.testing.assert_allclose(a, b, atol=2e-3)
        method = EvalMethod("dhsa_topk", {"query_block": 32, "key_block": 8})
        expected = compare(method, q, k, v, ctx=ctx).retained
        assert compare(method, q2, k2, v2, ctx=ctx, **rule).retained == pytest.approx(expected, abs=1e-3)


def test_transformers_answers(ctx):
    """Questions in the model's own format are answered through transformers as in numpy: the sparse path is the same path."""
    ours, theirs = HaystackModel(FOLDER, ctx=ctx), TransformersModel(str(FOLDER), dtype="float32", ctx=ctx)
    haystack = next(ours.questions(256, 6, 3))
    for method in (EvalMethod("dense"), EvalMethod("a_shape", {"query_block": 32, "key_block": 8, "sinks": 8, "local": 64})):
        for asked in ("decode", "prompt"):
            said = theirs.answers(haystack, method, asked)
            assert said == ours.answers(haystack, method, asked)
        assert any(said) and all(said) == method.dense


def test_command_line(tmp_path, capsys):
    assert main([
        "--model", str(FOLDER), "--dtype", "float32", "--methods", "dense", "dhsa_topk", "--set", "query_block=32",
        "key_block=8", "--lengths", "192", "--depths", "2", "--trials", "1", "--repeats", "1", "--layers", "1", "--threads", "2",
        "--out", str(tmp_path),
    ]) == 0
    dense, topk = (json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines())
    assert dense["torch"] == torch.__version__ and dense["asked"] == 2 and dense["retained_mass"] == 1
    assert 0.3 < topk["retained_mass"] < 1 and list(topk["retained_by_layer"]) == ["1"]
    assert (tmp_path / "needles.svg").exists() and (tmp_path / "mask-dhsa_topk-192.svg").exists()


def test_missing_model(capsys):
    assert main(["--model", "/nowhere/at/all"]) == 2
    assert "/nowhere/at/all" in capsys.readouterr().err
