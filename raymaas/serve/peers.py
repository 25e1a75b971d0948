"""Peers: connections from a replica to those of other versions of its model, at the ports they announced."""

from __future__ import annotations

import http.client
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from raymaas.errors import Unavailable
from raymaas.serve.plan import Target

_LOOK_S = 2.0

Addresses = Callable[[Target], Sequence[str]]
"""host:port of each replica of a version, which may have ended since."""


class Peers:
    """Where they are is looked up every two seconds at most. Any thread may ask."""

    def __init__(
        self, addresses: Addresses, *, timeout_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._addresses, self._timeout_s, self._clock = addresses, timeout_s, clock
        self._known: dict[Target, tuple[float, list[str]]] = {}
        self._idle: defaultdict[str, list[http.client.HTTPConnection]] = defaultdict(list)
        self._changing = threading.Lock()

    def ask(
        self,
        to: Target,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """POST to the replicas of `to` in turns; headers and body of a success. One that fails is not asked again
        before the next look.

        Raises OSError, HTTPException, or Unavailable when there is none or its answer is no success.
        """
        with self._changing:
            known = self._look(to)
            if not known:
                raise Unavailable(f"no replica of {to.app_name} has announced itself")
            # To the end of the row: others may ask before this one is answered.
            address = known.pop(0)
            known.append(address)
            idle = self._idle[address]
            connection = idle.pop() if idle else None
        within_s = self._timeout_s if timeout_s is None else timeout_s
        reused = connection is not None
        connection = connection or http.client.HTTPConnection(address)
        try:
            try:
                response, raw = _exchanged(connection, path, body, headers, timeout_s=within_s)
            except ConnectionError:
                if not reused:
                    raise
                # It was closed at the other end while nobody used it.
                connection = http.client.HTTPConnection(address)
                response, raw = _exchanged(connection, path, body, headers, timeout_s=within_s)
        except BaseException:
            with self._changing, suppress(ValueError):
                known.remove(address)
            raise
        with self._changing:
            self._idle[address].append(connection)
        if response.status != http.client.OK:
            raise Unavailable(f"{to.app_name} answered {response.status}")
        return {name.lower(): value for name, value in response.getheaders()}, raw

    def close(self) -> None:
        with self._changing:
            for address in list(self._idle):
                self._forget(address)

    def _look(self, to: Target) -> list[str]:
        now_s = self._clock()
        looked_s, known = self._known.get(to, (-_LOOK_S, []))
        if now_s - looked_s >= _LOOK_S:
            found = list(self._addresses(to))
            for gone in [address for address in known if address not in found]:
                self._forget(gone)
            # In the order they are asked in, so that each has its turn.
            known = [a for a in known if a in found] + [a for a in found if a not in known]
            self._known[to] = now_s, known
        return known

    def _forget(self, address: str) -> None:
        for connection in self._idle.pop(address, []):
            connection.close()


def _exchanged(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.timeout = timeout_s
    if connection.sock:
        connection.sock.settimeout(timeout_s)
    try:
        connection.request("POST", path, body=body, headers=dict(headers))
        response = connection.getresponse()
        return response, response.read()
    except BaseException:
        connection.close()
        raise
