"""What the attention of a model did, call by call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """One attention call: one layer, the whole batch."""

    layer: int
    #: "prefill" or "decode".
    phase: str
    #: The method that ran: "dense" where a sparse one was set but this layer or length takes the dense path; "torch" where a
    #: mask sent
    #: the call to torch's attention.
    method: str
    #: Did it leave keys out?
    sparse: bool
    #: Query tokens and the longest run of keys they could see.
    queries: int
    keys: int
    #: Share of the legal (query, key) pairs that were attended: exact at decode, in tiles for sparse prefill; 1 where dense.
    density: float
    #: The whole call in Python and in the library.
    seconds: float


class Statistics:
    """The last `maximum` calls of a model, oldest first. Iterable; ``str`` is a table with a line for each phase and method."""

    def __init__(self, maximum: int = 100_000) -> None:
        self.calls: deque[Call] = deque(maxlen=maximum)

    def add(self, *fields: Any) -> None:
        self.calls.append(Call(*fields))

    def reset(self) -> None:
        """Forgets every call."""
        self.calls.clear()

    def __iter__(self) -> Iterator[Call]:
        return iter(self.calls)

    def __len__(self) -> int:
        return len(self.calls)

    def density(self, phase: str | None = None) -> float:
        """Mean density over the calls (of a phase), weighted by the pairs each call could attend; 1 without calls."""
        kept = legal = 0.0
        for call in self.calls:
            if phase is None or call.phase == phase:
                pairs = call.queries * call.keys
                kept, legal = kept + call.density * pairs, legal + pairs
        return kept / legal if legal else 1.0

    def seconds(self, phase: str | None = None) -> float:
        return sum(call.seconds for call in self.calls if phase is None or call.phase == phase)

    def __str__(self) -> str:
        groups: dict[tuple[str, str], list[Call]] = {}
        for call in self.calls:
            groups.setdefault((call.phase, call.method), []).append(call)
        lines = [f"{'phase':<8} {'method':<14} {'calls':>7} {'layers':>6} {'sparse':>6} {'density':>7} {'seconds':>8}"]
        for (phase, method), calls in groups.items():
            pairs = sum(c.queries * c.keys for c in calls) or 1
            density = sum(c.density * c.queries * c.keys for c in calls) / pairs
            lines.append(
                f"{phase:<8} {method:<14} {len(calls):>7} {len({c.layer for c in calls}):>6} {sum(c.sparse for c in calls):>6} "
                f"{density:>7.3f} {sum(c.seconds for c in calls):>8.3f}")
        return "\n".join(lines)
