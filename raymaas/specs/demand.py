"""Demand: what edges see asked of each version, and how it was answered, told to the controller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field

from raymaas.specs.base import Document, Moment, OneLine, Spec


class VersionDemand(Spec):
    """What is asked of one version now."""

    in_flight: int = Field(
        ge=0, description="Requests that came and are not answered yet, wherever they are."
    )
    requests_per_s: float = Field(ge=0, description="Requests that came in each of the last seconds.")

    @property
    def nothing(self) -> bool:
        return not self.in_flight and not self.requests_per_s

    @classmethod
    def sum_of(cls, several: Iterable[Self]) -> Self:
        each = tuple(several)
        return cls(
            in_flight=sum(one.in_flight for one in each),
            requests_per_s=sum(one.requests_per_s for one in each),
        )


class VersionOutcomes(Spec):
    """How requests to one version ended, as who asked saw it."""

    answered: int = Field(ge=0, description="Requests that ended with a status, whoever gave it.")
    failed: int = Field(ge=0, description="Those of them with 500 or more.")


class EdgeDemand(Document):
    """What one edge sees of the versions it routes to; by version, as model@number."""

    kind = "edge-demand"

    edge: OneLine = Field(description="Tells edges apart; the same after a restart.")
    versions: dict[str, VersionDemand]
    count: str = Field("", description="Names one count of outcomes; another one began at 0.")
    outcomes: dict[str, VersionOutcomes] = Field(
        default_factory=dict, description="Since that count began; only those that were seen to come."
    )


class Demand(Document):
    """What all edges together see; a version that none of them routes to is not in it."""

    kind = "demand"

    at: Moment
    versions: dict[str, VersionDemand]
