"""Needle tests: questions about facts hidden in a long text, and how often they are answered, by depth and length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Question:
    """A prompt that ends where the answer begins. A trial is won when the model continues with all of `answer`."""

    #: Token ids, int64 [n].
    prompt: np.ndarray
    #: Token ids.
    answer: tuple[int, ...]
    #: Which of the depths, from 0 (the beginning) on.
    depth: int
    #: Where in the prompt the needle stands, [start, end).
    place: tuple[int, int]
    #: Tokens at the end of the prompt that ask; the text is before them.
    asking: int
    #: The answer's text where ids may differ for the same text.
    text: str = ""


def places(filler: int, needles: int, rng: np.random.Generator) -> list[int]:
    """Tokens of filler that stand before each of `needles` needles: a needle in each part of an equal division, within the
    middle half of it, so that no depth is tied to one place within a block."""
    return [int(filler * (i + rng.uniform(0.25, 0.75)) / needles) for i in range(needles)]


class TokenNeedles:
    """Haystacks for models that recall needles of whole tokens (Models/haystack): a needle is ``key W1 W2 V1 V2 .``, the
    question repeats ``key W1 W2``, the answer is ``V1 V2``. One haystack holds one needle for each depth, and each is asked for.

    Lengths count everything: filler, needles, question and answer.
    """

    WORDS = 4

    def __init__(self, text: Sequence[int], words: Sequence[int], key: int, stop: int) -> None:
        self.text, self.words, self.key, self.stop = np.asarray(text, np.int64), np.asarray(words, np.int64), key, stop

    def haystack(self, length: int, depths: int, rng: np.random.Generator) -> list[Question]:
        """One question for each depth, about the same text. Raises ValueError where the needles leave no room."""
        filler = length - (self.WORDS - 1) - 2 - depths * (self.WORDS + 2)
        if filler < depths:
            raise ValueError(f"length is {length}: {depths} needles of {self.WORDS + 2} tokens leave no room for text")
        if depths * self.WORDS > self.words.size:
            raise ValueError(f"depths is {depths}, expected at most {self.words.size // self.WORDS}: needles share no word")
        needles = rng.choice(self.words, (depths, self.WORDS), replace=False)
        start = rng.integers(0, self.text.size - filler + 1)
        text = self.text[start : start + filler]
        parts, spans, at, n = [], [], 0, 0
        for needle, cut in zip(needles, places(filler, depths, rng)):
            parts += [text[at:cut], [self.key], needle, [self.stop]]
            n += cut - at
            spans.append((n, n + self.WORDS + 2))
            n, at = spans[-1][1], cut
        body = np.concatenate([*parts, text[at:]])
        return [
            Question(
                np.concatenate([body, [self.key], needle[:2]]), (int(needle[2]), int(needle[3])), depth, span, self.WORDS - 1)
            for depth, (needle, span) in enumerate(zip(needles, spans))
        ]


#: What secret numbers are of; none starts another.
SUBJECTS = (
    "amber", "basil", "canyon", "dolphin", "ember", "falcon", "garnet", "harbor", "indigo", "jasmine", "kettle", "lantern",
    "meadow", "nickel", "orchid", "pepper", "quartz", "raven", "saffron", "timber", "umber", "violet", "walnut", "yarrow", "zephyr",
)


class SentenceNeedles:
    """Haystacks for any model with a tokenizer: ``The secret number of X is N.`` in a text, one needle each, and a question
    after it.

    encode: text to ids without special tokens. prefix: ids before the prompt. suffix: ids between the question and the words
    that begin the answer (a chat template's).
    """

    INSTRUCTION = "A secret number is hidden in the following text. Remember it.\n\n"

    def __init__(
        self, encode: Callable[[str], Sequence[int]], text: str, prefix: Sequence[int] = (), suffix: Sequence[int] = ()
    ) -> None:
        self.encode = encode
        self.filler = np.asarray(encode(text), np.int64)
        self.prefix = np.asarray([*prefix, *encode(self.INSTRUCTION)], np.int64)
        self.suffix = np.asarray(suffix, np.int64)

    def question(self, length: int, depth: int, depths: int, rng: np.random.Generator) -> Question:
        """A prompt of `length` tokens, the answer's included. Raises ValueError where there is no room for text."""
        subject = SUBJECTS[int(rng.integers(len(SUBJECTS)))]
        number = str(int(rng.integers(10000, 100000)))
        fact = f"The secret number of {subject} is"
        needle = np.asarray(self.encode(f" {fact} {number}."), np.int64)
        question = f"\n\nQuestion: What is the secret number of {subject}?"
        if self.suffix.size:
            before, begin = [*self.encode(question), *self.suffix], fact
        else:
            before, begin = [], f"{question}\nAnswer: {fact}"
        ids, full = list(self.encode(begin)), list(self.encode(f"{begin} {number}"))
        shared = next((i for i, (a, b) in enumerate(zip(ids, full)) if a != b), min(len(ids), len(full)))
        ids, answer = [*before, *ids[:shared]], tuple(full[shared:])
        room = length - self.prefix.size - needle.size - len(ids) - len(answer)
        if room < 1:
            raise ValueError(f"length is {length}: the needle and the question leave no room for text")
        start = int(rng.integers(0, max(self.filler.size - room, 0) + 1))
        text = np.resize(self.filler[start:], room)
        cut = places(room, depths, rng)[depth]
        prompt = np.concatenate([self.prefix, text[:cut], needle, text[cut:], ids])
        at = self.prefix.size + cut
        return Question(prompt, answer, depth, (at, at + needle.size), len(ids), number)


@dataclass
class Recall:
    """Won and lost trials of one method at one length, by depth."""

    won: np.ndarray
    asked: np.ndarray

    @classmethod
    def of(cls, depths: int) -> Recall:
        return cls(np.zeros(depths, np.int64), np.zeros(depths, np.int64))

    def add(self, depth: int, won: bool) -> None:
        self.won[depth] += won
        self.asked[depth] += 1

    @property
    def accuracy(self) -> float:
        return float(self.won.sum() / max(self.asked.sum(), 1))

    @property
    def by_depth(self) -> np.ndarray:
        """Share of trials won at each depth; NaN where none was asked."""
        with np.errstate(invalid="ignore"):
            return self.won / self.asked

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy over all depths."""
        return wilson(int(self.won.sum()), int(self.asked.sum()))


@dataclass
class RecallTable:
    """Recall by (method, length)."""

    depths: int
    cells: dict[tuple[str, int], Recall] = field(default_factory=dict)

    def cell(self, method: str, length: int) -> Recall:
        return self.cells.setdefault((method, length), Recall.of(self.depths))


def wilson(won: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a proportion; (0, 1) of no trials."""
    if trials == 0:
        return 0.0, 1.0
    p, zz = won / trials, z * z / trials
    middle = (p + zz / 2) / (1 + zz)
    half = z * (p * (1 - p) / trials + zz / (4 * trials)) ** 0.5 / (1 + zz)
    return max(0.0, middle - half), min(1.0, middle + half)
