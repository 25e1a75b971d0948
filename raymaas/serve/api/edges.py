"""The edge agents' door, for whoever knows the edge secret: they get the edge table, and tell what they see asked."""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from raymaas.errors import Denied
from raymaas.serve.api.parts import ControlParts
from raymaas.specs.demand import EdgeDemand

EDGE_HEADER = "x-raymaas-edge"


def edges_router(parts: ControlParts) -> APIRouter:
    """Routes below /internal; kept out of the OpenAPI description."""

    def require_secret(secret: Annotated[str, Header(alias=EDGE_HEADER)] = "") -> None:
        # An empty secret would let everybody in.
        if not parts.edge_secret or not hmac.compare_digest(secret.encode(), parts.edge_secret.encode()):
            raise Denied(f"this is for edge agents only; send the cluster's secret in {EDGE_HEADER}")

    router = APIRouter(prefix="/internal", include_in_schema=False, dependencies=[Depends(require_secret)])

    @router.get("/edge-table")
    async def edge_table(
        after: str | None = None, wait_s: Annotated[float, Query(ge=0, le=60)] = 0
    ) -> Response:
        """The sealed table as soon as its revision is not `after`; 304 when `wait_s` passes before."""
        table = await parts.edge_tables.table(after, wait_s)
        if table is None:
            return Response(status_code=304)
        return Response(table.seal(), media_type="application/json")

    @router.post("/edge-demand", status_code=204)
    async def edge_demand(request: Request) -> None:
        """Takes what an edge sees asked, sealed."""
        told = EdgeDemand.unseal(await request.body(), source="what the edge tells")
        await asyncio.to_thread(parts.hear_demand, told)

    return router
