"""tamis.eval against Models/haystack/evaluate.py, which shares no code with it, and its transformers models."""

import json
import pathlib
import sys

import numpy as np
import pytest
import tamis
import torch
import transformers
from tamis.eval import EvalMethod, HaystackModel, NeedleTask, compare
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


# ------------------------------------------------------------------------------------------- tasks asked in words


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with a Llama of random weights and the haystack model's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=1024, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, bos_token_id=None, eos_token_id=5,
        pad_token_id=None, initializer_range=0.5)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_file=str(FOLDER / "tokenizer.json")).save_pretrained(folder)
    return str(folder)


def test_replies_are_those_of_generate(ctx, tiny):
    model = TransformersModel(tiny, ctx=ctx)
    plain = transformers.AutoModelForCausalLM.from_pretrained(tiny, attn_implementation="eager").eval()
    for kind in ("single", "multi-threading"):
        prompt = NeedleTask(kind, pairs=6).prompt()
        ids = torch.tensor([model.tokenizer(prompt, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            said = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, pad_token_id=0)
        expected = model.tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
        assert model.reply(prompt, EvalMethod("dense"), 24) == expected != ""


def test_replies_of_both_models(ctx):
    """The haystack model in numpy and in transformers: the same words."""
    ours, theirs = HaystackModel(FOLDER, ctx=ctx), TransformersModel(str(FOLDER), dtype="float32", ctx=ctx)
    prompt = NeedleTask(pairs=3).prompt()
    assert ours.count_tokens(prompt) == theirs.count_tokens(prompt) and ours.token_limit() == theirs.token_limit() == 512
    assert ours.reply(prompt, EvalMethod("dense"), 8) == theirs.reply(prompt, EvalMethod("dense"), 8)


def test_needle_threading_on_a_transformers_model(tmp_path, capsys, tiny):
    assert main([
        "--model", tiny, "--task", "needle-threading", "--lengths", "400", "800", "--trials", "1", "--depths", "2",
        "--needles", "2", "--thread-lengths", "2", "--chains", "2",
        "--max-new-tokens", "6", "--threads", "2", "--methods", "dense", "block",
        "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines()]
    cells = [row for row in rows if "accuracy" in row]
    # Two depths; two placements, twice; three directions, twice.
    assert len(cells) == (2 + 2 * 2 + 3 * 2) * 2 * 2 and {row["torch"] for row in rows} == {torch.__version__}
    assert all(row["accuracy"] == 0 and row["sample"] for row in cells)
    assert all(row["limit_characters"] > 4000 for row in rows if "limit_characters" in row)
    assert "| block | multi-threading | 2 chains of 2 pairs, random | 800 |" in capsys.readouterr().out
    assert (tmp_path / "accuracy.svg").read_text().startswith("<svg")


def test_charbench_on_a_transformers_model(tmp_path, tiny):
    assert main(["--model", tiny, "--task", "charbench", "--rows", "1", "--threads", "2", "--out", str(tmp_path)]) == 0
    figures = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines()]
    assert figures[4]["charbench_task"] == "all" and figures[4]["n"] == 28


def test_own_wording_is_the_haystack_models(tmp_path, capsys, tiny):
    assert main(["--model", tiny, "--task", "needle-threading", "--wording", "own", "--out", str(tmp_path)]) == 2
    assert "--wording own is for --model haystack" in capsys.readouterr().err
