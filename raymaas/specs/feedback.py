"""Feedback: what turned out to be true of an answer, or how good it was."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from raymaas.specs.base import Spec
from raymaas.specs.names import Name

FEEDBACK_ROWS = "feedback"
"""The data source of rows that feedback labelled."""
_MOST_ROWS = 2**31 - 1  # what the column holds
MOST_NUMBER = 1e50  # its fourth power can still be added up
MOST_ITEMS = 5000  # some half a megabyte of JSON: the control plane reads twice that


class Feedback(Spec):
    """What came to be known of one row of an answer. Later feedback on the same row takes the place of earlier."""

    request_id: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,128}$", description="Of the answer, as x-request-id carries it."
    )
    row: int = Field(0, ge=0, le=_MOST_ROWS, description="Which row of the request, from 0.")
    label: str | None = Field(
        default=None, max_length=1000, description="What was true: the class, or the number."
    )
    reward: float | None = Field(
        default=None, ge=-MOST_NUMBER, le=MOST_NUMBER, description="How good the answer was; more is better."
    )

    @field_validator("label", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        # 7 and "7" are the same class; true is what JSON calls it.
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _says_something(self) -> Feedback:
        if self.label is None and self.reward is None:
            raise ValueError("say label, reward, or both")
        return self


class FeedbackRequest(Feedback):
    """One piece of feedback, as it is sent."""

    model: Name | None = Field(
        default=None,
        description="Which model answered. Absent: it is looked up, which takes some seconds after the answer.",
    )


class FeedbackBatch(Spec):
    """Many pieces of feedback on answers of one model."""

    items: tuple[Feedback, ...] = Field(min_length=1, max_length=MOST_ITEMS)


class FeedbackKept(Spec):
    """What became of feedback: it is in the store when this is said."""

    model: Name
    received: int = Field(ge=1)
    kept: int = Field(ge=0, description="The others are of requests that the sampling rule leaves out.")
