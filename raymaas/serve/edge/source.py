"""Where an edge's tables come from: the TableSource seam, and the long poll of the controller behind it."""

from __future__ import annotations

from typing import Protocol

import httpx
from pydantic import SecretStr

from raymaas.errors import Denied, Unavailable
from raymaas.serve.edge.config import EDGE_HEADER
from raymaas.specs.serving import EdgeTable


class TableSource(Protocol):
    """Gives the table wanted now."""

    def __call__(self, after: str | None, wait_s: float) -> EdgeTable | None:
        """The table, as soon as its revision is not `after`; None when it still is after `wait_s` seconds.

        Raises a RaymaasError when the controller cannot be asked or its answer cannot be used.
        """


class HttpTableSource:
    """`GET /internal/edge-table?after=<revision>&wait_s=<seconds>`: 200 with the sealed table, or 304."""

    def __init__(self, control_url: str, *, secret: SecretStr) -> None:
        # trust_env off: a proxy meant for the internet must not see the edge's secret.
        self._client = httpx.Client(
            base_url=control_url, headers={EDGE_HEADER: secret.get_secret_value()}, trust_env=False
        )

    def __call__(self, after: str | None, wait_s: float) -> EdgeTable | None:
        query: dict[str, str] = {"wait_s": f"{wait_s:g}"} | ({} if after is None else {"after": after})
        timeout = httpx.Timeout(5.0, read=wait_s + 5.0)
        try:
            answer = self._client.get("/internal/edge-table", params=query, timeout=timeout)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"the controller at {self._client.base_url} does not answer ({error}); the last routes stay"
            ) from None
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return None
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise Denied(
                f"the controller at {self._client.base_url} refuses the edge's secret; give both the same"
            )
        if answer.status_code != httpx.codes.OK:
            raise Unavailable(f"the controller at {self._client.base_url} answered {answer.status_code}")
        return EdgeTable.unseal(answer.content, source=f"the edge table of {self._client.base_url}")

    def close(self) -> None:
        self._client.close()
