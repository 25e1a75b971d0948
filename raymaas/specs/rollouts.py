"""Rollout documents: what is planned, what was seen of a version, and where a rollout stands (RolloutState)."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from raymaas.specs.base import Document, Moment, OneLine, Spec
from raymaas.specs.names import Name

Guard = Literal["errors", "p99", "disagreement"]

BUCKETS_PER_DOUBLING = 16
LAST_BUCKET = 30 * BUCKETS_PER_DOUBLING
"""Bucket b holds the latencies above 2^((b-1)/16) and up to 2^(b/16) microseconds; the first also all below, the last
all above, which is 18 minutes. The upper edge of a bucket is at most 4.4 % more than what is in it."""


def bucket_of(latency_us: float) -> int:
    """The bucket of a latency in microseconds."""
    if latency_us <= 1:
        return 0
    # A latency that is an edge belongs below it, whatever the logarithm rounds to.
    return min(LAST_BUCKET, math.ceil(BUCKETS_PER_DOUBLING * math.log2(latency_us) - 1e-9))


def upper_edge_us(bucket: int) -> float:
    """What no latency in `bucket` exceeds, in microseconds."""
    return float(2 ** (bucket / BUCKETS_PER_DOUBLING))


class Guards(Spec):
    """What a new version has to keep to; a guard that is null is not in force."""

    max_error_rate: float | None = Field(
        default=None, gt=0, lt=1, description="Share of its requests that it may fail."
    )
    max_p99_ratio: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="How many times as long as those of the old version its slowest requests may take, those beyond "
        "the 99th percentile.",
    )
    max_disagreement: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of the compared answers that may differ from the old version's.",
    )

    @model_validator(mode="after")
    def _at_least_one(self) -> Guards:
        if not self.bounds:
            raise ValueError(
                "a rollout needs something to judge by: give max_error_rate, max_p99_ratio or max_disagreement"
            )
        return self

    @property
    def bounds(self) -> dict[Guard, float]:
        """The guards in force."""
        all_three: dict[Guard, float | None] = {
            "errors": self.max_error_rate,
            "p99": self.max_p99_ratio,
            "disagreement": self.max_disagreement,
        }
        return {guard: bound for guard, bound in all_three.items() if bound is not None}


class RolloutPlan(Spec):
    """Through which shares of the traffic a new version goes, and what it has to keep to."""

    steps: tuple[int, ...] = Field(min_length=1, description="Percent of the traffic, rising, 100 at last.")
    every_s: float = Field(gt=0, description="How long each step takes at least.")
    guards: Guards
    min_requests: int = Field(
        500, ge=1, description="Requests of the new version that each step needs at least."
    )
    min_pairs: int = Field(
        100,
        ge=1,
        description="Compared answers that each step needs at least, where disagreement is a guard.",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        le=0.5,
        description="The chance that a version which keeps all the bounds is ever rolled back.",
    )
    give_up_after_s: float | None = Field(
        default=None,
        gt=0,
        description="A version that has been in one step for so long goes back, whatever it waits for; null: never.",
    )

    @model_validator(mode="after")
    def _steps_rise_to_all(self) -> RolloutPlan:
        told = ", ".join(map(str, self.steps))
        if any(not 1 <= step <= 100 for step in self.steps):
            raise ValueError(f"steps are percents from 1 to 100, got {told}")
        if any(later <= earlier for earlier, later in zip(self.steps, self.steps[1:], strict=False)):
            raise ValueError(f"steps must rise, got {told}")
        if self.steps[-1] != 100:
            raise ValueError(f"the last step must be 100, got {told}")
        if self.give_up_after_s is not None and self.give_up_after_s <= self.every_s:
            raise ValueError(
                f"give_up_after_s must be more than every_s, {self.every_s:g}, or no step could be passed"
            )
        if self.guards.max_p99_ratio is not None and len(self.steps) == 1:
            raise ValueError(
                "max_p99_ratio needs a step below 100, in which the old version answers as well; got only 100"
            )
        return self


class RolloutPlanRevision(Document):
    """One entry in the log of a model's rollout plans; the newest is in force."""

    kind = "rollout-plan"

    model: Name
    revision: int = Field(ge=1, description="Counts up by one with each change.")
    write_id: str
    plan: RolloutPlan | None = Field(description="Null: it was removed.")
    who: OneLine
    why: OneLine = ""
    at: Moment


class Seen(Spec):
    """What was seen of one version in some time. Counts only, so that times add up in any grouping.

    Latencies come by another way than how requests ended, and may be more or fewer.
    """

    requests: int = Field(0, ge=0, description="Requests that it answered or failed.")
    errors: int = Field(
        0,
        ge=0,
        description="Those it failed: a status of 500 or more, or none. What callers do wrong is not counted.",
    )
    latencies: dict[int, int] = Field(
        default_factory=dict, description="Bucket to how many requests without an error took so long."
    )
    pairs: int = Field(
        0, ge=0, description="Answers that were compared with the old version's to the same request."
    )
    disagreed: int = Field(0, ge=0, description="Those that differed.")

    @model_validator(mode="after")
    def _counts_fit(self) -> Seen:
        if self.errors > self.requests:
            raise ValueError(f"{self.errors} errors are more than {self.requests} requests")
        if self.disagreed > self.pairs:
            raise ValueError(f"{self.disagreed} that disagreed are more than {self.pairs} pairs")
        if any(count < 1 for count in self.latencies.values()):
            raise ValueError("a latency bucket without requests is left out")
        if any(not 0 <= bucket <= LAST_BUCKET for bucket in self.latencies):
            raise ValueError(f"latency buckets are 0 to {LAST_BUCKET}, got {sorted(self.latencies)}")
        return self

    @property
    def timed(self) -> int:
        """How many latencies are known."""
        return sum(self.latencies.values())

    def __add__(self, other: Seen) -> Seen:
        buckets = sorted(self.latencies.keys() | other.latencies.keys())
        return Seen(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            latencies={b: self.latencies.get(b, 0) + other.latencies.get(b, 0) for b in buckets},
            pairs=self.pairs + other.pairs,
            disagreed=self.disagreed + other.disagreed,
        )


class SeenBoth(Spec):
    """What was seen of the new and of the old version in the same time. Pairs are counted with the new one."""

    new: Seen = Seen()
    old: Seen = Seen()

    def __add__(self, other: SeenBoth) -> SeenBoth:
        return SeenBoth(new=self.new + other.new, old=self.old + other.old)


class Spread(Spec):
    """How far counts lay from what was expected of them, summed over intervals: squares, and what those should be."""

    squares: float = 0
    expected: float = 0


class TailRecord(Spec):
    """What the p99 guard carries from interval to interval; see `raymaas.rollout.tails`."""

    whole: tuple[float, ...] = Field((), description="Log wealth of each bet since the rollout began.")
    this_step: tuple[float, ...] = Field((), description="Log wealth of each bet since this step began.")
    tested: int = Field(0, ge=0, description="Latencies of the new version that were tested.")
    over_new: int = Field(0, ge=0, description="Those beyond the bound.")
    beside_new: int = Field(
        0, ge=0, description="Those of them in intervals in which the old version answered too."
    )
    beside_old: int = Field(0, ge=0, description="In these, the old version's beyond its 99th percentile.")
    due_new: float = Field(
        0, ge=0, description="How many of both would be the new version's if it just kept the bound."
    )
    divided: Spread = Field(Spread(), description="Of how those beyond were divided between the versions.")
    alone: Spread = Field(Spread(), description="Of how many of the old version's were beyond.")


class Finding(Spec):
    """What one guard has to say."""

    guard: Guard
    bound: float
    trials: int = Field(
        description="Requests, pairs, or latencies that were judged, since the rollout began."
    )
    hits: int = Field(description="Those that failed, disagreed, or lay beyond the bound.")
    estimate: float | None = Field(
        description="The rate or ratio since the rollout began; null: not known yet."
    )
    low: float | None = Field(description="Its interval, which holds at every moment at once.")
    high: float | None
    confidence: float
    this_step: float | None = Field(description="The rate or ratio in this step alone; null: not known yet.")
    log_evidence: float = Field(description="Natural logarithm of the e-value against keeping the bound.")
    log_needed: float = Field(description="At this much, the version is rolled back.")


Phase = Literal["advancing", "paused", "rolled_back", "aborted", "promoted"]
RolloutAction = Literal["begin", "measure", "advance", "roll_back", "promote", "pause", "resume", "abort"]


class Decision(Spec):
    """Who decided what, when and why."""

    action: RolloutAction
    summary: OneLine = Field(description="One sentence with its numbers.")
    who: OneLine
    why: OneLine = ""
    at: Moment


class RolloutState(Document):
    """Where a rollout stands, with all it was decided from: one entry of a create-only log, of which the newest holds.

    Who goes on with it needs nothing else, only what was measured after `cursor`.
    """

    kind = "rollout"

    model: Name
    revision: int = Field(ge=1, description="Counts up by one with each entry of the model's log.")
    write_id: str
    new: int = Field(ge=1, description="The version that is rolled out.")
    old: int = Field(ge=1, description="The version it is measured against, and that is gone back to.")
    plan: RolloutPlan
    phase: Phase
    step: int = Field(ge=0, description="Which of the plan's steps, from 0.")
    began: Moment = Field(description="When the rollout began.")
    since: Moment = Field(description="When this step began, or went on after a pause.")
    due: Moment = Field(description="Not before then is the next step taken.")
    whole: SeenBoth = Field(SeenBoth(), description="Seen since the rollout began.")
    this_step: SeenBoth = Field(SeenBoth(), description="Seen since this step began.")
    cursor: str = Field(
        "", description="Where in the stream of measurements these sums end; whoever measures reads it."
    )
    tail: TailRecord = TailRecord()
    findings: tuple[Finding, ...] = Field((), description="One of each guard in force.")
    decision: Decision

    @model_validator(mode="after")
    def _consistent(self) -> RolloutState:
        if self.new == self.old:
            raise ValueError(f"version {self.new} cannot be rolled out against itself")
        if self.step >= len(self.plan.steps):
            raise ValueError(f"step {self.step} is none of the plan's {len(self.plan.steps)}, counted from 0")
        return self

    @property
    def under_way(self) -> bool:
        return self.phase in ("advancing", "paused")

    @property
    def percent(self) -> int:
        """The share of the traffic that the new version is to have."""
        if self.under_way:
            return self.plan.steps[self.step]
        return 100 if self.phase == "promoted" else 0
