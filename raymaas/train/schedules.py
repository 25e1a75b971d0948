"""How long a fit is, and the learning rate of each of its steps: functions of the job alone.

A resumed fit therefore needs no scheduler's state, only the number of the step it is at.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from raymaas.specs.jobs import Training


@dataclass(frozen=True)
class Course:
    """A fit's length: `steps` in all, `epoch_steps` of them for one pass over the training rows."""

    steps: int
    epoch_steps: int

    @classmethod
    def of(cls, training: Training, *, rows: int) -> Self:
        """The course of `training` over so many training rows; lbfgs takes all of them in one step."""
        epoch_steps = 1 if training.optimizer == "lbfgs" else math.ceil(rows / training.batch_size)
        if training.epochs is not None:
            return cls(steps=training.epochs * epoch_steps, epoch_steps=epoch_steps)
        assert training.steps is not None
        return cls(steps=training.steps, epoch_steps=epoch_steps)

    @property
    def epochs(self) -> int:
        """Epochs it takes, the last of which may be cut short."""
        return math.ceil(self.steps / self.epoch_steps)

    def steps_of(self, epoch: int) -> range:
        """The numbers, from 0, of the steps of `epoch`, which counts from 1."""
        return range((epoch - 1) * self.epoch_steps, min(epoch * self.epoch_steps, self.steps))


def learning_rate(training: Training, course: Course, *, step: int) -> float:
    """The rate of step `step`, from 0: a linear warmup, then the schedule over what is left of the course.

    `cosine` is I. Loshchilov, F. Hutter, SGDR (2017), without restarts. Falls of `step` count epochs from the
    beginning, warmup included.
    """
    schedule, rate = training.schedule, training.learning_rate
    warmup = round(schedule.warmup_epochs * course.epoch_steps)
    if step < warmup:
        return rate * (step + 1) / warmup
    if schedule.use == "constant":
        return rate
    if schedule.use == "step":
        assert schedule.every_epochs is not None
        falls = step // course.epoch_steps // schedule.every_epochs
        return rate * (0.1 if schedule.factor is None else schedule.factor) ** falls
    done = (step - warmup) / (course.steps - warmup)
    final = schedule.final or 0.0
    left = 1 - done if schedule.use == "linear" else (1 + math.cos(math.pi * done)) / 2
    return rate * (final + (1 - final) * left)
