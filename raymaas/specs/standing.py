"""Standings: how each deployed model stands: who answers, what is being rolled out, and how far its rows drifted."""

from __future__ import annotations

from pydantic import Field

from raymaas.specs.base import Spec
from raymaas.specs.drift import Verdict
from raymaas.specs.names import AliasName, Name
from raymaas.specs.rollouts import RolloutState


class DriftStanding(Spec):
    """How far what a version was asked and answered in the last hour is from what it was evaluated on."""

    version: int
    verdict: Verdict
    rows: int = Field(description="Live rows that were counted.")
    psi: float = Field(description="That of the feature that is furthest.")
    furthest: str = Field(description="Its name; empty while no rows were counted.")


class ModelStanding(Spec):
    """One deployed model."""

    model: Name
    traffic: dict[int, int] = Field(description="Version to weight in percent.")
    aliases: dict[AliasName, int]
    rollout: RolloutState | None = Field(description="The one under way.")
    waits_for: str = Field("", description="What that needs before its next step; empty: nothing more.")
    drift: tuple[DriftStanding, ...] = Field(description="Of each deployed version that has a reference.")
