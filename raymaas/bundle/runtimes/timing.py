"""How fast things are, beside each other: in turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np

from raymaas.bundle.runtimes.base import Runtime

Key = TypeVar("Key", bound=Hashable)

_ROUNDS = 8
_WARM_UP = 3


def seconds_of(
    calls: Mapping[Key, Callable[[], object]],
    *,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Key, np.ndarray]:
    """Seconds of each call, after a warm-up: as many as `budget_s` for each of `calls` has room for, at least 8."""
    found: dict[Key, list[float]] = {key: [] for key in calls}
    for call in calls.values():
        for _ in range(_WARM_UP):
            call()
    for _ in range(_ROUNDS):
        for key, call in calls.items():
            begun = last = clock()
            while True:
                call()
                now = clock()
                found[key].append(now - last)
                last = now
                if now - begun >= budget_s / _ROUNDS:
                    break
    return {key: np.array(seconds) for key, seconds in found.items()}


def repeated(inputs: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """A batch of so many rows, those of `inputs` over and over."""
    return {name: array[np.arange(rows) % len(array)] for name, array in inputs.items()}


def asking(runtime: Runtime, inputs: Mapping[str, np.ndarray]) -> Callable[[], object]:
    """A call that asks `runtime`."""
    return lambda: runtime.run(inputs)
