"""The slow lane: a version's application as the ASGI callable that Ray Serve calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from raymaas.errors import Unavailable
from raymaas.serve.disconnects import WhileConnected
from raymaas.serve.http1 import Answering, Asked, add_header

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class AsgiApp:
    """`answering` behind ASGI, below whatever prefix it is mounted at (the `root_path`).

    A body of more than `max_body_bytes` is passed on as far as it was read, to be refused by its length.
    """

    def __init__(self, answering: Answering, *, max_body_bytes: int) -> None:
        self._answering = answering
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1003})
        # Ray Serve and newer ASGI servers leave root_path inside path; older ones strip it.
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        try:
            headers: dict[bytes, bytes] = {}
            for name, value in scope["headers"]:
                add_header(headers, name, value)
            asked = Asked(scope["method"], path, headers, await self._body(receive))
            async with WhileConnected(receive):
                reply = await self._answering(asked)
        except Unavailable:
            return None  # the caller went away
        told = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "http.response.start", "status": reply.status, "headers": told})
        return await send({"type": "http.response.body", "body": reply.body})

    async def _body(self, receive: Receive) -> bytes:
        """Raises Unavailable when the caller goes away before its request is complete."""
        chunks, size, more = [], 0, True
        while more and size <= self._max_body_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Unavailable("the caller went away before its request was complete")
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
        return b"".join(chunks)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
