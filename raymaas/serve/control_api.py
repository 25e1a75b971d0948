"""The control API: one FastAPI app over the registry, and the edge's default backend."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from raymaas import __version__
from raymaas.serve.api.border import add_border
from raymaas.serve.api.description import DescribedApp
from raymaas.serve.api.drift import drift_router
from raymaas.serve.api.edges import edges_router
from raymaas.serve.api.feedback import feedback_router
from raymaas.serve.api.gate import Gate
from raymaas.serve.api.keys import keys_router
from raymaas.serve.api.lineage import lineage_router
from raymaas.serve.api.models import models_router
from raymaas.serve.api.parts import (
    ClusterView,
    ControlParts,
    DeploymentView,
    JobSubmitter,
    TableSource,
)
from raymaas.serve.api.policies import policies_router
from raymaas.serve.api.protocol import protocol_router
from raymaas.serve.api.rollouts import rollouts_router
from raymaas.serve.api.runs import runs_router
from raymaas.serve.api.triggers import triggers_router
from raymaas.serve.standing import Standings
from raymaas.specs.api import ClusterStatus

__all__ = ["ClusterView", "ControlParts", "DeploymentView", "JobSubmitter", "TableSource", "build_app"]

API = "/api/v1"


def build_app(parts: ControlParts) -> FastAPI:
    """The app. Routes that touch the store are plain functions, run in threads: the store blocks."""
    app = DescribedApp(
        title="raymaas",
        version=__version__,
        openapi_url=f"{API}/openapi.json",
        docs_url=f"{API}/docs",
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    api = APIRouter(prefix=API)
    standings = Standings(parts.versions, parts.states, parts.rollouts, parts.drifts)

    @api.get("/status", tags=["cluster"])
    def get_status() -> ClusterStatus:
        """Where everything is, and how each deployed model stands: rollouts under way, and drift."""
        return ClusterStatus(
            version=__version__, cluster=parts.cluster.describe(), models=standings.now(parts.now())
        )

    api.include_router(models_router(parts))
    api.include_router(policies_router(parts))
    api.include_router(rollouts_router(parts))
    api.include_router(lineage_router(parts))
    api.include_router(drift_router(parts))
    api.include_router(feedback_router(parts))
    api.include_router(runs_router(parts))
    api.include_router(triggers_router(parts))
    api.include_router(keys_router(parts))
    app.include_router(api)
    app.include_router(protocol_router(parts, release=__version__))
    app.include_router(edges_router(parts))
    add_border(app, Gate(parts.keys.ring))
    return app
