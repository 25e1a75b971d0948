"""Sentences that say a rollout's numbers: what was found, what made it go back, what keeps it waiting."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

from raymaas.rollout.tails import LEAST_OLD
from raymaas.specs.rollouts import Finding, RolloutState

_LARGEST_TOLD = 1e6


def found_text(state: RolloutState) -> str:
    """What every guard has found so far."""
    return "; ".join(
        f"{_told(state, found)}, at most {_figure(found, found.bound)}" for found in state.findings
    )


def crossed_text(state: RolloutState, crossed: Iterable[Finding]) -> str:
    """Why the version is rolled back."""
    reasons = [
        f"{_told(state, found)}, where {_figure(found, found.bound)} is the bound (evidence {_evidence(found)}, "
        f"{math.exp(found.log_needed):,.0f} suffices)"
        for found in crossed
    ]
    return f"Rolled back {state.model}@{state.new} from {state.percent} %: " + "; ".join(reasons)


def over_text(state: RolloutState, over: Iterable[Finding]) -> str:
    """What is beyond its bound in this step, though not surely."""
    told = []
    for found in over:
        here, bound = _figure(found, found.this_step), _figure(found, found.bound)
        told.append(
            f"{_WHAT[found.guard]} is {here} in this step, beyond {bound}, but the evidence is {_evidence(found)} and"
            f" {math.exp(found.log_needed):,.0f} would suffice"
        )
    return "; ".join(told)


def missing_text(state: RolloutState) -> str:
    """What this step still needs before it can be judged; empty when nothing."""
    plan, step = state.plan, state.this_step.new
    needed = [(step.requests, plan.min_requests, f"requests of version {state.new}")]
    if plan.guards.max_disagreement is not None:
        needed.append((step.pairs, plan.min_pairs, "compared answers"))
    if plan.guards.max_p99_ratio is not None:
        needed.append((step.timed, LEAST_OLD, f"answered requests of version {state.new}"))
        needed.append(
            (state.whole.old.timed, LEAST_OLD, f"answered requests of version {state.old} to compare with")
        )
    return ", ".join(f"{there:,} of {least:,} {what}" for there, least, what in needed if there < least)


def waiting_text(state: RolloutState, at: datetime) -> str:
    """What a rollout under way needs, as of `at`, before it takes its next step; empty when nothing more."""
    if state.phase == "paused":
        return "somebody to resume it"
    needs = (
        [f"the step's time, {left_s:.0f} s more"] if (left_s := (state.due - at).total_seconds()) > 0 else []
    )
    if missing := missing_text(state):
        needs.append(f"traffic: {missing}")
    for found in state.findings:
        if found.this_step is not None and found.this_step > found.bound:
            here, bound = _figure(found, found.this_step), _figure(found, found.bound)
            needs.append(f"{_WHAT[found.guard]} to be within {bound}, {here} in this step")
    return "; ".join(needs)


_WHAT = {"errors": "the error rate", "p99": "the ratio of p99s", "disagreement": "the share that differ"}


def _told(state: RolloutState, found: Finding) -> str:
    between = "" if found.estimate is None else f" ({_between(found)})"
    match found.guard:
        case "errors":
            return f"{found.hits:,} of {found.trials:,} requests failed, {_figure(found, found.estimate)}{between}"
        case "disagreement":
            share = _figure(found, found.estimate)
            return f"{found.hits:,} of {found.trials:,} compared answers differ, {share}{between}"
        case "p99":
            ratio = (
                "is not known yet"
                if found.estimate is None
                else f"is {_figure(found, found.estimate)}{between}"
            )
            return (
                f"p99 {ratio} that of version {state.old}, {found.hits:,} of {found.trials:,} requests lay beyond the"
                " bound"
            )


def _between(found: Finding) -> str:
    unit = " times" if found.guard == "p99" else " %"
    low, high = (_figure(found, end).removesuffix(unit) for end in (found.low, found.high))
    kept = " %" if found.guard != "p99" else ""
    return f"{low} or more" if found.high is None else f"{low} to {high}{kept}"


def _figure(found: Finding, value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.3g} times" if found.guard == "p99" else f"{round(100 * value, 3):.3g} %"


def _evidence(found: Finding) -> str:
    if found.log_evidence > math.log(_LARGEST_TOLD):
        return f"more than {_LARGEST_TOLD:,.0f}"
    return f"{math.exp(found.log_evidence):,.3g}"
