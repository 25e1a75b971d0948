"""The paths of the Open Inference Protocol v2 that no single version answers, and words for the unserved.

This is where the edge sends what it has no deployed version for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from raymaas.errors import NotFound, RaymaasError, Refused, Unavailable
from raymaas.serve.api.border import may_ask
from raymaas.serve.api.models import deployments_of
from raymaas.serve.api.parts import ControlParts
from raymaas.serve.oip import describe, openapi
from raymaas.specs.api import Deployment
from raymaas.specs.names import Reference

_OIP_STATE = {
    "ready": "READY",
    "starting": "LOADING",
    "unhealthy": "UNAVAILABLE",
    "failed": "UNAVAILABLE",
    "stopping": "UNLOADING",
}


def protocol_router(parts: ControlParts, *, release: str) -> APIRouter:
    """Routes below /v2. They are part of the data plane's document, not of the control plane's."""
    router = APIRouter(prefix="/v2", include_in_schema=False)

    def deployments(model: str) -> tuple[Deployment, ...]:
        return deployments_of(model, parts.states.current(model), parts.deployments)

    @router.get("")
    def server_metadata() -> dict[str, Any]:
        return describe.server(release, describe.SERVER_EXTENSIONS)

    @router.get(openapi.PATH.removeprefix("/v2"))
    def describe_data_plane() -> dict[str, Any]:
        """Not named by the server metadata: the protocol has no member for that."""
        return openapi.document(release)

    @router.get("/health/live")
    def server_live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready")
    def server_ready(response: Response) -> dict[str, bool]:
        """Ready means that the store can be read: without it nothing can be deployed or explained."""
        try:
            parts.versions.models()
        except Unavailable:
            response.status_code = 503
            return {"ready": False, "live": True}
        return {"ready": True, "live": True}

    @router.post("/repository/index")
    def repository_index(request: Request) -> list[dict[str, str]]:
        return [
            {
                "name": model,
                "version": str(deployment.version),
                "state": _OIP_STATE[deployment.status],
                "reason": deployment.message,
            }
            for model in parts.versions.models()
            if may_ask(request, model)
            for deployment in deployments(model)
        ]

    @router.post("/repository/models/{model}/{action}")
    def repository_move(model: str, action: Literal["load", "unload"]) -> None:
        """Refused: what runs is decided by the control API, which keeps who changed it, when and why."""
        parts.versions.list(model, limit=1)
        command = f"raymaas {'deploy' if action == 'load' else 'undeploy'} {model}@VERSION"
        raise Refused(
            f"{model!r} is not {action}ed here; use `{command}`, or /api/v1/models/{model}/deployments"
        )

    @router.get("/models/stats")
    def statistics_of_all() -> None:
        """Each replica counts for itself."""
        raise NotFound("statistics are those of one model; GET /v2/models/MODEL/stats")

    @router.api_route("/models/{rest:path}", methods=["GET", "POST"])
    def nobody_serves(rest: str) -> None:
        model, _, below = rest.partition("/")
        parts.versions.list(model, limit=1)  # An unknown model is the better thing to say.
        state = parts.states.current(model)
        aliases = state.aliases if state else {}
        slot, action = _slot_and_action(below)
        raise unserved(model, slot, action, deployments(model), aliases)

    return router


_EDGE_HEARS_S = 0.5
_OF_EVERY_VERSION = ("", "infer", "ready", "config", "stats")


def unserved(
    model: str,
    slot: str | None,
    action: str,
    deployments: Sequence[Deployment],
    aliases: Mapping[str, int],
) -> RaymaasError:
    """Why nothing answers for `slot`, a version or alias in a path, or None for the model by its traffic; `action` is
    what follows it there.

    Unavailable while a version that is wanted is not ready, or an edge does not follow yet; else NotFound with what to
    do. Raises InvalidInput for a slot that is neither a version nor an alias.
    """
    wanted = {deployment.version: deployment for deployment in deployments if deployment.wanted}
    deployed = f"deployed: {', '.join(f'{model}@{version}' for version in wanted) or 'none'}"
    if slot is None:
        carrying = [deployment for deployment in wanted.values() if deployment.weight]
        if not carrying:
            return NotFound(
                f"no version of {model!r} has traffic; {deployed}. Deploy one: `raymaas deploy {model}@1`"
            )
        chosen = max(carrying, key=lambda deployment: deployment.weight)
    else:
        version = Reference.parse(f"{model}@{slot}").version or aliases.get(slot)
        if version is None:
            known = ", ".join(f"{name} -> {v}" for name, v in sorted(aliases.items())) or "none"
            return NotFound(f"alias {slot!r} of {model!r} does not exist; aliases: {known}; {deployed}")
        if version not in wanted:
            return NotFound(
                f"{model}@{slot} is not deployed; {deployed}. Deploy it: `raymaas deploy {model}@{version}`"
            )
        chosen = wanted[version]
    if chosen.status == "ready" and action in _OF_EVERY_VERSION:
        # Edges hear of a version that has become ready a moment after it has.
        return Unavailable(
            f"{model}@{chosen.version} is ready, and this edge will send it requests in a moment; send it again",
            retry_after_s=_EDGE_HEARS_S,
        )
    if chosen.status == "ready":
        return NotFound(
            f"{model}@{chosen.version} is ready, but this path is not one of its own: "
            "POST .../infer, or GET the model or .../ready"
        )
    detail = f" ({chosen.message})" if chosen.message else ""
    if chosen.status == "failed":
        return Unavailable(f"{model}@{chosen.version} could not be started{detail}")
    return Unavailable(f"{model}@{chosen.version} is {chosen.status}{detail}; try again shortly")


def _slot_and_action(below: str) -> tuple[str | None, str]:
    """The version slot, if there is one, in what follows the model's name, and what follows that."""
    head, _, rest = below.partition("/")
    if head != "versions":
        return None, below.rstrip("/")
    slot, _, action = rest.partition("/")
    return slot, action.rstrip("/")
