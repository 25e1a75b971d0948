"""Promotion policies over HTTP: what an alias asks of a version before it may point at it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from raymaas.serve.api.border import caller
from raymaas.serve.api.parts import ControlParts
from raymaas.specs.api import PolicyList, PolicyRequest
from raymaas.specs.policies import PolicyRevision

Who = Annotated[str, Depends(caller)]


def policies_router(parts: ControlParts) -> APIRouter:
    """Routes below /models/{model}/policies. Moves are judged by `registry.promotion`, wherever they come from."""
    router = APIRouter(prefix="/models/{model}/policies", tags=["policies"])
    policies = parts.policies

    @router.get("")
    def list_policies(model: str) -> PolicyList:
        found = policies.list(model)
        if not found:
            parts.versions.newest(model)  # An unknown model is the better thing to say.
        return PolicyList(policies=tuple(found))

    @router.get("/{alias}")
    def get_policy(
        model: str, alias: str, revision: Annotated[int | None, Query(ge=1)] = None
    ) -> PolicyRevision:
        return policies.get(model, alias, revision=revision)

    @router.put("/{alias}")
    def set_policy(model: str, alias: str, body: PolicyRequest, who: Who) -> PolicyRevision:
        parts.versions.newest(model)
        return policies.set(model, alias, body.policy, who=who, why=body.why)

    @router.delete("/{alias}")
    def remove_policy(model: str, alias: str, who: Who, why: str = "") -> PolicyRevision:
        return policies.remove(model, alias, who=who, why=why)

    return router
