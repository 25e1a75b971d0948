"""Beginning: what a run does with the version it made when its job asks for a rollout."""

from __future__ import annotations

from functools import partial

from raymaas.errors import Refused
from raymaas.registry import moves
from raymaas.serve.rollouts.conducting import Conductor
from raymaas.specs.rollouts import RolloutPlan
from raymaas.specs.serving import ModelState


def begin_after_run(
    conductor: Conductor, model: str, version: int, plan: RolloutPlan, *, who: str, run_id: str
) -> str:
    """Deploy the version beside the one that answers, run as that one is, and begin to roll it out.

    Returns what was done, or why nothing was, in a sentence; the version stays registered. Done again for the same
    version, it begins nothing twice. Raises OutcomeUnknown and Unavailable as the store does; then do it again.
    """
    name = f"{model}@{version}"
    newest = conductor.rollouts.newest(model)
    if newest is not None and newest.new == version:
        return f"the rollout of {name} has begun: {newest.decision.summary}"
    try:
        state = conductor.states.current(model)
        old = _answering(state, name)
        assert state is not None
        if version not in state.scaling:
            deploy = partial(moves.deploy, version=version, scaling=state.scaling[old])
            conductor.states.move(model, deploy, who=who, why=f"to be rolled out by {run_id}")
        begun = conductor.begin(model, version=version, plan=plan, who=who, why=f"by {run_id}")
    except Refused as refusal:
        return f"{name} is not rolled out: {refusal}"
    return f"{begun.decision.summary}; `raymaas rollouts watch {model}`"


def _answering(state: ModelState | None, name: str) -> int:
    """The version with the most traffic. Raises Refused when there is none."""
    weights = {version: weight for version, weight in (state.traffic if state else {}).items() if weight}
    if not weights:
        raise Refused(f"nothing answers yet that it could be held against; `raymaas deploy {name}`")
    return max(weights, key=lambda version: weights[version])
