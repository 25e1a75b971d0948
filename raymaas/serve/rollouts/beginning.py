"""Beginning: what a run does with the version it made when its job asks for a rollout."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from raymaas.errors import AlreadyExists, OutcomeUnknown, RaymaasError, Refused, Unavailable
from raymaas.registry import moves
from raymaas.serve.rollouts.conducting import Conductor
from raymaas.specs.rollouts import RolloutPlan
from raymaas.specs.serving import ModelState, Scaling
from raymaas.specs.versions import ModelVersion

_PAUSES_S = (0.5, 2.0, 8.0)


def begin_after_run(
    conductor: Conductor,
    made: ModelVersion,
    plan: RolloutPlan,
    *,
    who: str,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Deploy the version beside the one that answers, run as that one is, and begin to roll it out.

    Returns what was done, or why nothing was, in a sentence; the version stays registered either way, and nothing is
    deployed that could not be rolled out. Done again for the same version, it begins nothing twice. A store that does
    not answer, or somebody else's move in between, is tried again after some seconds, three times.
    """
    name = f"{made.model}@{made.version}"
    for pause_s in (*_PAUSES_S, None):
        try:
            return _begun(conductor, made, plan, who=who)
        except (Unavailable, OutcomeUnknown, AlreadyExists) as trouble:
            if pause_s is None:
                return f"{name} is not rolled out: {trouble}; begin by hand: `raymaas rollout {name}`"
            pause(pause_s)
        except RaymaasError as refusal:
            return f"{name} is not rolled out: {refusal}"
    raise AssertionError("the last try returns")


def _begun(conductor: Conductor, made: ModelVersion, plan: RolloutPlan, *, who: str) -> str:
    model, version, run_id = made.model, made.version, made.lineage.run_id
    name = f"{model}@{version}"
    newest = conductor.rollouts.newest(model)
    if newest is not None and newest.new == version:
        return f"the rollout of {name} has begun: {newest.decision.summary}"
    if newest is not None and newest.began > made.created_at and not newest.under_way:
        raise Refused(
            f"{model}@{newest.new} was rolled out since it was registered; if you still want it, `raymaas rollout"
            f" {name}`"
        )
    state = conductor.states.current(model)
    scaling = _as_run(state, name)
    assert state is not None
    if version not in state.scaling:
        deploy = partial(moves.deploy, version=version, scaling=scaling)
        stamp = conductor.rollouts.stamp(model, who=who)
        # Before it is deployed, so that what is refused leaves no replicas behind.
        conductor.held_against(deploy(state, stamp), stamp, version=version, plan=plan)
        conductor.states.move(model, deploy, who=who, why=f"to be rolled out by {run_id}")
    begun = conductor.begin(model, version=version, plan=plan, who=who, why=f"by {run_id}")
    return f"{begun.decision.summary}; `raymaas rollouts watch {model}`"


def _as_run(state: ModelState | None, name: str) -> Scaling:
    """How the version with the most traffic is run. Raises Refused when there is none."""
    weights = {version: weight for version, weight in (state.traffic if state else {}).items() if weight}
    if state is None or not weights:
        raise Refused(f"nothing answers yet that it could be held against; `raymaas deploy {name}`")
    return state.scaling[max(weights, key=lambda version: weights[version])]
