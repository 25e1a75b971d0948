"""Drift over HTTP: how far a version's live rows are from those it was evaluated on."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter

from raymaas.registry.resolve import resolve
from raymaas.serve.api.parts import ControlParts
from raymaas.serve.drift_report import drift_of
from raymaas.specs.base import Moment
from raymaas.specs.drift import DriftReport
from raymaas.specs.names import Reference

_USUAL_TIME = timedelta(days=1)


def drift_router(parts: ControlParts) -> APIRouter:
    """Routes below /models."""
    router = APIRouter(tags=["models"])

    @router.get("/models/{model}/versions/{slot}/drift")
    def get_drift(model: str, slot: str, since: Moment | None = None) -> DriftReport:
        """Of the last day, unless `since` says otherwise."""
        version = resolve(Reference.parse(f"{model}@{slot}"), parts.versions, parts.states)
        manifest, now = parts.versions.get(model, version), parts.now()
        return drift_of(manifest, parts.versions, parts.drifts, since=since or now - _USUAL_TIME, until=now)

    return router
