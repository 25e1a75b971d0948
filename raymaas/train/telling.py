"""Telling: what a training worker lets the driver know between the epochs, and how it learns that its budget is spent.

Everything goes through one function, `tell`, which must not wait. Every worker tells of its processor time; rank 0 also
tells of the first step, of how far the epoch is, and of the end of the budget.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

from raymaas.specs.budget import Budget, Spent, overspent
from raymaas.specs.telling import BudgetSpent, FirstStepTaken, Started, StepsTaken, Told, WorkerSpent
from raymaas.train.watch import Watch
from raymaas.train.world import World

EVERY_S = 2.0
"""Seconds between two things told of one epoch, at least."""


@dataclass(frozen=True)
class Allowance:
    """A budget, and what of it was used when the driver called for the fit: at `called_at`, seconds since 1970.

    Since then counts the time by the clock of rank 0's machine, `gpus` reserved all the while, and the processor time
    of the workers.
    """

    budget: Budget
    spent: Spent
    called_at: float
    gpus: float = 0.0


Tell = Callable[[Told], None]


class WorkerWatch(Watch):
    """A watch on one worker of `world`, from the moment it is made: that is when the worker starts."""

    def __init__(
        self,
        tell: Tell,
        world: World,
        *,
        allowance: Allowance | None = None,
        clock: Callable[[], float] = time.time,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._tell, self._world, self._allowance = tell, world, allowance
        self._clock, self._cpu_clock = clock, cpu_clock
        self._started = self._read = self._built = clock()
        self._next_s: float | None = None
        self._epochs = self._rows = 0
        self._mark = (0, 0, self._started)
        if world.rank == 0:
            tell(Started())

    def rows_read(self) -> None:
        """The worker has its rows, and builds the model next."""
        self._read = self._clock()

    def built(self, *, epochs: int, rows: int) -> None:
        self._epochs, self._rows = epochs, rows
        self._built = self._clock()

    def stepped(self, epoch: int, rows: int) -> None:
        now = self._clock()
        if self._next_s is not None and now < self._next_s:
            return
        first, self._next_s = self._next_s is None, now + EVERY_S
        self.tell_spent()
        if self._world.rank != 0:
            return
        if first:
            moments = (self._started, self._read, self._built, now)
            # By a clock that may be set back meanwhile.
            reading_s, building_s, step_s = (max(0.0, b - a) for a, b in pairwise(moments))
            self._tell(FirstStepTaken(reading_s=reading_s, building_s=building_s, step_s=step_s))
        self._tell(
            StepsTaken(
                epoch=epoch,
                epochs=self._epochs,
                share=min(1.0, rows / self._rows),
                samples_per_s=self._speed(epoch, rows, now),
            )
        )

    def enough(self) -> bool:
        if self._allowance is None:
            return False
        since = self._clock() - self._allowance.called_at if self._world.rank == 0 else 0.0
        # Together, so that every worker decides by the same figures.
        mine = torch.tensor([since, self._cpu_clock()], dtype=torch.float64, device=self._world.device)
        seconds, cpu_seconds = self._world.all_reduce(mine).tolist()
        used = Spent(
            seconds=max(0.0, seconds),
            cpu_seconds=cpu_seconds,
            gpu_seconds=max(0.0, seconds) * self._allowance.gpus,
        )
        why = overspent(self._allowance.budget, self._allowance.spent + used)
        if why is not None and self._world.rank == 0:
            self._tell(BudgetSpent(why=why))
        return why is not None

    def tell_spent(self) -> None:
        """Let the driver know of this process's processor time now."""
        worker = f"{socket.gethostname()} {os.getpid()}"
        self._tell(WorkerSpent(worker=worker, cpu_seconds=self._cpu_clock()))

    def _speed(self, epoch: int, rows: int, now: float) -> float | None:
        """Rows per second since the last call; None when that was in another epoch."""
        marked_epoch, marked_rows, since = self._mark
        self._mark = (epoch, rows, now)
        if epoch != marked_epoch or now <= since:
            return None
        return (rows - marked_rows) / (now - since)
