"""Runs of Needle Threading and CharBench on a model: greedy replies, scores, effective context lengths."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..errors import InvalidArgumentError
from ..metrics.charbench import CharBench, Features
from .evaluation import say
from .methods import EvalMethod
from .needle_threading import KINDS, NeedleTask, effective_context_length, wilson_interval


class ReplyingModel(Protocol):
    """What answers questions in words."""

    name: str
    tokenizer: Any
    #: Prose, whose characters a token are told beside those of UUIDs.
    text: str

    def describe(self) -> dict[str, Any]: ...
    def count_tokens(self, text: str) -> int: ...
    def token_limit(self) -> int | None: ...
    def reply(self, prompt: str, method: EvalMethod, max_tokens: int, stop: str = "") -> str: ...


@dataclass(frozen=True)
class Configuration:
    """One setting of one kind of task: a row of the results."""

    kind: str
    #: What of :class:`NeedleTask` it sets.
    options: tuple[tuple[str, Any], ...]

    @property
    def label(self) -> str:
        o = dict(self.options)
        if self.kind == "single":
            return f"depth {o['depth']:g} %"
        if self.kind in ("multiple", "conditional"):
            return f"{o['needles']} key{'s' if o['needles'] > 1 else ''}, {o['placement']}"
        chains = "" if self.kind == "threading" else f"{o['threads']} chains of "
        return f"{chains}{o['thread_length']} pairs, {o['direction']}"

    @property
    def needed(self) -> int:
        """Pairs without which there is no such task."""
        o = dict(self.options)
        return int(o.get("needles", o.get("threads", 1) * o.get("thread_length", 1)))


def configurations(
    kinds: Sequence[str], *, depths: Sequence[float], needles: Sequence[int], placements: Sequence[str],
    thread_lengths: Sequence[int], directions: Sequence[str], chains: Sequence[int],
) -> list[Configuration]:
    """All settings of the kinds, in the order of the tables. Raises InvalidArgumentError for an unknown kind."""
    found = []
    for kind in kinds:
        if kind not in KINDS:
            raise InvalidArgumentError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
        axes: dict[str, Sequence[Any]]
        if kind == "single":
            axes = {"depth": depths}
        elif kind in ("multiple", "conditional"):
            axes = {"needles": needles, "placement": placements}
        elif kind == "threading":
            axes = {"thread_length": thread_lengths, "direction": directions}
        else:
            axes = {"threads": chains, "thread_length": thread_lengths, "direction": directions}
        for values in itertools.product(*axes.values()):
            found.append(Configuration(kind, tuple(zip(axes, values))))
    return found


@dataclass
class TaskCell:
    """Replies of one method to one configuration at one length."""

    trials: int = 0
    #: Trials in which everything was found.
    won: int = 0
    matched: int = 0
    expected: int = 0
    f1: float = 0.0
    seconds: list[float] = field(default_factory=list)
    #: The first reply, for the record.
    sample: str = ""

    @property
    def accuracy(self) -> float:
        return self.matched / max(self.expected, 1)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.matched, self.expected)


@dataclass
class TaskRun:
    """The results of a run of Needle Threading."""

    model: ReplyingModel
    methods: list[EvalMethod]
    lengths: list[int]
    repeats: int
    wording: str
    configurations: list[Configuration]
    #: Pairs, characters and tokens of the text, by length.
    texts: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    cells: dict[tuple[str, Configuration, int], TaskCell] = field(default_factory=dict)

    def effective(self, method: str, chosen: Sequence[Configuration], threshold: float = 0.75) -> float | None:
        """Effective context length in characters over the lengths at which all of `chosen` were asked; None: none."""
        sizes: list[float] = []
        shares: list[float] = []
        for length in self.lengths:
            cells = [self.cells.get((method, configuration, length)) for configuration in chosen]
            if all(cell is not None and cell.trials for cell in cells):
                sizes.append(float(self.texts[length][1]))
                shares.append(float(np.mean([cell.accuracy for cell in cells if cell is not None])))
        return effective_context_length(sizes, shares, threshold) if sizes else None

    @property
    def characters_per_token(self) -> float:
        """Of the longest text."""
        _, characters, tokens = self.texts[max(self.texts)]
        return characters / tokens

    @property
    def prose_characters_per_token(self) -> float:
        """Of the first 20 000 characters of the model's prose."""
        prose = self.model.text[:20000]
        return len(prose) / self.model.count_tokens(prose)


def fitting_pairs(count_tokens: Callable[[str], int], length: int) -> int:
    """The most pairs whose text, repeat 0, takes at most `length` tokens; 0: not one."""
    def tokens(pairs: int) -> int:
        return count_tokens(NeedleTask(pairs=pairs).haystack)

    low, high = 0, 1
    while tokens(high) <= length:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tokens(middle) <= length else (low, middle)
    return low


def run_needle_threading(
    model: ReplyingModel, methods: Sequence[EvalMethod], lengths: Sequence[int], chosen: Sequence[Configuration], *,
    repeats: int = 5, template: str | None = None, max_tokens: int | None = None, tell: Callable[[str], None] = say,
) -> TaskRun:
    """Asks every configuration at every length that has the pairs for it, and scores the greedy replies.

    lengths
        Tokens of the text; the question comes on top.
    repeats
        Texts: seeds 0 to repeats - 1.
    max_tokens
        Of a reply; None: 100 for each answer that is wanted.
    """
    run = TaskRun(model, list(methods), sorted(set(lengths)), repeats, "page" if template is None else "template", list(chosen))
    for length in run.lengths:
        pairs = fitting_pairs(model.count_tokens, length)
        if pairs < 1:
            raise InvalidArgumentError(f"length is {length}: a pair of UUIDs takes more tokens")
        text = NeedleTask(pairs=pairs).haystack
        run.texts[length] = pairs, len(text), model.count_tokens(text)
        for configuration in chosen:
            if configuration.needed > pairs:
                continue
            for seed in range(repeats):
                task = NeedleTask(configuration.kind, pairs=pairs, seed=seed, **dict(configuration.options))
                prompt = task.prompt(template)
                for method in run.methods:
                    began = time.perf_counter()
                    said = model.reply(prompt, method, max_tokens or 100 * len(task.answers))
                    cell = run.cells.setdefault((method.label, configuration, length), TaskCell())
                    cell.seconds.append(time.perf_counter() - began)
                    score = task.score(said)
                    cell.sample = cell.sample or said[:200]
                    cell.trials += 1
                    cell.won += score.correct
                    cell.matched += score.matched
                    cell.expected += score.expected
                    cell.f1 += score.f1
        _tell_length(run, length, tell)
    return run


def run_own_wording(
    model: Any, methods: Sequence[EvalMethod], lengths: Sequence[int], chosen: Sequence[Configuration], *, pairs: int = 11,
    repeats: int = 5, seed: int = 1, asked: str = "prompt", tell: Callable[[str], None] = say,
) -> TaskRun:
    """Single and multiple needles in the wording that the haystack model was trained on: the pairs are its needles ``key W1 W2
    V1 V2.``, spread over a text of ordinary words, and positions are those of the same :class:`NeedleTask`. Keys of a multiple
    question are asked one by one.

    lengths
        Tokens, question and answer included.
    """
    run = TaskRun(model, list(methods), sorted(set(lengths)), repeats, "own", list(chosen))
    for length in run.lengths:
        haystacks = model.questions(length, pairs, seed)
        for repeat in range(repeats):
            haystack = next(haystacks)
            body = haystack[0].prompt[: -haystack[0].asking]
            run.texts.setdefault(length, (pairs, len(model.tokenizer.decode(body)), len(body)))
            for configuration in chosen:
                if configuration.needed > pairs:
                    continue
                task = NeedleTask(configuration.kind, pairs=pairs, seed=repeat, **dict(configuration.options))
                questions = [haystack[position] for position in task.positions]
                for method in run.methods:
                    began = time.perf_counter()
                    won = model.answers(questions, method, asked)
                    cell = run.cells.setdefault((method.label, configuration, length), TaskCell())
                    cell.seconds.append(time.perf_counter() - began)
                    cell.trials += 1
                    cell.won += all(won)
                    cell.matched += sum(won)
                    cell.expected += len(won)
                    cell.f1 += sum(won) / len(won)
        _tell_length(run, length, tell)
    return run


def _tell_length(run: TaskRun, length: int, tell: Callable[[str], None]) -> None:
    for kind in dict.fromkeys(c.kind for c in run.configurations):
        shares = []
        for method in run.methods:
            cells = [cell for (label, c, n), cell in run.cells.items() if (label, c.kind, n) == (method.label, kind, length)]
            if cells:
                shares.append(f"{method.label} {sum(c.matched for c in cells) / sum(c.expected for c in cells):.3f}")
        if shares:
            tell(f"length {length}, {kind}: {', '.join(shares)}")


# ------------------------------------------------------------------------------------------------------ CharBench


@dataclass
class CharBenchRun:
    """The results of a run of CharBench."""

    model: ReplyingModel
    methods: list[EvalMethod]
    bench: CharBench
    features: list[Features]
    #: By method.
    replies: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run_charbench(
    model: ReplyingModel, methods: Sequence[EvalMethod], texts: Sequence[str], *, rows: int = 5, seed: int = 42,
    max_tokens: int = 8, tell: Callable[[str], None] = say,
) -> CharBenchRun:
    """Asks `rows` questions of each task and word length. A reply ends at the line's end (a base model would go on)."""
    bench = CharBench(texts, rows=rows, seed=seed)
    run = CharBenchRun(model, list(methods), bench, bench.features(model.tokenizer))
    for method in run.methods:
        began = time.perf_counter()
        run.replies[method.label] = [
            model.reply(bench.prompt(i), method, max_tokens, stop="\n").lstrip().split("\n")[0] for i in range(len(bench))]
        run.seconds[method.label] = (time.perf_counter() - began) / len(bench)
        run.figures[method.label] = bench.figures(run.replies[method.label], run.features)
        tell(f"{method.label}: accuracy {run.figures[method.label]['all']['accuracy']:.3f} of {len(bench)} rows")
    return run


def rows_of(run: TaskRun) -> Iterator[tuple[str, Configuration, int, TaskCell]]:
    """(method, configuration, length, cell) in the order of the tables."""
    for method in run.methods:
        for configuration in run.configurations:
            for length in run.lengths:
                cell = run.cells.get((method.label, configuration, length))
                if cell is not None:
                    yield method.label, configuration, length, cell
