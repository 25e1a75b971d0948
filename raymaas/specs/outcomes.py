"""Outcome documents: how two versions did by what turned out to be true of their answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raymaas.specs.base import Document, Moment, OneLine, Spec
from raymaas.specs.evaluation import Metric
from raymaas.specs.names import Name

OutcomeMetric = Literal["accuracy", "log_loss", "mae", "mse", "reward"]
Verdict = Literal["better", "worse", "undecided", "unknown"]


class VersionOutcome(Spec):
    """How one version did."""

    version: int = Field(ge=1)
    sampled: int = Field(ge=0, description="Rows it answered that were kept.")
    judged: int = Field(ge=0, description="Those of them whose feedback the metric can use.")
    metric: Metric | None = Field(description="Null: nothing is judged.")


class OutcomeComparison(Document):
    """Two versions of a model, by feedback on the requests that each answered."""

    kind = "outcome-comparison"

    model: Name
    measured: OutcomeMetric = Field(
        description="The metric; a row's reward, or its label against the answer."
    )
    since: Moment
    until: Moment
    first: VersionOutcome
    second: VersionOutcome
    difference: Metric | None = Field(
        description="Second minus first, with the interval of one look. Null: one of them has less than two rows."
    )
    anytime: Metric | None = Field(
        description="The same, with an interval that may be looked at as often as one likes."
    )
    p_value: float | None = Field(
        description="Of one look: the chance of such a difference between equal versions."
    )
    verdict: Verdict = Field(
        description="Of the second, by the interval that may be looked at again and again: unknown with too little "
        "feedback, undecided while it holds no difference."
    )
    statement: OneLine = Field(description="The same in a sentence with its figures.")
