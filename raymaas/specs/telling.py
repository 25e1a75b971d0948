"""What the workers of a training tell its driver between the epochs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from raymaas.specs.base import Spec
from raymaas.specs.budget import Overspent


class Started(Spec):
    """The worker's function runs; it has not read its rows yet."""

    told: Literal["started"] = "started"


class FirstStepTaken(Spec):
    """The first step, and the seconds since the worker started: reading rows, building the model, the step."""

    told: Literal["first step"] = "first step"
    reading_s: float
    building_s: float
    step_s: float


class StepsTaken(Spec):
    """How far the epoch under way is; `epochs` is how many there are at most."""

    told: Literal["steps"] = "steps"
    epoch: int
    epochs: int
    share: float
    samples_per_s: float | None


class WorkerSpent(Spec):
    """Processor seconds of one worker process since it began."""

    told: Literal["spent"] = "spent"
    worker: str
    cpu_seconds: float


class BudgetSpent(Spec):
    """The budget stopped the fit after the epoch that is told of next."""

    told: Literal["budget"] = "budget"
    why: Overspent


class GivenUp(Spec):
    """The fit ended without its model, on every worker alike, and would again: nothing is to be repeated."""

    told: Literal["given up"] = "given up"
    why: str


Told = Started | FirstStepTaken | StepsTaken | WorkerSpent | BudgetSpent | GivenUp


_TOLD: TypeAdapter[Told] = TypeAdapter(Annotated[Told, Field(discriminator="told")])


def told_of(plain: Any) -> Told:
    """What `model_dump` of one of them gave, as that one again."""
    return _TOLD.validate_python(plain)
