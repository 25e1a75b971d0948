"""Search documents: the values a field may take, how many trials look for the best, and how each trial ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from raymaas.specs.base import Document, Spec, canonical_json, sha256_hex
from raymaas.specs.names import Name
from raymaas.specs.versions import FileEntry

DimensionKind = Literal["choice", "uniform", "loguniform", "integer"]
_KINDS: tuple[DimensionKind, ...] = ("choice", "uniform", "loguniform", "integer")


class Dimension(Spec):
    """The values one field may take: any of a list, or a range with both ends in it."""

    kind: DimensionKind
    values: tuple[JsonValue, ...] = Field(min_length=1, description="The choices, or the two ends.")

    @model_validator(mode="after")
    def _ends_in_order(self) -> Dimension:
        if self.kind == "choice":
            return self
        numbers = [v for v in self.values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) != 2 or len(self.values) != 2 or not numbers[0] < numbers[1]:
            raise ValueError(f"{self.kind} takes two numbers, the lower first, got {list(self.values)}")
        if self.kind == "integer" and not all(isinstance(number, int) for number in numbers):
            raise ValueError(f"integer takes two whole numbers, got {list(self.values)}")
        if self.kind == "loguniform" and numbers[0] <= 0:
            raise ValueError(f"loguniform begins above 0, got {numbers[0]}")
        return self


def dimension_of(value: JsonValue) -> Dimension | None:
    """The dimension that `{choice: [..]}`, `{uniform: [low, high]}` and so on stand for; None for any other value.

    Raises ValueError, pydantic's included, when it looks like one and is not.
    """
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _KINDS:
        return None
    ((kind, values),) = value.items()
    if not isinstance(values, list):
        raise ValueError(f"{kind} takes a list, got {values!r}")
    return Dimension.model_validate({"kind": kind, "values": values})


Space = Mapping[str, Dimension]
Point = Mapping[str, JsonValue]


def every_point(space: Space, *, at_most: int) -> list[Point] | None:
    """All combinations of a space of choices, or None when they are endless or more than `at_most`.

    The first field changes fastest: trials at the same time begin differently, and later ones go on from them.
    """
    if any(dimension.kind != "choice" for dimension in space.values()):
        return None
    if math.prod(len(dimension.values) for dimension in space.values()) > at_most:
        return None
    combinations = product(*(space[field].values for field in reversed(list(space))))
    return [dict(zip(space, reversed(values), strict=True)) for values in combinations]


def lies_in(space: Space, point: Point) -> bool:
    """Whether `point` has a value for every field of `space`, each one that the field may take, and no other."""
    return set(point) == set(space) and all(_takes(d, point[field]) for field, d in space.items())


def _takes(dimension: Dimension, value: JsonValue) -> bool:
    if dimension.kind == "choice":
        return value in dimension.values
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high = (float(str(end)) for end in dimension.values)
    return low <= value <= high and (dimension.kind != "integer" or isinstance(value, int))


def trial_name(point: Point) -> str:
    """The name of the trial at `point`: the same point has the same name in every process."""
    return f"t-{sha256_hex(canonical_json(dict(point)))[:12]}"


def extremes(space: Space) -> Iterator[Point]:
    """One point for each choice and each end of a range, the other fields at their first: enough to check types."""
    first: dict[str, JsonValue] = {field: dimension.values[0] for field, dimension in space.items()}
    yield first
    for field, dimension in space.items():
        for value in dimension.values[1:]:
            yield first | {field: value}


class Objective(Spec):
    """A figure to make small or large."""

    metric: str
    mode: Literal["min", "max"]


class Effort(Spec):
    """How much a search may spend."""

    trials: int = Field(
        12, ge=1, description="Trials, at most. A space of fewer combinations is tried whole."
    )
    concurrent: int = Field(2, ge=1, description="Trials at one time.")
    threads_per_trial: int = Field(1, ge=1, description="Compute threads of a trial.")
    cpus_per_trial: float = Field(
        0.5, gt=0, description="CPUs Ray reserves per trial. Below 1, so that replicas fit beside."
    )
    seed: int = Field(0, ge=0, description="Seed of what is tried next.")
    sampler: Literal["tpe", "nsga2"] = Field(
        "tpe",
        description="What draws the next trial from the ones before: a Parzen estimator, good with few trials; or "
        "nsga2, which crosses good trials with each other, and wants 30 or more.",
    )
    minutes: float | None = Field(
        None,
        gt=0,
        description="Time limit: trials that still run then are ended. Absent: until all are done.",
    )


class Finished(Spec):
    """The trial ran to its end, or as far as the scheduler let it."""

    state: Literal["finished"] = "finished"
    metrics: dict[str, float]
    reports: int = Field(
        ge=1, description="How often it reported; fewer than others when it was stopped early."
    )
    seconds: float
    files: dict[str, FileEntry] = Field(default_factory=dict, description="What it made; blobs of the store.")
    reused: tuple[str, ...] = Field(
        (), description="Steps it did not take, since another trial of this search had taken the same."
    )


class Stopped(Spec):
    """The trial was ended before it was through: it is compared with none and never chosen."""

    state: Literal["stopped"] = "stopped"
    reason: str
    metrics: dict[str, float] = Field(description="What it had measured by then.")
    reports: int = Field(ge=0)
    seconds: float


class Broken(Spec):
    """The trial failed; the sweep went on without it."""

    state: Literal["failed"] = "failed"
    error: str


Outcome = Annotated[Finished | Stopped | Broken, Field(discriminator="state")]


class Trial(Document):
    """One point of a space and what came of it. Its name is a digest of the point: a sweep tries no point twice."""

    kind = "trial"

    run_id: Name
    trial: Name
    point: dict[str, JsonValue]
    outcome: Outcome
    ended_s: float | None = Field(
        None, ge=0, description="Seconds of the search until it ended, those of drivers before included."
    )

    @property
    def metrics(self) -> dict[str, float]:
        return {} if isinstance(self.outcome, Broken) else self.outcome.metrics


def check_scheduler(objectives: tuple[Objective, ...], scheduler: str | None) -> None:
    """ValueError for a scheduler with several objectives: it ranks unfinished trials, which takes one figure."""
    if scheduler and len(objectives) > 1:
        names = ", ".join(objective.metric for objective in objectives)
        raise ValueError(
            f"scheduler {scheduler!r} ranks trials by one metric, got {len(objectives)} ({names}); "
            "leave the scheduler out, or name one metric"
        )
