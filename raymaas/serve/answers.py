"""Answers given, counted for Ray's metrics: each costs an append, and they are summed up beside the event loop.

Telling Ray of one takes as long as a small model takes to answer; telling it sums once a second costs nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np


@dataclass(frozen=True)
class Sum:
    """The answers of one status: how many, their seconds, and how many took at most each of some bounds."""

    count: int
    seconds: float
    within: tuple[int, ...]


@dataclass
class Answers:
    """Those given since the last look. Any thread may tell it, and one looks."""

    bounds_s: Sequence[float]
    """Ascending."""
    _waiting: deque[tuple[int, float]] = field(default_factory=deque)

    def __call__(self, *, status: int, seconds: float, **_: object) -> None:
        self._waiting.append((status, seconds))

    def taken(self) -> dict[int, Sum]:
        """Their sums by status; they are forgotten."""
        # One by one: others append meanwhile.
        new = [self._waiting.popleft() for _ in range(len(self._waiting))]
        by_status: dict[int, list[float]] = {}
        for status, seconds in new:
            by_status.setdefault(status, []).append(seconds)
        return {status: self._sum(seconds) for status, seconds in by_status.items()}

    def _sum(self, seconds: list[float]) -> Sum:
        buckets = Counter(np.searchsorted(self.bounds_s, seconds).tolist())
        within = accumulate(buckets[place] for place in range(len(self.bounds_s)))
        return Sum(len(seconds), sum(seconds), tuple(within))
