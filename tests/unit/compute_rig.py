"""A model to be queued for: it doubles, fails on marked rows, waits when it is told to, and takes the time it says."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

BAD = -1.0


class Clock:
    """Time that passes only when somebody says so, and a nanosecond with each look."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        self.now_s += 1e-9
        return self.now_s


class Doubler:
    """A runtime of one input and one output, `x` and `double`. It remembers the batches it was asked for."""

    name = "torch"

    def __init__(self, clock: Clock, *, batch_s: float = 0.0, row_s: float = 0.0) -> None:
        self._clock = clock
        self.batch_s, self.row_s = batch_s, row_s
        self.batches: list[list[float]] = []
        self.threads: set[str] = set()
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Event()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        x_BD = inputs["x"]
        self.batches.append(x_BD[:, 0].tolist())
        self.threads.add(threading.current_thread().name)
        self.begun.set()
        assert self.open.wait(30)
        self._clock.now_s += self.batch_s + self.row_s * len(x_BD)
        if (x_BD == BAD).any():
            raise ValueError(f"a bad row among {len(x_BD)}")
        return {"double": x_BD * 2}

    def call(self, method: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"negative": -self.run(inputs)["double"]}


def rows(*values: float) -> dict[str, np.ndarray]:
    """Rows of two equal columns."""
    return {"x": np.array([[value, value] for value in values], np.float32)}
