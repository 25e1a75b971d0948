"""Falling back: a request on which this version failed is answered by another version of the model.

Who asked gets the other one's answer, byte for byte in the form it asked for; that this version failed is still said:
the reply has status 500, which the edge counts before it makes 200 of it.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from raymaas.errors import RaymaasError
from raymaas.serve.app import (
    EDGE_HEADER,
    FELL_BACK_HEADER,
    INFER,
    KEY_HEADER,
    REQUEST_ID_HEADER,
)
from raymaas.serve.http1 import Asked, Reply
from raymaas.serve.peers import Addresses, Peers
from raymaas.serve.plan import Target
from raymaas.specs.tensors import LENGTH_HEADER

_TIMEOUT_S = 10.0
_AT_ONCE = 16
_FAILED = 500
_ASKED = (
    b"content-type",
    b"content-encoding",
    b"accept",
    b"accept-encoding",
    LENGTH_HEADER.encode(),
    EDGE_HEADER,
    REQUEST_ID_HEADER,
    KEY_HEADER,
)
_ANSWERED = ("content-type", "content-encoding", "vary", LENGTH_HEADER)

log = logging.getLogger("raymaas.replica")


class FallingBack:
    """Of one replica of `own`. `close` ends it."""

    def __init__(self, own: Target, *, addresses: Addresses, timeout_s: float = _TIMEOUT_S) -> None:
        self._own, self._timeout_s = own, timeout_s
        self._peers = Peers(addresses, timeout_s=timeout_s)
        self._threads = ThreadPoolExecutor(_AT_ONCE, "falling-back")

    async def __call__(self, asked: Asked, version: int, *, timeout_s: float | None = None) -> Reply | None:
        """What `version` answers to the same infer request, said to be in place of this one's; None when it does not.

        Raises nothing but CancelledError, when the caller has gone.
        """
        within_s = self._timeout_s if timeout_s is None else min(timeout_s, self._timeout_s)
        to = Target(self._own.model, version)
        try:
            told, body = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._ask, to, asked, within_s
            )
        except (OSError, http.client.HTTPException, RaymaasError) as error:
            log.warning("%s could not answer in place of %s: %s", to.app_name, self._own.app_name, error)
            return None
        headers = [(name.encode(), told[name].encode("latin-1")) for name in _ANSWERED if name in told]
        return Reply(_FAILED, [*headers, (FELL_BACK_HEADER, str(self._own.version).encode())], body)

    def _ask(self, to: Target, asked: Asked, timeout_s: float) -> tuple[dict[str, str], bytes]:
        path = f"{to.route_prefix}/v2/models/{to.model}/versions/{to.version}/{INFER}"
        return self._peers.ask(to, path, asked.body, _taken(asked.headers), timeout_s=timeout_s)

    def close(self) -> None:
        """What is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._peers.close()


def _taken(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(): headers[name].decode("latin-1") for name in _ASKED if name in headers}
