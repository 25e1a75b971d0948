"""What a run may use and what it has used: time by the clock, processor time, GPUs held."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Overspent:
    """A limit that was reached: which field of the budget, and how much of it was used."""

    field: str
    limit: float
    used: float

    @property
    def sentence(self) -> str:
        """To be put after a subject: used 0.52 of its budget of 0.5 CPU hours."""
        unit = self.field.replace("_", " ").replace("cpu", "CPU").replace("gpu", "GPU")
        return f"used {self.used:.4g} of its budget of {self.limit:.4g} {unit}"


def overspent(budget: Budget | None, spent: Spent) -> Overspent | None:
    """The first limit of `budget` that is used up; None when none is."""
    if budget is None:
        return None
    for field in Budget.model_fields:
        limit: float | None = getattr(budget, field)
        used: float = getattr(spent, field)
        if limit is not None and used >= limit:
            return Overspent(field, limit, used)
    return None
