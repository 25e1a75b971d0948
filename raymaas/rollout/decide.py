"""Decisions of a rollout: what each measurement and each person's move makes of its state. Pure, no I/O.

A function takes the state as it is and a stamp, and returns the next state, one revision on; or the state it was
given when there is nothing new to say. Nothing is remembered elsewhere: a process that is killed goes on from the
newest state with what was measured after its cursor, and decides as it would have.

Rolling back comes first, at the first moment a guard's evidence suffices, also while a person has paused the rollout.
Advancing needs all of: the step's time has passed; it has had the plan's requests (and pairs) of the new version; and
every guard's rate or ratio in this step is within its bound. If that is all that is missing, the step takes its time
once more. If traffic is, the rollout waits for it. A plan may limit both; then the version goes back.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from raymaas.errors import InvalidInput, Refused
from raymaas.registry.moves import Stamp
from raymaas.rollout.guards import findings, tail_after
from raymaas.rollout.sentences import crossed_text, found_text, missing_text, over_text
from raymaas.rollout.tails import Tail
from raymaas.specs.rollouts import Decision, Phase, RolloutAction, RolloutPlan, RolloutState, SeenBoth


def require_none_under_way(state: RolloutState | None) -> None:
    """Raises Refused while a rollout is under way."""
    if state is not None and state.under_way:
        raise Refused(
            f"{state.model!r} is being rolled out to version {state.new}, at {state.percent} %; wait, or abort or"
            " promote that first"
        )


def begin(
    state: RolloutState | None,
    stamp: Stamp,
    *,
    new: int,
    old: int,
    plan: RolloutPlan,
    cursor: str = "",
) -> RolloutState:
    """Begin to roll `new` out against `old`; what is measured after `cursor` counts.

    Raises Refused while another rollout of the model is under way, and InvalidInput when both are one version. The
    caller has checked that both are deployed.
    """
    require_none_under_way(state)
    if new == old:
        raise InvalidInput(
            f"version {new} of {stamp.model!r} cannot be rolled out against itself; name another"
        )
    told = ", ".join(f"{step} %" for step in plan.steps)
    summary = f"{stamp.model}@{new} begins at {plan.steps[0]} % beside {old}; steps {told}"
    return RolloutState(
        model=stamp.model,
        revision=state.revision + 1 if state else 1,
        write_id=stamp.write_id,
        new=new,
        old=old,
        plan=plan,
        phase="advancing",
        step=0,
        began=stamp.at,
        since=stamp.at,
        due=stamp.at + timedelta(seconds=plan.every_s),
        cursor=cursor,
        findings=findings(plan, SeenBoth(), SeenBoth(), Tail.begin().record()),
        decision=_decision("begin", summary, stamp),
    )


def decide(state: RolloutState, stamp: Stamp, *, seen: SeenBoth, cursor: str) -> RolloutState:
    """What follows from `seen` since the state's cursor, which ends at `cursor`, at the moment of the stamp.

    Unchanged when nothing was seen and nothing is due, and once the rollout has ended.
    """
    if not state.under_way:
        return state
    nothing = seen == SeenBoth()
    measured = state if nothing else _measured(state, seen, cursor)
    crossed = [found for found in measured.findings if found.log_evidence >= found.log_needed]
    if crossed:
        return _next(measured, stamp, "roll_back", crossed_text(measured, crossed), phase="rolled_back")
    if state.phase == "paused":
        if nothing:
            return state
        return _next(measured, stamp, "measure", f"Paused at {state.percent} %: {found_text(measured)}")
    if stamp.at < state.due:
        if nothing:
            return state
        return _next(measured, stamp, "measure", f"At {state.percent} %: {found_text(measured)}")
    if missing := missing_text(measured):
        if _given_up(state, stamp):
            return _gone_back(measured, stamp, missing)
        summary = f"Waits for traffic at {state.percent} %: {missing}"
        if nothing and summary == state.decision.summary:
            return state
        return _next(measured, stamp, "measure", summary)
    if over := [
        found for found in measured.findings if found.this_step is None or found.this_step > found.bound
    ]:
        if _given_up(state, stamp):
            return _gone_back(measured, stamp, over_text(measured, over))
        due = _looked_at_again(measured, stamp)
        left_s = (due - stamp.at).total_seconds()
        summary = f"Stays at {state.percent} % for another {left_s:g} s: {over_text(measured, over)}"
        return _next(measured, stamp, "measure", summary, due=due)
    if state.step + 1 == len(state.plan.steps):
        summary = f"Promoted {state.model}@{state.new}, which kept its bounds: {found_text(measured)}"
        return _next(measured, stamp, "promote", summary, phase="promoted")
    return _advanced(measured, stamp)


def pause(state: RolloutState, stamp: Stamp) -> RolloutState:
    """Stay at this step. Measuring goes on, and so does rolling back. Raises Refused once the rollout has ended."""
    _require_under_way(state, "paused")
    if state.phase == "paused":
        return state
    return _next(state, stamp, "pause", f"Paused at {state.percent} % by {stamp.who}", phase="paused")


def resume(state: RolloutState, stamp: Stamp) -> RolloutState:
    """Go on; this step's time begins anew, its counts stay. Raises Refused once the rollout has ended."""
    _require_under_way(state, "resumed")
    if state.phase == "advancing":
        return state
    summary = f"Resumed at {state.percent} % by {stamp.who}"
    return _next(state, stamp, "resume", summary, phase="advancing", since=stamp.at, due=_due(state, stamp))


def abort(state: RolloutState, stamp: Stamp) -> RolloutState:
    """Give the old version all traffic again. Raises Refused once the rollout has ended."""
    _require_under_way(state, "aborted")
    summary = f"Aborted at {state.percent} % by {stamp.who}; {state.model}@{state.old} answers again"
    return _next(state, stamp, "abort", summary, phase="aborted")


def promote(state: RolloutState, stamp: Stamp) -> RolloutState:
    """Give the new version all traffic now, whatever was seen. Raises Refused once the rollout has ended."""
    _require_under_way(state, "promoted")
    summary = f"Promoted {state.model}@{state.new} at {state.percent} % by {stamp.who}"
    return _next(state, stamp, "promote", summary, phase="promoted")


def _measured(state: RolloutState, seen: SeenBoth, cursor: str) -> RolloutState:
    """The state with `seen` in its sums and evidence."""
    whole, this_step = state.whole + seen, state.this_step + seen
    tail = tail_after(state.plan, state.tail, state.whole, seen)
    return state.model_copy(
        update={
            "whole": whole,
            "this_step": this_step,
            "tail": tail,
            "cursor": cursor,
            "findings": findings(state.plan, whole, this_step, tail),
        }
    )


def _advanced(state: RolloutState, stamp: Stamp) -> RolloutState:
    percent = state.plan.steps[state.step + 1]
    summary = f"From {state.percent} % to {percent} %: {found_text(state)}"
    tail = Tail.of(state.tail).next_step().record()
    fresh = state.model_copy(
        update={
            "step": state.step + 1,
            "this_step": SeenBoth(),
            "tail": tail,
            "findings": findings(state.plan, state.whole, SeenBoth(), tail),
        }
    )
    return _next(fresh, stamp, "advance", summary, since=stamp.at, due=_due(state, stamp))


def _looked_at_again(state: RolloutState, stamp: Stamp) -> datetime:
    """After the step's time once more, or when the plan gives up, if that is earlier."""
    limit_s = state.plan.give_up_after_s
    again = _due(state, stamp)
    return again if limit_s is None else min(again, state.since + timedelta(seconds=limit_s))


def _given_up(state: RolloutState, stamp: Stamp) -> bool:
    limit_s = state.plan.give_up_after_s
    return limit_s is not None and (stamp.at - state.since).total_seconds() >= limit_s


def _gone_back(state: RolloutState, stamp: Stamp, why: str) -> RolloutState:
    limit_s = state.plan.give_up_after_s
    summary = (
        f"Gave up after {limit_s:g} s at {state.percent} %, {state.model}@{state.old} answers again: {why}"
    )
    return _next(state, stamp, "roll_back", summary, phase="rolled_back")


def _due(state: RolloutState, stamp: Stamp) -> datetime:
    return stamp.at + timedelta(seconds=state.plan.every_s)


def _require_under_way(state: RolloutState, done: str) -> None:
    if not state.under_way:
        raise Refused(
            f"the rollout of {state.model}@{state.new} cannot be {done}, it has ended: {state.decision.summary}; begin"
            " another"
        )


def _next(
    state: RolloutState,
    stamp: Stamp,
    action: RolloutAction,
    summary: str,
    *,
    phase: Phase | None = None,
    **moments: object,
) -> RolloutState:
    return state.model_copy(
        update={
            "revision": state.revision + 1,
            "write_id": stamp.write_id,
            "phase": phase or state.phase,
            "decision": _decision(action, summary, stamp),
            **moments,
        }
    )


def _decision(action: RolloutAction, summary: str, stamp: Stamp) -> Decision:
    return Decision(action=action, summary=summary, who=stamp.who, why=stamp.why, at=stamp.at)
