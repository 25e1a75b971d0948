"""The fast lane: a replica's own HTTP server, on a port and an event loop of its own, which edges send requests to.

Ray Serve's proxy and replica cost a request some milliseconds of Python. This is the same application on a thread of
the replica's process, so that nothing of Ray is on the way.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any

import orjson
import uvloop

from raymaas.errors import Unavailable
from raymaas.serve.http1 import Answering, Asked, Connection, Reply

HEALTH_PATH = "/v2/health/live"

_START_TIMEOUT_S = 20.0
_BACKLOG = 2048
_PROBE_TIMEOUT_S = 5.0
_TICK_S = 0.05


class FastLane:
    """`answering` below `prefix`, on a free port of `host`; it answers from the first line after the constructor.

    A body of more than `max_body_bytes` comes cut short. Raises Unavailable when the server does not come up.
    """

    def __init__(self, answering: Answering, *, host: str, prefix: str, max_body_bytes: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=_BACKLOG)
        self._mount = _Mount(answering, prefix)
        self._max_body_bytes = max_body_bytes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._spent_s = 0.0
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fast-lane", daemon=True)
        self._thread.start()
        if not self._up.wait(_START_TIMEOUT_S):
            raise Unavailable("the replica's own server did not start; its log says why")
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    async def probe(self) -> None:
        """Raises RuntimeError unless the server answers a health request over its port."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(*self._socket.getsockname()[:2])
                try:
                    writer.write(
                        f"GET {HEALTH_PATH} HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n".encode()
                    )
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise RuntimeError(
                f"the replica's own server at {self.address} does not answer: {error}"
            ) from None
        if b" 200 " not in status:
            raise RuntimeError(f"the replica's own server at {self.address} answered {status!r}")

    def quiet_s(self) -> float:
        """How long it has had nothing to do; looking after its health is nothing."""
        return 0.0 if self._mount.in_flight else time.monotonic() - self._mount.done_at

    def cpu_s(self) -> float:
        """The CPU time its thread has taken, reading requests and writing answers; also when it has ended."""
        with suppress(OSError):
            self._spent_s = time.clock_gettime(self._clock)
        return self._spent_s

    async def run(self, asked: Coroutine[Any, Any, Any]) -> Any:
        """`asked`, on this server's loop, awaited on the caller's: what both lanes share lives on one loop."""
        assert self._loop is not None
        done = asyncio.run_coroutine_threadsafe(self._mount.tending(asked), self._loop)
        return await asyncio.wrap_future(done)

    def leave(self, *, quiet_s: float, at_most_s: float) -> None:
        """Say that no more requests are wanted, answer until none has come for `quiet_s`, end what is in flight, stop.

        All of it takes `at_most_s`, and a second.
        """
        self._mount.leaving = True
        deadline = time.monotonic() + at_most_s
        since = time.monotonic()
        while time.monotonic() < min(deadline, max(since, self._mount.last_at) + quiet_s):
            time.sleep(_TICK_S)
        assert self._loop is not None
        with suppress(RuntimeError):  # it has left already
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=max(1.0, deadline - time.monotonic()))

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        """Until it is stopped and the last connection has ended."""
        self._loop = loop = asyncio.get_running_loop()
        # Asked for here, since it is not defined for a thread that has ended.
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._stop = asyncio.Event()
        connections: set[Connection] = set()

        def connection() -> Connection:
            return Connection(self._mount, max_body_bytes=self._max_body_bytes, among=connections)

        server = await loop.create_server(connection, sock=self._socket)
        self._up.set()
        await self._stop.wait()
        server.close()
        while connections:
            for each in tuple(connections):
                each.end()
            await asyncio.sleep(_TICK_S)


class _Mount:
    """`answering` below `prefix`, and a health check that fails once the replica is leaving; the rest is answered 503.

    An edge that was told of a replica which has ended may reach another one of its port: then the request is to be sent
    again, elsewhere, which edges do with a 503.
    """

    def __init__(self, answering: Answering, prefix: str) -> None:
        self._answering, self._prefix = answering, prefix
        self.leaving = False
        self.in_flight = 0
        """What it is asked for and has not answered, but for its health."""
        self.last_at = self.done_at = time.monotonic()
        """When it was last asked for anything but its health, and when that was answered."""

    async def __call__(self, asked: Asked) -> Reply:
        method, path, headers, body = asked
        if path == HEALTH_PATH:
            return _said(503 if self.leaving else 200, {"live": not self.leaving})
        if path.startswith(self._prefix) and path[len(self._prefix) :][:1] in ("", "/"):
            below = Asked(method, path[len(self._prefix) :], headers, body)
            reply: Reply = await self.tending(self._answering(below))
            return reply
        self.last_at = time.monotonic()
        sentence = "this port is another version's now; send the request again"
        return _said(503, {"error": sentence, "code": Unavailable.code})

    async def tending(self, asked: Awaitable[Any]) -> Any:
        """What `asked` gives; until then this is in flight. All of it on one loop."""
        self.last_at = time.monotonic()
        self.in_flight += 1
        try:
            return await asked
        finally:
            self.in_flight -= 1
            self.done_at = time.monotonic()


def _said(status: int, value: dict[str, Any]) -> Reply:
    return Reply(status, [(b"content-type", b"application/json")], orjson.dumps(value))
