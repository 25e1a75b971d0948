"""Rollouts over HTTP: begin one, see how it stands and how it came to that, and move it by hand."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from raymaas.registry.resolve import resolve
from raymaas.rollout import decide
from raymaas.serve.api.border import caller
from raymaas.serve.api.parts import ControlParts
from raymaas.specs.api import RolloutHistory, RolloutMoveRequest, RolloutPlanRequest, RolloutRequest
from raymaas.specs.names import Reference
from raymaas.specs.rollouts import RolloutPlanRevision, RolloutState

Who = Annotated[str, Depends(caller)]

_MOVES = {
    "pause": decide.pause,
    "resume": decide.resume,
    "abort": decide.abort,
    "promote": decide.promote,
}


def rollouts_router(parts: ControlParts) -> APIRouter:
    """Routes below /models/{model}/rollouts, and /models/{model}/rollout for the newest one."""
    router = APIRouter(prefix="/models/{model}", tags=["rollouts"])

    @router.post("/rollouts", status_code=201)
    def begin_rollout(model: str, body: RolloutRequest, who: Who) -> RolloutState:
        target = Reference.parse(f"{model}@{body.version}")
        version = resolve(target, parts.versions, parts.states)
        plan = body.plan or parts.rollout_plans.in_force(model).plan
        assert plan is not None
        begun = parts.conductor.begin(model, version=version, plan=plan, who=who, why=body.why)
        parts.poke()
        return begun

    @router.get("/rollouts")
    def list_rollouts(
        model: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100, before: int | None = None
    ) -> RolloutHistory:
        """Every decision of the model's rollouts, newest first."""
        parts.versions.list(model, limit=1)
        return RolloutHistory(states=tuple(parts.rollouts.history(model, limit=limit, before=before)))

    @router.get("/rollout")
    def get_rollout(model: str) -> RolloutState:
        """The one under way, or else the last."""
        parts.versions.list(model, limit=1)
        return parts.rollouts.current(model)

    @router.post("/rollout/{action}")
    def move_rollout(
        model: str,
        action: Literal["pause", "resume", "abort", "promote"],
        body: RolloutMoveRequest,
        who: Who,
    ) -> RolloutState:
        parts.versions.list(model, limit=1)
        moved = parts.conductor.move(model, _MOVES[action], who=who, why=body.why)
        parts.poke()
        return moved

    @router.get("/rollout-plan")
    def get_rollout_plan(model: str) -> RolloutPlanRevision:
        """How versions are rolled out where nothing else is said."""
        parts.versions.newest(model)
        return parts.rollout_plans.in_force(model)

    @router.put("/rollout-plan")
    def set_rollout_plan(model: str, body: RolloutPlanRequest, who: Who) -> RolloutPlanRevision:
        parts.versions.newest(model)
        return parts.rollout_plans.set(model, body.plan, who=who, why=body.why)

    @router.delete("/rollout-plan")
    def remove_rollout_plan(model: str, who: Who, why: str = "") -> RolloutPlanRevision:
        return parts.rollout_plans.remove(model, who=who, why=why)

    return router
