"""Lineage over HTTP: one version from its data to its answers, and every version that came from a data set."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from raymaas.registry.resolve import resolve
from raymaas.serve.api.parts import ControlParts
from raymaas.specs.base import Moment
from raymaas.specs.lineage import DataTrace, VersionTrace
from raymaas.specs.names import Reference


def lineage_router(parts: ControlParts) -> APIRouter:
    """Routes below /models and /lineage."""
    router = APIRouter(tags=["lineage"])

    @router.get("/models/{model}/versions/{slot}/lineage")
    def get_version_lineage(
        model: str, slot: str, request_id: str | None = None, before: Moment | None = None
    ) -> VersionTrace:
        target = Reference.parse(f"{model}@{slot}")
        # A number is not resolved: a deleted version still has its lineage.
        version = target.version or resolve(target, parts.versions, parts.states)
        return parts.lineages.trace(model, version, request_id=request_id, before=before)

    @router.get("/lineage/data/{fingerprint}")
    def get_data_lineage(
        fingerprint: str, after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> DataTrace:
        return parts.lineages.of_data(fingerprint, after=after, limit=limit)

    return router
