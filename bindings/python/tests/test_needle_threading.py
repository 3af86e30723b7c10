"""Needle Threading against Python's random and uuid, scores against plain rules, eval runs on the haystack model."""

import json
import math
import random
import re
import uuid
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tamis
from tamis.eval import (
    Configuration, EvalMethod, HaystackModel, NeedleTask, configurations, effective_context_length, run_needle_threading,
    wilson, wilson_interval,
)
from tamis.eval.__main__ import main
from tamis.eval.svg import GridPanel, accuracy_map
from tamis.eval.tasks import fitting_pairs

SVG = "{http://www.w3.org/2000/svg}"


def pairs_of(n, rng):
    return [[str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(2)] for _ in range(n)]


def text_of(pairs):
    return "{" + ",\n".join(f'"{key}": "{value}"' for key, value in pairs) + "}"


def places(rng, n, needles, placement):
    if placement == "random":
        return rng.sample(range(n), needles)
    first = rng.randrange(n - needles + 1)
    return rng.sample(range(first, first + needles), needles)


def chains_of(rng, n, threads, length, direction):
    drawn = rng.sample(range(n), threads * length)
    chains = [drawn[i : i + length] for i in range(0, len(drawn), length)]
    order = {"forward": sorted, "backward": lambda c: sorted(c)[::-1], "random": list}[direction]
    return [order(c) for c in chains]


# ------------------------------------------------------------------------------------------------------- haystacks


def test_golden():
    """The page's example row."""
    task = NeedleTask()
    assert task.haystack.startswith(
        '{"e3e70682-c209-4cac-629f-6fbed82c07cd": "f728b4fa-4248-5e3a-0a5d-2f346baa9455",\n"eb1167b3-67a9-c378-7c65-c1e582e2')
    assert task.haystack.endswith('"964a870c-7c87-9b74-1d87-8f9f9cdf5a86"}') and len(task.haystack) == 2000
    assert task.keys == ["247a8333-f7b0-b7d2-cda8-056c3d15eef7"] and task.positions.tolist() == [12]
    assert task.answers == ["1759edc3-72ae-2244-8b01-63c1cd9d2b7d"]


@pytest.mark.parametrize("seed", [0, 1, 2, 623, 2**31, 2**32 - 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("pairs", [1, 2, 25, 400])
def test_haystacks_are_those_of_python(seed, pairs):
    task = NeedleTask(pairs=pairs, seed=seed, depth=100)
    expected = pairs_of(pairs, random.Random(seed))
    assert task.haystack == text_of(expected) and len(task.haystack) == 80 * pairs
    assert (task.keys, task.answers, task.positions.tolist()) == (expected[-1][:1], expected[-1][1:], [pairs - 1])
    json.loads(task.haystack)


def test_depths():
    for pairs in (1, 2, 7, 11, 25, 101, 250):
        for depth in [*range(101), 33.3, 99.999]:
            exact = depth * (pairs - 1) // 100
            assert NeedleTask(pairs=pairs, depth=depth).positions[0] == exact


@pytest.mark.parametrize("placement", ["random", "clustered"])
@pytest.mark.parametrize("pairs, needles", [(1, 1), (25, 1), (25, 5), (25, 25), (60, 6), (300, 6), (300, 25), (3000, 25)])
def test_multiple_and_conditional(placement, pairs, needles):
    for seed in range(3):
        rng = random.Random(seed)
        expected = pairs_of(pairs, rng)
        state = rng.getstate()
        order = places(rng, pairs, needles, placement)
        task = NeedleTask("multiple", pairs=pairs, seed=seed, needles=needles, placement=placement)
        assert task.positions.tolist() == order and task.haystack == text_of(expected)
        assert task.keys == [expected[i][0] for i in order] and task.answers == [expected[i][1] for i in order]
        if placement == "clustered":
            assert max(order) - min(order) == needles - 1

        rng.setstate(state)
        order = sorted(places(rng, pairs, needles, placement))
        for i in order:
            digit = [j for j, c in enumerate(expected[i][0]) if c != "-"][rng.randrange(32)]
            expected[i][0] = expected[i][0][:digit] + "~" + expected[i][0][digit + 1 :]
        task = NeedleTask("conditional", pairs=pairs, seed=seed, needles=needles, placement=placement, character="~")
        assert task.haystack == text_of(expected) and len(task.haystack) == 80 * pairs
        assert task.positions.tolist() == order and task.answers == [expected[i][1] for i in order]
        assert [key for key, _ in expected if "~" in key] == task.keys
        assert task.haystack.count("~") == needles


@pytest.mark.parametrize("direction", ["forward", "backward", "random"])
@pytest.mark.parametrize("pairs, threads, length", [(2, 1, 2), (25, 1, 1), (25, 1, 25), (25, 5, 5), (100, 3, 7), (900, 25, 25)])
def test_threads(direction, pairs, threads, length):
    for seed in range(3):
        rng = random.Random(seed)
        expected = pairs_of(pairs, rng)
        chains = chains_of(rng, pairs, threads, length, direction)
        for chain in chains:
            for a, b in zip(chain, chain[1:]):
                expected[b][0] = expected[a][1]
        kind = "threading" if threads == 1 else "multi-threading"
        task = NeedleTask(kind, pairs=pairs, seed=seed, threads=threads, thread_length=length, direction=direction)
        assert task.haystack == text_of(expected)
        assert task.positions.tolist() == [i for chain in chains for i in chain]
        # Whoever follows the chain arrives at the answer, after as many pairs as it has.
        table = json.loads(task.haystack)
        for key, answer in zip(task.keys, task.answers, strict=True):
            for _ in range(length):
                key = table[key]
            assert key == answer and key not in table


def test_one_thread_of_many_is_a_thread():
    one = NeedleTask("threading", pairs=50, thread_length=7, direction="random", seed=3)
    many = NeedleTask("multi-threading", pairs=50, thread_length=7, direction="random", threads=1, seed=3)
    assert (one.haystack, one.keys, one.answers) == (many.haystack, many.keys, many.answers)


# --------------------------------------------------------------------------------------------------------- prompts


@pytest.mark.parametrize("kind", ["single", "multiple", "conditional", "threading", "multi-threading"])
def test_prompts(kind):
    task = NeedleTask(kind, pairs=30, needles=4, threads=3, character="$")
    prompt = task.prompt()
    assert prompt.count(task.haystack) == 1 and prompt.endswith(("Value:", "Values:"))
    question = prompt.split(task.haystack)[1]
    if kind == "conditional":
        assert "character $" in question and task.keys[0] not in question
    else:
        assert ", ".join(f'"{key}"' for key in task.keys) in question
    assert not any(answer in question for answer in task.answers)
    own = task.prompt("<{keys}|{haystack}|{character}|{other}|{|ü")
    assert own == f"<{', '.join(chr(34) + k + chr(34) for k in task.keys)}|{task.haystack}|$|{{other}}|{{|ü"


# ---------------------------------------------------------------------------------------------------------- scores


def test_scores_of_one_answer():
    for kind in ("single", "threading"):
        task = NeedleTask(kind)
        answer = task.answers[0]
        for reply, right in [
            (answer, True), (f"\n  {answer} \t", True), (f'"{answer}"', True), (f"'{answer}'.", False),
            (f"{answer}, and so on", True),
            (f'"{answer}" is it', False), (answer[:-1], False), (answer.upper(), answer.isupper()),
            (f"The value is {answer}", False),
            ("", False), ('"', False), ("\xff\xfe", False), (b"\xff" + answer.encode(), False), (f" '{answer}'\n", True),
        ]:
            score = task.score(reply)
            assert (score.correct, score.accuracy, score.matched) == (right, float(right), int(right)), reply
            assert score.expected == 1 and score.predicted == (0 if reply == "" else 1)


def test_scores_of_lists():
    task = NeedleTask("multiple", pairs=40, needles=4, seed=2)
    a, b, c, d = task.answers
    for reply, matched, predicted in [
        (json.dumps(task.answers), 4, 4), (f"{a}, {b},\n{c}\n\n{d}", 4, 4), (f"['{a}', '{b}']", 2, 2),
        (json.dumps([b, a, c, d]), 2, 4),
        (f"Values: [{a}] and [{b}]", 1, 1), (json.dumps([*task.answers, a]), 4, 5), ("", 0, 0), ("[]", 0, 0), ("[,,]", 0, 0),
        (f"[{a}", 1, 1), (f"{a}; {b}", 1, 1), (f"nothing, {b}", 1, 2),
    ]:
        score = task.score(reply)
        assert (score.matched, score.predicted, score.expected) == (matched, predicted, 4), reply
        assert score.accuracy == matched / 4 and score.precision == (matched / predicted if predicted else 0)
        p, r = score.precision, score.accuracy
        assert score.f1 == pytest.approx(2 * p * r / (p + r) if matched else 0) and score.correct == (matched == 4)


def test_scores_without_order():
    task = NeedleTask("conditional", pairs=40, needles=4, seed=2)
    a, b, c, d = task.answers
    for reply, matched, predicted in [
        (json.dumps([d, c, b, a]), 4, 4), (json.dumps([a, a, a]), 1, 1), (json.dumps([a, b, c, d, "x"]), 4, 5), ("", 0, 0),
        (f"{b},{d}", 2, 2)]:
        score = task.score(reply)
        assert (score.matched, score.predicted) == (matched, predicted)
        assert score.correct == (matched == predicted == 4)
    multi = NeedleTask("multi-threading", pairs=40, threads=3)
    assert multi.score(json.dumps(multi.answers)).correct
    assert multi.score(json.dumps(multi.answers[::-1])).matched == 1


# --------------------------------------------------------------------------------------------------------- figures


def test_wilson_interval():
    for n in (1, 2, 10, 200, 10**9):
        for won in sorted({0, 1, n // 2, n - 1, n}):
            assert wilson_interval(won, n) == pytest.approx(wilson(won, n), abs=1e-14)
    assert wilson_interval(0, 0) == (0, 1) and wilson_interval(5, 10, 0) == (0.5, 0.5)
    assert wilson_interval(0, 7)[0] == 0 and wilson_interval(7, 7)[1] == 1


def test_effective_context_length():
    sizes = [1000, 2000, 4000, 8000]
    assert effective_context_length(sizes, [0.7, 1, 1, 1]) == 0
    assert effective_context_length(sizes, [1, 0.9, 0.75, 0.8]) == 8000
    assert effective_context_length([500], [0.75]) == 500
    # Halfway between 2000 and 4000 over the logarithm.
    assert effective_context_length(sizes, [1, 1, 0.5, 0.1]) == pytest.approx(2000 * math.sqrt(2))
    # The first crossing counts, also where accuracy recovers.
    assert effective_context_length(sizes, [1, 0.5, 1, 0]) == pytest.approx(1000 * math.sqrt(2))
    assert effective_context_length(sizes, [0.75, 0.2, 0, 0]) == 1000
    rng = np.random.default_rng(2)
    for _ in range(50):
        x = np.cumsum(rng.uniform(1, 1000, 8))
        y = rng.uniform(0, 1, 8)
        y[0] = 1
        grid = np.exp(np.linspace(np.log(x[0]), np.log(x[-1]), 200001))
        below = np.flatnonzero(np.interp(np.log(grid), np.log(x), y) < 0.75)
        expected = x[-1] if below.size == 0 else grid[below[0]]
        assert effective_context_length(x, y) == pytest.approx(expected, rel=1e-4)


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("call, sentence", [
    (lambda: NeedleTask(pairs=0), "options->pairs is 0; expected 1 to"),
    (lambda: NeedleTask(pairs=-1), "options->pairs is -1"),
    (lambda: NeedleTask(pairs=2**62), "options->pairs is 4611686018427387904"),
    (lambda: NeedleTask("double"), "kind is 'double', expected one of 'single'"),
    (lambda: NeedleTask(depth=-0.1), "options->depth is -0.1; expected 0 to 100 per cent"),
    (lambda: NeedleTask(depth=100.5), "options->depth is 100.5"),
    (lambda: NeedleTask(depth=math.nan), "options->depth is nan"),
    (lambda: NeedleTask("multiple", needles=26), "options->needles is 26; expected at most pairs, 25"),
    (lambda: NeedleTask("conditional", needles=0), "options->needles is 0; expected at least 1"),
    (lambda: NeedleTask("conditional", character="a"), "options->conditional_character is 97"),
    (lambda: NeedleTask("conditional", character='"'), "options->conditional_character is 34"),
    (lambda: NeedleTask("conditional", character="ü"), "options->conditional_character is 252"),
    (lambda: NeedleTask("conditional", character="**"), "character is '**', expected one character"),
    (lambda: NeedleTask("multiple", placement="near"), "placement is 'near'"),
    (lambda: NeedleTask("threading", thread_length=26), "options->thread_length is 26; expected at most pairs, 25"),
    (lambda: NeedleTask("threading", thread_length=0), "options->thread_length is 0; expected at least 1"),
    (lambda: NeedleTask("threading", direction="up"), "direction is 'up'"),
    (lambda: NeedleTask("multi-threading", threads=13),
     "options->threads is 13 with thread_length 2; expected a product of at most pairs"),
    (lambda: NeedleTask("multi-threading", threads=2**31 - 1, thread_length=2**31 - 1), "options->threads is 2147483647"),
    (lambda: NeedleTask(seed=-1), "seed is -1"),
    (lambda: NeedleTask().prompt(""), 'prompt_template is ""'),
    (lambda: effective_context_length([], []), "n is 0"),
    (lambda: effective_context_length([1, 1], [1, 1]), "lengths[1] is 1.0; expected finite numbers above 0 that ascend"),
    (lambda: effective_context_length([0, 1], [1, 1]), "lengths[0] is 0.0"),
    (lambda: effective_context_length([1, 2], [1, 1.5]), "accuracies[1] is 1.5; expected 0 to 1"),
    (lambda: effective_context_length([1, 2], [1, math.nan]), "accuracies[1] is nan"),
    (lambda: effective_context_length([1], [1], 75), "threshold is 75.0; expected 0 to 1"),
    (lambda: wilson_interval(3, 2), "won is 3; expected 0 to trials, 2"),
    (lambda: wilson_interval(0, -1), "trials is -1"),
    (lambda: wilson_interval(0, 1, math.inf), "z is inf"),
    (lambda: configurations(
        ["branched"], depths=[0], needles=[1], placements=["random"], thread_lengths=[2], directions=["random"], chains=[2]),
     "kind is 'branched', expected one of single"),
])
def test_bad_input(call, sentence):
    with pytest.raises(tamis.InvalidArgumentError) as error:
        call()
    assert str(error.value).startswith(sentence)


# ------------------------------------------------------------------------------------------------------------- eval


class Solver:
    """A model that does what it is asked, up to a length."""

    name, tokenizer, text = "solver", None, "some prose"

    def __init__(self, longest):
        self.longest = longest

    def describe(self):
        return {"model": self.name}

    def count_tokens(self, text):
        return len(text) // 2

    def token_limit(self):
        return 4000

    def reply(self, prompt, method, max_tokens, stop=""):
        text = prompt[prompt.index("{") : prompt.index("}") + 1]
        if len(text) > self.longest:
            return "I do not know"
        table, question = json.loads(text), prompt[prompt.index("}") :]
        if "contain the character" in question:
            return json.dumps([value for key, value in table.items() if "*" in key])
        found = []
        for key in re.findall(r'"([^"]{36})"', question):
            value = table[key]
            while "Start" in question and value in table:
                value = table[value]
            found.append(value)
        return json.dumps(found) if "list" in question else found[0]


def test_a_run_of_all_kinds(tmp_path):
    chosen = configurations(
        ["single", "multiple", "conditional", "threading", "multi-threading"], depths=[0, 50, 100], needles=[1, 3],
        placements=["random", "clustered"], thread_lengths=[2, 4], directions=["forward", "random"], chains=[2])
    assert [c.label for c in chosen][:5] == ["depth 0 %", "depth 50 %", "depth 100 %", "1 key, random", "1 key, clustered"]
    model, told = Solver(900), []
    run = run_needle_threading(
        model, [EvalMethod("dense"), EvalMethod("dense@2")], [800, 200, 400, 1600], chosen, repeats=2, tell=told.append)
    assert run.lengths == [200, 400, 800, 1600]
    assert run.texts == {200: (5, 400, 200), 400: (10, 800, 400), 800: (20, 1600, 800), 1600: (40, 3200, 1600)}
    for (_, configuration, length), cell in run.cells.items():
        assert cell.trials == 2 and cell.accuracy == (length <= 400) and cell.won == (2 if length <= 400 else 0), configuration
    # Two chains of four pairs need more pairs than five.
    eight = Configuration("multi-threading", (("threads", 2), ("thread_length", 4), ("direction", "forward")))
    assert eight in chosen and ("dense", eight, 200) not in run.cells and ("dense", eight, 400) in run.cells
    # From 1 at 800 characters to 0 at 1600: 75 % is a quarter of the way over the logarithm.
    assert run.effective("dense", chosen[:3]) == pytest.approx(800 * 2**0.25)
    assert len(told) == 4 * 5


def test_pairs_that_fit():
    assert [fitting_pairs(len, n) for n in (79, 80, 81, 2000, 2079, 5000)] == [0, 1, 1, 25, 25, 62]


def test_accuracy_map():
    shares = np.array([[1, 0.5], [np.nan, 0]])
    panel = GridPanel("single", ["depth 0 %", "depth <100> %"], ["2000", "4000"], shares, {(0, 1): "5 of 10"})
    root = ET.fromstring(accuracy_map([panel, panel], "a < b", "characters"))
    texts = [t.text for t in root.iter(SVG + "text")]
    assert texts.count("depth <100> %") == 2 and texts.count("characters") == 2 and "a < b" in texts
    assert [texts.count(t) for t in ("100", "50", "0")] == [2, 2, 3]  # a 0 in the legend
    assert [t.text for t in root.iter(SVG + "title")].count("5 of 10") == 2


@pytest.fixture(scope="module")
def model():
    try:
        return HaystackModel(ctx=tamis.Context(threads=2))
    except tamis.FileMissingError as missing:
        pytest.skip(str(missing))


def test_replies_are_greedy(model):
    """The same tokens as full passes give, one after another."""
    dense = EvalMethod("dense")
    prompt = "The quick brown key"
    ids = model.tokenizer.encode(prompt).ids.tolist()
    said = []
    for _ in range(5):
        attend = dense.prompt(model.ctx)
        said.append(int(model.forward(np.array(ids + said), lambda _, q, k, v: attend(q, k, v)).argmax()))
    assert model.reply(prompt, dense, 5) == model.tokenizer.decode(said)
    first = model.tokenizer.decode(said[:1])
    assert model.reply(prompt, dense, 5, stop=first.strip() or first).strip() == first.strip()


def test_command_line(model, tmp_path, capsys):
    """UUIDs are beyond the haystack model: it runs, and scores nothing."""
    assert main([
        "--task", "needle-threading", "--lengths", "80", "160", "--kinds", "single", "conditional", "threading", "--trials",
        "1", "--depths", "1", "--needles", "2", "--placements", "random", "--thread-lengths", "2", "--directions", "backward",
        "--methods", "dense", "block", "--max-new-tokens", "2", "--threads", "2", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines()]
    cells, effective = [r for r in rows if "accuracy" in r], [r for r in rows if "effective_characters" in r]
    assert len(cells) == 2 * (2 + 1 + 1) and all(r["accuracy"] == 0 and r["wording"] == "page" for r in cells)
    assert {(r["length"], r["pairs"]) for r in cells} == {(80, 1), (160, 2)} and all(r["tokens"] <= r["length"] for r in cells)
    assert all(r["effective_characters"] == 0 and r["limit_characters"] > 0 for r in effective)
    assert rows[0]["characters_per_token"] == 160 / cells[-1]["tokens"] < rows[0]["prose_characters_per_token"] < 5
    assert "| block | conditional | 2 keys, random | 160 | 2 | 160 |" in out and (tmp_path / "eval.md").read_text() in out
    assert "2 pairs, backward" in [t.text for t in ET.parse(tmp_path / "accuracy.svg").getroot().iter(SVG + "text")]


def test_own_wording(model, tmp_path, capsys):
    """In the words that it was trained on the model finds every needle at its trained length."""
    assert main([
        "--task", "needle-threading", "--wording", "own", "--lengths", "128", "--trials", "2", "--depths", "3", "--needles",
        "2", "--placements", "random", "--threads", "2", "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines()]
    dense = [r for r in rows if r["method"] == "dense"]
    assert [r["accuracy"] for r in dense if "accuracy" in r] == [1, 1, 1, 1] and dense[3]["expected"] == 4
    # Whole answers only: never below is the longest text, beyond no limit.
    assert [r["effective_characters"] for r in dense if "effective_characters" in r] == [dense[0]["characters"]] * 6
    assert "own wording" in capsys.readouterr().out


def test_charbench_command_line(model, tmp_path, capsys):
    assert main([
        "--task", "charbench", "--rows", "1", "--max-new-tokens", "1", "--threads", "2", "--out", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "eval.jsonl").read_text().splitlines()]
    figures, replies = [r for r in rows if "charbench_task" in r], [r for r in rows if "reply" in r]
    assert len(replies) == 28 and [r["n"] for r in figures] == [7, 7, 7, 7, 28]
    assert figures[-1]["accuracy"] == np.mean([r["reply"].strip() == str(r["gold"]) for r in replies])
    assert "| dense | find_last_occurrence | 7 |" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, sentence", [
    (["--lengths", "20"], "length is 20: a pair of UUIDs takes more tokens"),
    (["--kinds", "double"], "kind is 'double', expected one of single"),
    (["--trials", "0"], "--trials is 0, expected at least 1"),
    (["--wording", "own", "--kinds", "threading"], "--wording own is for --model haystack and the kinds single and multiple"),
    (["--wording", "own", "--template", "x"], "--template is given with --wording own"),
    (["--needles", "0", "--kinds", "multiple", "--lengths", "160"], "options->needles is 0; expected at least 1"),
    (["--template", "/nowhere/t"], "[Errno 2]"),
])
def test_bad_command_lines(model, tmp_path, capsys, arguments, sentence):
    assert main(["--task", "needle-threading", *arguments, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"tamis eval: {sentence}")
