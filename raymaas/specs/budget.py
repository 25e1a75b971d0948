"""What a run may use and what it has used: time by the clock, processor time, GPUs held."""

from __future__ import annotations

from pydantic import Field, model_validator

from raymaas.specs.base import Spec

_SECONDS_PER_HOUR = 3600


class Spent(Spec):
    """What was used up to some moment."""

    seconds: float = Field(0.0, ge=0, description="By the clock, while a driver of the run was there.")
    cpu_seconds: float = Field(
        0.0,
        ge=0,
        description="Processor time of the driver and of every training worker, as they measured it.",
    )
    gpu_seconds: float = Field(0.0, ge=0, description="GPUs reserved, times how long they were.")

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            seconds=self.seconds + other.seconds,
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            gpu_seconds=self.gpu_seconds + other.gpu_seconds,
        )

    @property
    def hours(self) -> float:
        return self.seconds / _SECONDS_PER_HOUR

    @property
    def cpu_hours(self) -> float:
        return self.cpu_seconds / _SECONDS_PER_HOUR

    @property
    def gpu_hours(self) -> float:
        return self.gpu_seconds / _SECONDS_PER_HOUR


class Budget(Spec):
    """What a run may use, together with the runs it continues. It stops after the epoch in which it used more."""

    hours: float | None = Field(default=None, gt=0, description="By the clock, from the start of its driver.")
    cpu_hours: float | None = Field(
        default=None, gt=0, description="Processor time of the driver and all workers together."
    )
    gpu_hours: float | None = Field(default=None, gt=0, description="GPUs reserved, times hours.")

    @model_validator(mode="after")
    def _says_something(self) -> Budget:
        if self.hours is None and self.cpu_hours is None and self.gpu_hours is None:
            raise ValueError(
                "an empty budget limits nothing; give hours, cpu_hours or gpu_hours, or leave it out"
            )
        return self


def overspent(budget: Budget | None, spent: Spent) -> str | None:
    """Which part of `budget` is used up and how to give more, as `used 0.52 of budget.hours=0.5`; None when none is."""
    if budget is None:
        return None
    for name in Budget.model_fields:
        limit: float | None = getattr(budget, name)
        used: float = getattr(spent, name)
        if limit is not None and used >= limit:
            return f"used {used:.4g} of budget.{name}={limit:.4g}"
    return None
