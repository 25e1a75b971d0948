"""Promotion policies: what an alias asks of a version before it may point at it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from raymaas.specs.base import Document, Moment, OneLine, Spec
from raymaas.specs.cards import CardField, check_licence_id
from raymaas.specs.names import AliasName, Name

OTHER = "other"


def _allowed(licence: str) -> str:
    return licence if licence == OTHER else check_licence_id(licence)


class Threshold(Spec):
    """Where a metric must lie. Both ends count as inside."""

    at_least: float | None = Field(default=None, description="For metrics of which more is better.")
    at_most: float | None = Field(default=None, description="For metrics of which less is better.")

    @model_validator(mode="after")
    def _an_end_given(self) -> Threshold:
        if self.at_least is None and self.at_most is None:
            raise ValueError("say at_least, at_most, or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least ({self.at_least:g}) is above at_most ({self.at_most:g})")
        return self


class NotWorse(Spec):
    """Not worse than the version the alias points at, by more than `by`, paired on the same test rows.

    A non-inferiority test: what must not be below -by is the lower end of the two-sided interval of
    candidate minus current. So `by` must be more than the test rows can resolve: two versions that agree on all
    of 360 rows are told apart to 0.011, and to 0.021 when each is right on 3 or 4 rows where the other is not.
    """

    metric: Literal["accuracy"] = Field(
        "accuracy", description="Measured row by row, so that it can be paired."
    )
    by: float = Field(
        ge=0, lt=1, description="The loss that is still acceptable, as a share: 0.01 is a point."
    )
    confidence: float = Field(0.95, gt=0, lt=1, description="Of the two-sided interval.")


class Policy(Spec):
    """What an alias asks of a version; all of it must hold. A file with these fields is what `policy set` takes."""

    card: tuple[CardField, ...] = Field((), description="Fields of the model card that must be given.")
    licences: tuple[Annotated[str, AfterValidator(_allowed)], ...] = Field(
        (), description="The version's licence must be one of these; `other` stands for any reasoned other."
    )
    metrics: dict[str, Threshold] = Field(
        default_factory=dict, description="Metric of the evaluation to where it must lie."
    )
    judge: Literal["interval", "value"] = Field(
        "interval",
        description="Which figure of a metric must pass: the worse end of its interval, so that luck with few "
        "test rows is no pass, or the value alone.",
    )
    not_worse: NotWorse | None = Field(
        default=None, description="Against the version the alias points at; not asked while there is none."
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> Policy:
        if not (self.card or self.licences or self.metrics or self.not_worse):
            raise ValueError("it asks for nothing; say card, licences, metrics or not_worse")
        return self


class PolicyRevision(Document):
    """One entry in the log of an alias's policies; the newest is in force."""

    kind = "promotion-policy"

    model: Name
    alias: AliasName
    revision: int = Field(ge=1, description="Counts up by one with each change.")
    write_id: str
    policy: Policy | None = Field(
        description="What is asked from this revision on; null: nothing, it was removed."
    )
    who: OneLine
    why: OneLine = ""
    at: Moment
