"""Meter: what a run uses as it goes on. Its driver's time, and what workers and GPUs add while there are any."""

from __future__ import annotations

import time
from collections.abc import Callable

from raymaas.specs.budget import Spent


class Meter:
    """Runs from the moment it is made, when this process was `age_s` old.

    `former` is what an earlier driver of the same run had used.
    """

    def __init__(
        self,
        *,
        age_s: float = 0.0,
        former: Spent = Spent(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock, self._cpu_clock, self._former = clock, cpu_clock, former
        self._born = clock() - age_s
        self._workers: dict[str, float] = {}
        self._gpus, self._gpus_since, self._gpu_seconds = 0.0, clock(), 0.0

    def worker(self, name: str, cpu_seconds: float) -> None:
        """A worker process says how much it has used since it began. One that died keeps what it last said."""
        self._workers[name] = cpu_seconds

    def hold(self, gpus: float) -> None:
        """From now on so many GPUs are reserved."""
        self._gpu_seconds += self._gpus * (self._clock() - self._gpus_since)
        self._gpus, self._gpus_since = gpus, self._clock()

    def spent(self) -> Spent:
        """What the run has used up to now."""
        now = self._clock()
        return self._former + Spent(
            seconds=now - self._born,
            cpu_seconds=self._cpu_clock() + sum(self._workers.values()),
            gpu_seconds=self._gpu_seconds + self._gpus * (now - self._gpus_since),
        )
