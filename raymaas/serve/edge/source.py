"""Where an edge's tables come from: the TableSource seam, and the controller behind it, which is told what is asked."""

from __future__ import annotations

from typing import Any, Protocol

import httpx
from pydantic import SecretStr

from raymaas.errors import Denied, Unavailable
from raymaas.serve.edge.config import EDGE_HEADER
from raymaas.specs.demand import EdgeDemand
from raymaas.specs.serving import EdgeTable

_ANSWER_S = 5.0


class TableSource(Protocol):
    """Gives the table wanted now."""

    def __call__(self, after: str | None, wait_s: float) -> EdgeTable | None:
        """The table, as soon as its revision is not `after`; None when it still is after `wait_s` seconds.

        Raises a RaymaasError when the controller cannot be asked or its answer cannot be used.
        """


class HttpController:
    """The controller's door for edges. A TableSource, and where an edge tells what it sees asked.

    Every method raises Unavailable when the controller does not answer, and Denied when it refuses the secret.
    """

    def __init__(self, control_url: str, *, secret: SecretStr) -> None:
        # trust_env off: a proxy meant for the internet must not see the edge's secret.
        self._client = httpx.Client(
            base_url=control_url, headers={EDGE_HEADER: secret.get_secret_value()}, trust_env=False
        )

    def __call__(self, after: str | None, wait_s: float) -> EdgeTable | None:
        """`GET /internal/edge-table?after=<revision>&wait_s=<seconds>`: 200 with the sealed table, or 304."""
        query: dict[str, str] = {"wait_s": f"{wait_s:g}"} | ({} if after is None else {"after": after})
        answer = self._ask("GET", "/internal/edge-table", params=query, read_s=wait_s + _ANSWER_S)
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return None
        return EdgeTable.unseal(answer.content, source=f"the edge table of {self._client.base_url}")

    def tell(self, demand: EdgeDemand) -> None:
        """`POST /internal/edge-demand` with the sealed figures: 204."""
        self._ask(
            "POST",
            "/internal/edge-demand",
            content=demand.seal(),
            headers={"content-type": "application/json"},
            read_s=_ANSWER_S,
        )

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, path: str, *, read_s: float, **sent: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, timeout=httpx.Timeout(_ANSWER_S, read=read_s), **sent)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the controller at {self._client.base_url} does not answer ({error}); the last routes stay"
            ) from None
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Denied(
                f"the controller at {self._client.base_url} refuses the edge's secret; give both the same"
            )
        if answer.status_code not in (httpx.codes.OK, httpx.codes.NO_CONTENT, httpx.codes.NOT_MODIFIED):
            raise Unavailable(f"the controller at {self._client.base_url} answered {answer.status_code}")
        return answer
