"""EvaluateJob: measure a version on rows, a recipe by cross-validation, two versions against each other, or samples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from raymaas.errors import InvalidInput
from raymaas.specs.base import Document, Spec
from raymaas.specs.jobs import Component, Streaming, TrainJob
from raymaas.specs.names import Name, Reference


def _reference(text: str) -> str:
    try:
        return str(Reference.parse(text))
    except InvalidInput as error:
        raise ValueError(str(error)) from None


def _without_its_kind(job: Any) -> Any:
    if isinstance(job, dict) and job.get("kind", TrainJob.kind) != TrainJob.kind:
        raise ValueError(f"folds are trained by a train job, not by a {job['kind']!r} job")
    return {field: value for field, value in job.items() if field != "kind"} if isinstance(job, dict) else job


VersionName = Annotated[str, AfterValidator(_reference)]
"""`digits@3`, `digits@prod`, or `digits` for what that means now."""


class Where(Spec):
    """The rows that are asked about."""

    data: Component | None = Field(
        default=None, description="Another data set; absent: the version's own, the rows held out from it."
    )
    part: Literal["test", "all"] | None = Field(
        default=None,
        description="test: of the version's own data the rows held out, of another set its own test part; all: "
        "every row. Absent: test of its own data, all of another set.",
    )
    streaming: Streaming | None = Field(
        default=None,
        description="For data larger than memory: its rows are read a few at a time. Absent: as the version's own job "
        "has it for its own data, all at once for another set.",
    )


class OnData(Where):
    """One version on the rows that were held out from it, or on another data set."""

    by: Literal["data"] = "data"
    version: VersionName = Field(description="The version, such as digits@2.")
    slices: tuple[str, ...] = Field(
        (), description="A column (`class` is the label), or a condition on one, such as 'age >= 40'."
    )
    robustness: bool = Field(False, description="Also under noise, shifts and brightness, or missing values.")


class ByFolds(Spec):
    """A training job, carried out once for each fold of its rows without that fold, and scored on it.

    Its test rows take no part: settings are chosen by folds, and what was chosen is judged by test rows.
    """

    by: Literal["folds"] = "folds"
    job: Annotated[TrainJob, BeforeValidator(_without_its_kind)] = Field(
        description="What each fold is trained by, with one worker; nothing is registered."
    )
    folds: int = Field(5, ge=2, le=100, description="Parts the rows are divided into.")
    repeats: int = Field(1, ge=1, le=100, description="Divisions of the rows, each with another seed.")
    concurrent: int = Field(2, ge=1, description="Folds at one time.")
    threads_per_fold: int = Field(1, ge=1, description="Compute threads of a fold.")
    cpus_per_fold: float = Field(
        0.5, gt=0, description="CPUs Ray reserves per fold. Below 1, so that replicas fit beside."
    )


class Against(Where):
    """Two versions on the same rows."""

    by: Literal["comparison"] = "comparison"
    version: VersionName = Field(description="The version held against, such as digits@2.")
    other: VersionName = Field(description="The version that may be better, such as digits@3.")


class BySamples(Spec):
    """What a classifier finds among the samples that a version draws."""

    by: Literal["samples"] = "samples"
    version: VersionName = Field(description="A version with the method `sample`, such as gan@1.")
    judge: VersionName = Field(description="A classifier of such rows, such as mnist-lenet5@2.")
    samples: int = Field(1000, ge=10, le=100_000, description="How many are drawn.")
    seed: int = Field(0, ge=0, description="Seed of what is drawn.")


How = Annotated[OnData | ByFolds | Against | BySamples, Field(discriminator="by")]


class EvaluateJob(Document):
    """Measure something, and keep what was found with the run. Nothing is registered."""

    kind = "evaluate"

    model: Name = Field(description="The model that is measured; the run is listed under it.")
    how: How = Field(description="What is measured, by `data`, `folds`, `comparison` or `samples`.")

    @model_validator(mode="after")
    def _of_that_model(self) -> EvaluateJob:
        named = (
            self.how.job.model if isinstance(self.how, ByFolds) else Reference.parse(self.how.version).model
        )
        if named != self.model:
            raise ValueError(f"how measures {named!r}, but model says {self.model!r}; make them the same")
        return self
