"""The fast lane: a replica's own HTTP server, on a port and an event loop of its own, which edges send requests to.

Ray Serve's proxy and replica cost a request some milliseconds of Python. This is the same application behind uvicorn in
a thread of the replica's process, so that nothing of Ray is on the way.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
import uvicorn

from raymaas.errors import Unavailable
from raymaas.serve.app import Receive, Scope, Send

HEALTH_PATH = "/v2/health/live"

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_START_TIMEOUT_S = 20.0
_KEEP_ALIVE_S = 3600  # edges keep connections, and close them; a server that does too would cut off requests
_BACKLOG = 2048
_PROBE_TIMEOUT_S = 5.0
_TICK_S = 0.05


class FastLane:
    """`app` at `prefix`, on a free port of `host`; it answers from the first line after the constructor.

    Raises Unavailable when the server does not come up.
    """

    def __init__(self, app: ASGIApp, *, host: str, prefix: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=_BACKLOG)
        self._mount = _Mount(app, prefix)
        config = uvicorn.Config(
            self._mount,
            loop="uvloop",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="fast-lane", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise Unavailable("the replica's own server did not start; its log says why")
            time.sleep(0.01)
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
                writer.write(
                    f"GET {HEALTH_PATH} HTTP/1.1\r\nhost: replica\r\nconnection: close\r\n\r\n".encode()
                )
                status = await reader.readline()
                writer.close()
        except (OSError, TimeoutError) as error:
            raise RuntimeError(
                f"the replica's own server at {self.address} does not answer: {error}"
            ) from None
        if b" 200 " not in status:
            raise RuntimeError(f"the replica's own server at {self.address} answered {status!r}")

    def quiet_s(self) -> float:
        """How long nobody has asked anything; looking after its health is not asking."""
        return time.monotonic() - self._mount.last_at

    def cpu_s(self) -> float:
        """The CPU time its thread has taken: reading requests and writing answers."""
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    async def run(self, asked: Coroutine[Any, Any, Any]) -> Any:
        """`asked`, on this server's loop, awaited on the caller's: what both lanes share lives on one loop."""
        assert self._loop is not None
        self._mount.last_at = time.monotonic()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, self._loop))

    def leave(self, *, quiet_s: float, at_most_s: float) -> None:
        """Say that no more requests are wanted, answer until none has come for `quiet_s`, end what is in flight, stop.

        All of it takes `at_most_s`, and a second.
        """
        self._mount.leaving = True
        deadline = time.monotonic() + at_most_s
        since = time.monotonic()
        while time.monotonic() < min(deadline, max(since, self._mount.last_at) + quiet_s):
            time.sleep(_TICK_S)
        self._server.should_exit = True
        self._thread.join(timeout=max(1.0, deadline - time.monotonic()))

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(serve())


class _Mount:
    """`app` below `prefix`, and a health check that fails once the replica is leaving; anything else is answered 503.

    An edge that was told of a replica which has ended may reach another one of its port: then the request is to be sent
    again, elsewhere, which edges do with a 503.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app, self._prefix = app, prefix
        self.leaving = False
        self.last_at = time.monotonic()
        """When it was last asked for anything but its health."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path == HEALTH_PATH:
            return await _say(send, 503 if self.leaving else 200, {"live": not self.leaving})
        self.last_at = time.monotonic()
        if path.startswith(self._prefix) and path[len(self._prefix) :][:1] in ("", "/"):
            scope["root_path"] = self._prefix
            return await self._app(scope, receive, send)
        sentence = "this port is another version's now; send the request again"
        return await _say(send, 503, {"error": sentence, "code": Unavailable.code})


async def _say(send: Send, status: int, value: dict[str, Any]) -> None:
    body = orjson.dumps(value)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
