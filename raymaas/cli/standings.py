"""How deployed models stand, for `raymaas status`: who answers, rollouts under way, and drift."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raymaas.cli.show import aliases, moment, weights
from raymaas.specs.rollouts import Finding, RolloutState
from raymaas.specs.standing import DriftStanding, ModelStanding


def shown(standings: Sequence[ModelStanding]) -> RenderableType:
    """A table of the models, and below it the lines of each rollout under way."""
    table = Table("model", "traffic", "aliases", "drift, in the last hour")
    for standing in standings:
        drift = "\n".join(map(drift_line, standing.drift)) or "no reference"
        table.add_row(
            standing.model, weights(standing.traffic) or "-", aliases(standing.aliases) or "-", drift
        )
    rollouts = [
        Text("\n".join(rollout_lines(each.rollout, waits_for=each.waits_for)))
        for each in standings
        if each.rollout
    ]
    return Group(table, *rollouts)


def drift_line(drift: DriftStanding) -> str:
    if not drift.rows:
        return f"{drift.version}: no rows were counted"
    if drift.verdict == "unknown":
        return f"{drift.version}: {drift.rows} rows are too few"
    return f"{drift.version}: {drift.verdict} in {drift.rows} rows; furthest {drift.furthest}, PSI {drift.psi:.3f}"


def rollout_lines(state: RolloutState, *, waits_for: str) -> list[str]:
    """Where it stands, what it waits for, what was decided last, and what each guard saw."""
    steps = ", ".join(
        f"[{step} %]" if place == state.step else f"{step} %" for place, step in enumerate(state.plan.steps)
    )
    asked = f"{state.whole.new.requests} requests, {state.whole.new.errors} failed"
    return [
        f"rollout of {state.model}@{state.new} beside {state.old}: {state.phase}, step {state.step + 1} of"
        f" {len(state.plan.steps)} ({steps}), {asked}",
        *([f"  waits for {waits_for}{_until(state)}"] if waits_for else []),
        f"  {moment(state.decision.at)}  {state.decision.summary}",
        *(f"  {guard_line(found)}" for found in state.findings),
    ]


def _until(state: RolloutState) -> str:
    """When it gives up, if it does."""
    if state.phase == "paused" or state.plan.give_up_after_s is None:
        return ""
    return f"; goes back if it still does at {moment(state.since + timedelta(seconds=state.plan.give_up_after_s))}"


def guard_line(found: Finding) -> str:
    """What was seen, the bound, and how much of the evidence for going back there is."""
    unit = "{:.2f} times" if found.guard == "p99" else "{:.2%}"
    seen = "?" if found.estimate is None else unit.format(found.estimate)
    return (
        f"{found.guard}: {seen} of {found.trials}, at most {unit.format(found.bound)};"
        f" evidence {found.log_evidence:.1f} of {found.log_needed:.1f}"
    )
