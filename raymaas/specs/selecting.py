"""Selecting: which recipes of a compression were chosen and by what, recorded before a test row is looked at."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raymaas.specs.accounting import RuntimeFinding
from raymaas.specs.base import Document, Moment, Spec
from raymaas.specs.names import Name

Rule = Literal["smallest", "fastest", "knee"]


class Selection(Spec):
    """How one recipe was chosen among those tried, and what it was asked afterwards."""

    rules: tuple[Rule, ...] = Field(min_length=1, description="By which of the job's rules it was the best.")
    part: str = Field("validation", description="The only rows that recipes were compared on.")
    rows: int = Field(ge=1, description="How many of those.")
    metric: str = Field(description="Of the gate.")
    parent_value: float = Field(description="What the parent reached by it on those rows.")
    max_loss: float = Field(ge=0, description="How much worse a recipe could be and pass.")
    value: float = Field(description="What this one reached, in the runtime that serves it.")
    max_bytes: int | None = None
    max_latency_ms: float | None = None
    trials: int = Field(
        ge=1, description="Recipes that were begun, those that failed or were ended included."
    )
    candidates: int = Field(ge=1, description="Of those, how many were tried in every runtime.")
    chosen_at: Moment
    test_evaluations: Literal[1] = Field(
        1, description="How often this version met the test rows: once, after it was chosen."
    )
    tested_at: Moment = Field(description="When that was.")


class Tried(Spec):
    """A recipe of the front, in all runtimes that may serve it."""

    trial: Name
    findings: tuple[RuntimeFinding, ...] = Field(
        (), description="Those it may be served with, fastest first, then the others."
    )
    refused: str = Field("", description="Why none of them may serve it; empty when one may.")

    @property
    def served(self) -> RuntimeFinding | None:
        """In the runtime that would serve it."""
        return next((finding for finding in self.findings if finding.passed), None)


class Best(Spec):
    """The trial that is best by a rule."""

    rule: Rule
    trial: Name


class Chosen(Document):
    """What a compression chose. A run that is carried out again keeps to it."""

    kind = "compression-choice"

    run_id: Name
    at: Moment
    write_id: str = ""
    best: tuple[Best, ...] = Field(min_length=1, description="One for each rule, in the order of the job.")
    tried: tuple[Tried, ...] = Field(min_length=1)

    def by_trial(self) -> dict[str, tuple[Rule, ...]]:
        """Each chosen trial once, in the order of the rules, with those it is best by."""
        return {
            name: tuple(one.rule for one in self.best if one.trial == name)
            for name in dict.fromkeys(one.trial for one in self.best)
        }
