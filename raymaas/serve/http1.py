"""HTTP/1.1 for edges: requests that are wholly here go to an answering coroutine, and its replies out in one write.

A general server passes a small request through more layers than it takes to answer it. This one is for a trusted proxy
on keep-alive connections: it knows no streaming, no upgrades and no time limits on those who send. Parsing is llhttp's.
Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, MutableSet
from http import HTTPStatus
from typing import NamedTuple, cast
from urllib.parse import unquote

import httptools
import orjson

from raymaas.errors import InvalidInput

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's target and headers; and so much at most comes, but for one read, before any of it is understood."""

_WAITING = 4  # requests of one connection that are sent before the one before them is answered
_STATUS_LINES = {int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode() for status in HTTPStatus}
_MALFORMED = "the request is not well-formed HTTP/1.1"
_LONG = f"the head of the request exceeds {MAX_HEAD_BYTES} bytes; send fewer or shorter headers"


class Asked(NamedTuple):
    """A whole request: `path` is decoded and without its query.

    The names of `headers` are in lower case; the values of one that came several times are joined by commas.
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes


class Reply(NamedTuple):
    """A whole answer. Its length is added to the headers."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


Answering = Callable[[Asked], Awaitable[Reply]]
"""Answers a request. It is cancelled when the connection is lost, and loses it when it raises."""


def add_header(headers: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """Source: RFC 9110, 5.3."""
    headers[name] = b"%b, %b" % (headers[name], value) if name in headers else value


class Connection(asyncio.Protocol):
    """One connection: its requests are answered one after the other.

    It is in `among` as long as it is open. A body of more than `max_body_bytes` is passed on as far as it came, to be
    refused by its length; then the connection ends.
    """

    def __init__(self, answering: Answering, *, max_body_bytes: int, among: MutableSet[Connection]) -> None:
        self._answering = answering
        self._max_body_bytes = max_body_bytes
        self._among = among
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._pieces: list[bytes] = []
        self._head_bytes = self._body_bytes = 0
        self._pending_bytes = 0  # that came since something of them was understood
        self._headed = False
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[Asked | Reply, bool]] = deque()
        self._full = self._ending = False
        self._deaf = False  # what comes from now on is not for this server

    def end(self) -> None:
        """Close once what was asked is answered."""
        self._ending = True
        if self._task is None and not self._waiting:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # An edge's host that died says nothing more; the system notices.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._among.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._among.discard(self)
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._next()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._pending_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is answered, and what follows it is of another protocol.
            self._ending = self._deaf = True
        except httptools.HttpParserError:
            self._refuse()
        else:
            # The parser tells of a header once all of it has come, and keeps it until then.
            if self._pending_bytes > MAX_HEAD_BYTES:
                self._refuse()

    # Called by the parser, in this order.

    def on_message_begin(self) -> None:
        self._url, self._headers, self._pieces = b"", {}, []
        self._head_bytes = self._body_bytes = 0
        self._headed = False

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # One behind a chunked body must not change what the edge has said.
        if not self._headed:
            add_header(self._headers, name.lower(), value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        self._headed = True
        expects = self._headers.get(b"expect", b"").lower() == b"100-continue"
        # An older caller would take it for the answer.
        if expects and self._parser.get_http_version() == "1.1":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._pending_bytes = 0
        if self._body_bytes > self._max_body_bytes:
            return
        self._pieces.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._max_body_bytes:
            self._complete(last=True)

    def on_message_complete(self) -> None:
        self._pending_bytes = 0
        if self._body_bytes <= self._max_body_bytes:
            self._complete(last=not self._parser.should_keep_alive())

    def _count(self, more: int) -> None:
        self._pending_bytes = 0
        self._head_bytes += more
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError(_LONG)  # reaches data_received as an HttpParserError

    def _complete(self, *, last: bool) -> None:
        if self._deaf:
            return
        path = self._url.partition(b"?")[0].decode("latin-1")
        if not path.startswith("/"):  # whoever takes this server for a proxy sends scheme and host as well
            path = "/" + path.partition("://")[2].partition("/")[2]
        asked = Asked(
            self._parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            self._headers,
            self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces),
        )
        self._pieces = []
        self._deaf = last
        self._wait(asked, last=last)

    def _wait(self, asked: Asked | Reply, *, last: bool) -> None:
        """Have its turn come: of a request, to be answered; of a reply, to be sent."""
        self._waiting.append((asked, last))
        if len(self._waiting) >= _WAITING:
            self._transport.pause_reading()  # and then the end of the connection is not seen either
        self._next()

    def _next(self) -> None:
        if self._task is None and self._waiting and not self._full:
            asked, last = self._waiting.popleft()
            if isinstance(asked, Reply):
                self._send(asked, last=last)
            else:
                self._task = self._loop.create_task(self._exchange(asked, last))

    async def _exchange(self, asked: Asked, last: bool) -> None:
        try:
            reply = await self._answering(asked)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": f"{asked.path} was not answered", "exception": error}
            )
            self._transport.abort()  # or who asked would wait for ever
            return
        self._task = None
        last = last or (self._ending and not self._waiting)
        if not last and asked.headers.get(b"connection", b"").lower() == b"keep-alive":
            # HTTP/1.0 takes an answer without it for the last one, and waits for the end.
            reply = reply._replace(headers=[*reply.headers, (b"connection", b"keep-alive")])
        self._send(reply, last=last, bare=asked.method == "HEAD")

    def _send(self, reply: Reply, *, last: bool, bare: bool = False) -> None:
        """In one write, without its body when `bare`; then the end, or the next request."""
        parts = [_STATUS_LINES[reply.status]]
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(reply.body))
        parts.append(b"connection: close\r\n\r\n" if last else b"\r\n")
        if not bare:
            parts.append(reply.body)
        self._transport.write(b"".join(parts))
        if last:
            self._waiting.clear()
            self._transport.close()
        elif self._waiting:
            self._next()
            if len(self._waiting) < _WAITING:
                self._transport.resume_reading()

    def _refuse(self) -> None:
        """Nothing that follows can be understood. What came before it is answered first."""
        if self._deaf:
            return
        long = max(self._head_bytes, self._pending_bytes) > MAX_HEAD_BYTES
        status, sentence = (431, _LONG) if long else (400, _MALFORMED)
        body = orjson.dumps({"error": sentence, "code": InvalidInput.code, "request_id": None})
        self._deaf = True
        self._wait(Reply(status, [(b"content-type", b"application/json")], body), last=True)
