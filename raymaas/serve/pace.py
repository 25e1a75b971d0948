"""The pace of a model: how long so many rows take, learned from the batches it has computed."""

from __future__ import annotations

import math
from collections import deque

_REMEMBERED = 9  # batches of a size; of an odd number the median is one of them
_ANY = 1 << 30


class Pace:
    """Seconds by number of rows. Sizes are told apart by powers of two; what a row of a size takes is its median.

    A larger batch is never held to take longer per row than a smaller one. So a size that was measured on a bad day
    is tried again as soon as smaller ones are fast, and one that was never measured is expected to take its share of a
    smaller one, which is more than it will.
    """

    def __init__(self) -> None:
        self._samples: dict[int, deque[float]] = {}
        self._medians: dict[int, float] = {}
        self._learned: list[tuple[int, float]] = []

    def observe(self, rows: int, seconds: float) -> None:
        """A batch of `rows` rows, at least 1, has taken `seconds`."""
        size = (rows - 1).bit_length()
        samples = self._samples.setdefault(size, deque(maxlen=_REMEMBERED))
        samples.append(seconds / rows)
        median = sorted(samples)[len(samples) // 2]
        if self._medians.get(size) != median:
            self._medians[size] = median
            self._learned, least = [], math.inf
            for known in sorted(self._medians):
                least = min(least, self._medians[known])
                self._learned.append((known, least))

    def seconds(self, rows: int) -> float | None:
        """What `rows` rows will take; None before so few were measured."""
        size = (rows - 1).bit_length()
        expected = None
        for known, per_row_s in self._learned:
            if known > size:
                break
            expected = per_row_s * rows
        return expected

    def rows_within(self, seconds: float) -> int:
        """How many rows take no longer than `seconds`: at least 1, and 1 before anything was measured."""
        most = 1
        for size, per_row_s in self._learned:
            rows = int(seconds / per_row_s) if per_row_s > 0 else _ANY
            if rows > (1 << size) // 2:  # fewer are of a smaller size, whose rows may take longer
                most = max(most, rows)
        return most
