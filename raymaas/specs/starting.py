"""Starting by itself: when a job that is registered as a trigger is run again."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from raymaas.specs.base import Spec
from raymaas.specs.names import Reference

_TEN_YEARS_H = 87_600


def _a_reference(text: str) -> str:
    Reference.parse(text)
    return text


class StartWhen(Spec):
    """When the job is run. It says nothing until the job is registered: `raymaas triggers add`."""

    every_h: float | None = Field(
        default=None, ge=0.001, le=_TEN_YEARS_H, description="Once in so many hours."
    )
    on_drift: Annotated[str, AfterValidator(_a_reference)] | None = Field(
        default=None, description="When the live rows of this version, such as digits@prod, have drifted."
    )
    drift_over_h: float = Field(
        24, gt=0, le=_TEN_YEARS_H, description="The hours whose rows are looked at for drift."
    )
    at_most_every_h: float = Field(
        24, gt=0, le=_TEN_YEARS_H, description="Hours between two runs that drift starts, at least."
    )
    min_feedback: int = Field(
        0,
        ge=0,
        description="Rows that feedback must have labelled since the run before; else it waits for them.",
    )

    @model_validator(mode="after")
    def _says_when(self) -> StartWhen:
        if self.every_h is None and self.on_drift is None:
            raise ValueError("say every_h, on_drift, or both")
        return self
