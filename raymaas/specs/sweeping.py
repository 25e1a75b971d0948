"""SweepJob: search the fields of any other job. It registers nothing; its trials say which values to use."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from raymaas.specs.base import Document
from raymaas.specs.search import (
    Dimension,
    Effort,
    Objective,
    check_scheduler,
    dimension_of,
)


class SweepJob(Document):
    """Carry out a job many times, each time with other values in some of its fields."""

    kind = "sweep"

    job: dict[str, JsonValue] = Field(description="The job document to vary; `kind` as in a job file.")
    fields: dict[str, JsonValue] = Field(
        min_length=1,
        description="Dotted field to its values, e.g. {training.learning_rate: {loguniform: [0.0001, 0.01]}}.",
    )
    objectives: tuple[Objective, ...] = Field(
        (Objective(metric="validation_loss", mode="min"),), min_length=1, description="What is best."
    )
    scheduler: Literal["asha"] | None = Field(
        default=None, description="Stop poor trials early; for one objective only."
    )
    search: Effort = Field(default=Effort(), description="How much is tried.")

    @property
    def model(self) -> str:
        """The model whose job is varied; runs are listed under it."""
        return str(self.job["model"])

    @model_validator(mode="after")
    def _searchable(self) -> SweepJob:
        if not isinstance(self.job.get("model"), str):
            raise ValueError("job.model: required field is missing")
        check_scheduler(self.objectives, self.scheduler)
        self.space()
        return self

    def space(self) -> dict[str, Dimension]:
        """The fields and their values."""
        found = {field: dimension_of(values) for field, values in self.fields.items()}
        for field, dimension in found.items():
            if dimension is None:
                raise ValueError(f"fields.{field}: say its values, such as {{choice: [1, 2]}}")
        return {field: dimension for field, dimension in found.items() if dimension}
