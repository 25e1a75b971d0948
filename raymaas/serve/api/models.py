"""Models over HTTP: versions, aliases, traffic, wanted deployments. Every change is one write."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from raymaas.errors import NotFound
from raymaas.registry import card, moves
from raymaas.registry.deletion import delete_version
from raymaas.registry.resolve import resolve
from raymaas.registry.states import Step
from raymaas.serve.api.border import caller
from raymaas.serve.api.parts import ControlParts, DeploymentView
from raymaas.serve.comparison import recorded_comparison
from raymaas.specs.api import (
    AliasRequest,
    Deployment,
    DeploymentList,
    DeploymentStatus,
    DeployRequest,
    History,
    HistoryEntry,
    ModelList,
    ModelSummary,
    PromoteRequest,
    RollbackRequest,
    ShadowRequest,
    TrafficRequest,
    VersionList,
)
from raymaas.specs.names import Reference
from raymaas.specs.reports import RecordedComparison
from raymaas.specs.serving import ModelState, Shadow
from raymaas.specs.versions import ModelVersion

Who = Annotated[str, Depends(caller)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[int | None, Query(ge=1)]

# Who loses a race is decided anew where that surprises nobody: two deployments do not contradict each other,
# two settings of one alias do.
ATTEMPTS_TO_DEPLOY = 5
_MARKDOWN = "text/markdown"


def models_router(parts: ControlParts) -> APIRouter:
    """Routes below /models."""
    router = APIRouter(prefix="/models", tags=["models"])
    versions, states = parts.versions, parts.states

    def summary(model: str) -> ModelSummary:
        newest = versions.newest(model)
        state = states.current(model)
        return ModelSummary(
            model=model,
            newest=newest.version,
            aliases=state.aliases if state else {},
            traffic=state.traffic if state else {},
            sticky=state.sticky if state else None,
            shadow=state.shadow if state else None,
        )

    def resolved(model: str, slot: int | str) -> int:
        return resolve(Reference.parse(f"{model}@{slot}"), versions, states)

    def moved(model: str, step: Step, *, who: str, why: str, attempts: int = 1) -> ModelState:
        state = states.move(model, step, who=who, why=why, attempts=attempts)
        parts.poke()
        return state

    @router.get("")
    def list_models() -> ModelList:
        return ModelList(models=tuple(summary(model) for model in versions.models()))

    @router.get("/{model}")
    def get_model(model: str) -> ModelSummary:
        return summary(model)

    @router.get("/{model}/versions")
    def list_versions(model: str, limit: Limit = 50, before: Before = None) -> VersionList:
        found = versions.list(model, limit=limit, before=before)
        more = len(found) == limit and found[-1].version > 1
        return VersionList(versions=tuple(found), next_before=found[-1].version if more else None)

    @router.get("/{model}/versions/{slot}")
    def get_version(model: str, slot: str) -> ModelVersion:
        return versions.get(model, resolved(model, slot))

    @router.delete("/{model}/versions/{slot}")
    def delete_of_version(model: str, slot: str, who: Who, why: str = "") -> ModelState:
        # A number needs no look at the manifest: a damaged version must still be possible to delete.
        version = Reference.parse(f"{model}@{slot}").version or resolved(model, slot)
        return delete_version(states, versions.tombstones, model, version, who=who, why=why)

    @router.get(
        "/{model}/versions/{slot}/card",
        response_class=Response,
        responses={200: {"content": {_MARKDOWN: {"schema": {"type": "string"}}}}},
    )
    def get_card(model: str, slot: str) -> Response:
        """The model card as Markdown."""
        page = card.render(versions.get(model, resolved(model, slot)))
        return Response(page, media_type=_MARKDOWN)

    @router.get("/{model}/versions/{slot}/comparison")
    def get_comparison(model: str, slot: str, other: str) -> RecordedComparison:
        """The figures of `other`, such as digits@3, minus this version's, from what both were published with."""
        target = Reference.parse(other)
        second = versions.get(target.model, resolve(target, versions, states))
        return recorded_comparison(versions, versions.get(model, resolved(model, slot)), second)

    @router.get("/{model}/history")
    def get_history(model: str, limit: Limit = 100, before: Before = None) -> History:
        found = states.history(model, limit=limit, before=before)
        if not found:
            versions.list(model, limit=1)
        return History(
            changes=tuple(
                HistoryEntry(revision=state.revision, **state.change.model_dump()) for state in found
            )
        )

    @router.get("/{model}/state")
    def get_state(model: str) -> ModelState:
        state = states.current(model)
        if state is None:
            newest = versions.newest(model).version
            raise NotFound(f"nothing was ever wanted of {model!r}; deploy {model}@{newest} to begin")
        return state

    @router.get("/{model}/deployments")
    def list_deployments(model: str) -> DeploymentList:
        state = states.current(model)
        if state is None:
            versions.list(model, limit=1)
        return DeploymentList(deployments=deployments_of(model, state, parts.deployments))

    @router.post("/{model}/deployments")
    def deploy(model: str, body: DeployRequest, who: Who) -> ModelState:
        step = partial(moves.deploy, version=resolved(model, body.version), scaling=body.scaling)
        return moved(model, step, who=who, why=body.why, attempts=ATTEMPTS_TO_DEPLOY)

    @router.delete("/{model}/deployments/{slot}")
    def undeploy(model: str, slot: str, who: Who, force: bool = False, why: str = "") -> ModelState:
        target = Reference.parse(f"{model}@{slot}")
        # A number needs no look at the manifest: a damaged version must still be possible to stop.
        version = target.version or resolve(target, versions, states)
        return moved(model, partial(moves.undeploy, version=version, force=force), who=who, why=why)

    @router.put("/{model}/aliases/{alias}")
    def set_alias(model: str, alias: str, body: AliasRequest, who: Who) -> ModelState:
        step = partial(moves.set_alias, alias=alias, version=resolved(model, body.version))
        return moved(model, step, who=who, why=body.why)

    @router.put("/{model}/traffic")
    def set_traffic(model: str, body: TrafficRequest, who: Who) -> ModelState:
        versions.list(model, limit=1)
        shadow: Shadow | str | None
        if isinstance(body.shadow, ShadowRequest):
            shadow = Shadow(version=resolved(model, body.shadow.version), sample=body.shadow.sample)
        else:
            shadow = body.shadow
        step = partial(moves.set_traffic, weights=body.weights, sticky=body.sticky, shadow=shadow)
        return moved(model, step, who=who, why=body.why)

    @router.post("/{model}/promote")
    def promote(model: str, body: PromoteRequest, who: Who) -> ModelState:
        step = partial(moves.promote, version=resolved(model, body.version))
        return moved(model, step, who=who, why=body.why)

    @router.post("/{model}/rollback")
    def rollback(model: str, body: RollbackRequest, who: Who) -> ModelState:
        # No look at a manifest of a known model: going back must be possible when the newest one is damaged.
        if states.current(model) is None:
            versions.list(model, limit=1)
        step = partial(moves.rollback, past=states.past(model), to=body.to)
        return moved(model, step, who=who, why=body.why)

    return router


def deployments_of(model: str, state: ModelState | None, cluster: DeploymentView) -> tuple[Deployment, ...]:
    """Each version that is wanted or still known to the cluster, in order.

    A wanted version that the cluster does not know yet is starting; one no longer wanted is stopping.
    """
    scaling = state.scaling if state else {}
    traffic = state.traffic if state else {}
    statuses = cluster.statuses(model, scaling)
    unknown = DeploymentStatus(status="starting", message="waiting for the controller")
    found = []
    for version in sorted(scaling.keys() | statuses.keys()):
        wanted = version in scaling
        known = statuses.get(version, unknown)
        found.append(
            Deployment(
                version=version,
                wanted=wanted,
                status=known.status if wanted else "stopping",
                message=known.message,
                weight=traffic.get(version, 0),
                scaling=scaling.get(version),
            )
        )
    return tuple(found)
