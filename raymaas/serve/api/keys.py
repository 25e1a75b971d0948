"""API keys over HTTP, and what was asked with them. A key is told once, by the answer that creates it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends

from raymaas.registry.usage import Asking
from raymaas.serve.api.border import caller
from raymaas.serve.api.parts import ControlParts
from raymaas.specs.api import CreatedKey, KeyList, KeyRequest
from raymaas.specs.base import Moment
from raymaas.specs.keys import KeyFacts
from raymaas.specs.names import Name
from raymaas.specs.usage import Usage

Who = Annotated[str, Depends(caller)]
_USUAL_TIME = timedelta(days=1)


def keys_router(parts: ControlParts) -> APIRouter:
    """Routes below /keys, and /usage."""
    router = APIRouter(tags=["keys"])

    @router.get("/keys")
    def list_keys() -> KeyList:
        ring = parts.keys.ring()
        return KeyList(keys=tuple(key.facts() for key in ring.keys) if ring else ())

    @router.post("/keys", status_code=201)
    def create_key(body: KeyRequest, who: Who) -> CreatedKey:
        new = parts.keys.create(body.grant, who=who, why=body.why)
        parts.poke()
        return CreatedKey(key=new.text, facts=new.kept.facts(), first=new.ring.revision == 1)

    @router.delete("/keys/{which}")
    def revoke_key(which: str, who: Who, why: str = "") -> KeyFacts:
        revoked = parts.keys.revoke(which, who=who, why=why)
        parts.poke()
        return revoked.facts()

    @router.get("/usage")
    def get_usage(since: Moment | None = None, model: Name | None = None, key: str | None = None) -> Usage:
        """Of the last day, unless `since` says otherwise."""
        return parts.usages.of(Asking(since or parts.now() - _USUAL_TIME, model=model, key=key))

    return router
