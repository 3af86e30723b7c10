"""One run: needle accuracy, then the methods side by side on the tensors of the model's layers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..attention import attention
from ..context import Context
from .mass import Comparison, compare, tile_mass
from .memory import PeakMemory
from .methods import EvalMethod
from .needles import Question, RecallTable


class Model(Protocol):
    """What is evaluated."""

    name: str

    def describe(self) -> dict[str, Any]: ...
    def predictor_path(self) -> str | None: ...
    def questions(self, length: int, depths: int, seed: int) -> Any: ...
    def answers(self, questions: list[Question], method: EvalMethod, asked: str = "prompt") -> list[bool]: ...
    def visit(self, ids: np.ndarray, look: Callable[..., None]) -> None: ...


@dataclass
class LayerResult:
    """A method on one layer's tensors; times are medians in ms, memory in bytes above the tensors."""

    layer: int
    comparison: Comparison
    select_ms: float
    attend_ms: float
    dense_ms: float
    memory: int | None = None


@dataclass
class Picture:
    """A chosen head's selection at one length."""

    method: str
    length: int
    layer: int
    head: int
    #: bool [blocks, tiles]
    listed: np.ndarray
    #: float64 [blocks, tiles]: dense probability mass, averaged over a block's rows.
    mass: np.ndarray
    query_block: int
    key_block: int
    needle: tuple[int, int]


@dataclass
class Evaluation:
    """The results of a run."""

    model: Model
    methods: list[EvalMethod]
    lengths: list[int]
    depths: int
    trials: int
    seed: int
    #: How questions are asked: "prompt" or "decode".
    asked: str
    recall: RecallTable
    #: Seconds a question, the median over haystacks, by (method, length).
    prompt_seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    layers: dict[tuple[str, int], list[LayerResult]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def evaluate(
    model: Model, methods: Sequence[EvalMethod], lengths: Sequence[int], *, depths: int = 10, trials: int = 20, seed: int = 1,
    asked: str = "prompt", prompts: int = 1, repeats: int = 5, layers: Sequence[int] | None = None,
    picture: tuple[int, int] = (0, 0), ctx: Context | None = None, tell: Callable[[str], None] = say,
) -> Evaluation:
    """Runs the tests. Every method sees the same prompts.

    trials
        Questions of each (length, depth); 0: no needles.
    asked
        "prompt": text and question are one sparse prefill. "decode": the text is, the question is decoded densely.
    prompts
        Prompts of each length whose tensors the methods are compared on; 0: no comparison. They come from a dense pass, so
        every method sees the tensors that dense attention makes.
    repeats
        Timed rounds; dense attention and all methods take turns.
    layers
        Layers that are compared; None: all.
    picture
        (layer, head) whose mask is drawn.
    """
    run = Evaluation(model, list(methods), list(lengths), depths, trials, seed, asked, RecallTable(depths))
    for length in lengths:
        if trials:
            ask(run, length, tell)
        if prompts:
            measure(run, length, prompts, repeats, layers, picture, ctx, tell)
    return run


def ask(run: Evaluation, length: int, tell: Callable[[str], None]) -> None:
    """The needle test of all methods at one length, on the same haystacks."""
    seconds: dict[str, list[float]] = {method.label: [] for method in run.methods}
    haystacks = run.model.questions(length, run.depths, run.seed)
    for trial in range(run.trials):
        haystack = next(haystacks)
        for method in run.methods:
            began = time.perf_counter()
            won = run.model.answers(haystack, method, run.asked)
            seconds[method.label].append((time.perf_counter() - began) / len(haystack))
            for question, right in zip(haystack, won):
                run.recall.cell(method.label, length).add(question.depth, right)
        if (trial + 1) % max(1, run.trials // 5) == 0:
            shares = ", ".join(f"{m.label} {run.recall.cell(m.label, length).accuracy:.3f}" for m in run.methods)
            tell(f"length {length}, {trial + 1} of {run.trials} trials at each depth: {shares}")
    for method in run.methods:
        run.prompt_seconds[method.label, length] = float(np.median(seconds[method.label]))


def measure(
    run: Evaluation, length: int, prompts: int, repeats: int, layers: Sequence[int] | None, picture: tuple[int, int],
    ctx: Context | None, tell: Callable[[str], None],
) -> None:
    """Compares the methods on the tensors of `prompts` dense passes."""
    haystacks = run.model.questions(length, run.depths, run.seed + 1000003)
    first = 0 if layers is None else min(layers)
    for number in range(prompts):
        haystack = next(haystacks)
        question = haystack[len(haystack) // 2]
        states = {method.label: method.prompt(ctx) for method in run.methods}

        def look(layer: int, q: np.ndarray, k: np.ndarray, v: np.ndarray, rule: dict[str, Any]) -> None:
            if layers is not None and layer not in layers:
                return
            dense = attention(q, k, v, return_lse=True, ctx=ctx, **rule)
            rounds = repeats if number == 0 else 1
            times = {method.label: _Times() for method in run.methods}
            dense_ms = []
            memory: dict[str, int | None] = {}
            found: dict[str, Comparison] = {}
            for method in run.methods:
                # First of all, so that "dhsa" knows its boundaries from the first layer on.
                found[method.label] = compare(
                    method, q, k, v, prompt=states[method.label], dense=dense, ctx=ctx, **rule)
                if number == 0:
                    memory[method.label] = call_memory(method, q, k, v, ctx, rule)
            for _ in range(rounds):
                dense_ms.append(_ms(lambda: attention(q, k, v, ctx=ctx, **rule))[0])
                for method in run.methods:
                    # The first layer pays for the boundaries that later ones share.
                    state = method.prompt(ctx) if layer == first else states[method.label]
                    if not method.dense:
                        ms, mask = _ms(lambda: state.select(q, k, **rule))
                        times[method.label].select.append(ms)
                        times[method.label].attend.append(_ms(lambda: state.attend(q, k, v, mask, **rule))[0])
            for method in run.methods:
                t = times[method.label]
                run.layers.setdefault((method.label, length), []).append(LayerResult(
                    layer, found[method.label], float(np.median(t.select)) if t.select else 0.0,
                    float(np.median(t.attend if t.attend else dense_ms)), float(np.median(dense_ms)), memory.get(method.label)))
                if number == 0 and layer == picture[0]:
                    run.pictures.append(draw(
                        method, length, layer, picture[1], q, k, dense[1], found[method.label], question, rule))

        run.model.visit(question.prompt, look)
        if number + 1 == prompts:
            tell(f"length {length}: compared on {prompts} prompt{'s' if prompts > 1 else ''}")


@dataclass
class _Times:
    select: list[float] = field(default_factory=list)
    attend: list[float] = field(default_factory=list)


def _ms(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = call()
    return 1e3 * (time.perf_counter() - began), result


def call_memory(
    method: EvalMethod, q: np.ndarray, k: np.ndarray, v: np.ndarray, ctx: Context | None, rule: dict[str, Any]
) -> int | None:
    """Bytes by which one call's memory rises above its tensors, in a context of its own, whose scratch is empty."""
    out = np.empty_like(q)
    out.fill(0)
    with Context(threads=1 if ctx is None else ctx.threads) as own:
        prompt = method.prompt(own)
        with PeakMemory() as peak:
            prompt(q, k, v, out=out, **rule)
    return peak.bytes


def draw(
    method: EvalMethod, length: int, layer: int, head: int, q: np.ndarray, k: np.ndarray, lse: np.ndarray, found: Comparison,
    question: Question, rule: dict[str, Any],
) -> Picture:
    """The chosen head's tiles and where its mass lies."""
    tiles = found.mask.tiles
    heads, n = q.shape[:2]
    head = min(head, heads - 1)
    group = heads // k.shape[0]
    blocks, n_tiles = -(-n // tiles.query_block), -(-n // tiles.key_block)
    mine = slice(head, head + 1)
    mass = np.zeros((blocks, n_tiles))
    for _, b, row in tile_mass(
        q[mine], k[head // group : head // group + 1], np.asarray(lse)[mine], tiles.query_block, tiles.key_block, **rule
    ):
        mass[b] = row
    listed = np.zeros((blocks, n_tiles), bool)
    first = head * tiles.heads // heads * blocks
    for b in range(blocks):
        listed[b, tiles.index[tiles.row_ptr[first + b] : tiles.row_ptr[first + b + 1]]] = True
    return Picture(method.label, length, layer, head, listed, mass, tiles.query_block, tiles.key_block, question.place)
