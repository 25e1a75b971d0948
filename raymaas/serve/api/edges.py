"""The edge agents' door: the edge table, for whoever knows the edge secret."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from raymaas.errors import Denied
from raymaas.serve.api.parts import ControlParts

EDGE_HEADER = "x-raymaas-edge"


def edges_router(parts: ControlParts) -> APIRouter:
    """Routes below /internal; kept out of the OpenAPI description."""
    router = APIRouter(prefix="/internal", include_in_schema=False)

    @router.get("/edge-table")
    async def edge_table(
        after: str | None = None,
        wait_s: Annotated[float, Query(ge=0, le=60)] = 0,
        secret: Annotated[str, Header(alias=EDGE_HEADER)] = "",
    ) -> Response:
        """The sealed table as soon as its revision is not `after`; 304 when `wait_s` passes before."""
        # An empty secret would let everybody in.
        if not parts.edge_secret or not hmac.compare_digest(secret.encode(), parts.edge_secret.encode()):
            raise Denied(
                f"the edge table is for edge agents only; send the cluster's secret in {EDGE_HEADER}"
            )
        table = await parts.edge_tables.table(after, wait_s)
        if table is None:
            return Response(status_code=304)
        return Response(table.seal(), media_type="application/json")

    return router
