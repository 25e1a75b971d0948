"""A replica's HTTP/1.1, byte by byte over a real socket: whole requests in, whole replies out, in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from raymaas.serve.http1 import MAX_HEAD_BYTES, Asked, Connection, Reply

LIMIT = 100


class Server:
    """Answers with what was asked, as JSON; those on /held once they may."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.may = asyncio.Event()
        self.asked: list[Asked] = []
        self.dropped = 0
        self.fault: Exception | None = None
        self.connections: set[Connection] = set()
        self.reads = 0

    def connection(self) -> Connection:
        server = self

        class Counted(Connection):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                server.reads += 1

        return Counted(self.answer, max_body_bytes=self.limit, among=self.connections)

    async def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        if asked.path == "/held":
            try:
                await self.may.wait()
            except asyncio.CancelledError:
                self.dropped += 1
                raise
        if self.fault:
            raise self.fault
        told = {"method": asked.method, "path": asked.path, "body": asked.body.decode()}
        return Reply(200, [(b"x-length", b"%d" % len(asked.body))], json.dumps(told).encode())


Talk = Callable[[Server, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talking(talk: Talk, *, limit: int = LIMIT) -> Server:
    """`talk` with a server over one connection."""

    async def scene() -> Server:
        server = Server(limit)
        listening = await asyncio.get_running_loop().create_server(server.connection, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2])
        try:
            async with asyncio.timeout(20):
                while not server.connections:
                    await asyncio.sleep(0.01)
                await talk(server, reader, writer)
        finally:
            writer.close()
            listening.close()
        async with asyncio.timeout(20):
            while server.connections:
                await asyncio.sleep(0.01)
        return server

    return asyncio.run(scene())


async def read(reader: asyncio.StreamReader, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    content = await reader.readexactly(int(headers["content-length"])) if body else b""
    return int(head[0].split()[1]), headers, content


async def received(server: Server) -> None:
    """Until the server has seen what was written last, or has no connection any more."""
    before = server.reads
    while server.reads == before and server.connections:
        await asyncio.sleep(0.01)


def request(path: str, body: bytes = b"", *, method: str = "POST", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: r\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def test_requests_of_one_connection_are_answered_in_order_though_they_come_at_once() -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            request("/held", b"1") + request("/b%20c?query", b"2") + request("/d", b"", method="GET")
        )
        await asyncio.sleep(0)
        while not server.asked:
            await asyncio.sleep(0.01)
        assert [asked.path for asked in server.asked] == ["/held"]
        server.may.set()
        answers = [json.loads((await read(reader))[2]) for _ in range(3)]
        assert [(told["method"], told["path"], told["body"]) for told in answers] == [
            ("POST", "/held", "1"),
            ("POST", "/b c", "2"),
            ("GET", "/d", ""),
        ]

    assert talking(talk).asked[0].headers[b"host"] == b"r"


def test_a_request_may_come_byte_by_byte_and_in_chunks() -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"POST /a HTTP/1.1\r\nX-Odd-Case: Yes\r\nTransfer-Encoding: chunked\r\n\r\n"
        for byte in head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert json.loads((await read(reader))[2])["body"] == "abcde"

    assert talking(talk).asked[0].headers[b"x-odd-case"] == b"Yes"


def test_a_header_behind_a_chunked_body_is_none_of_the_request() -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"POST /a HTTP/1.1\r\nX-Key: edge\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head + b"1\r\na\r\n0\r\nX-Key: forged\r\nX-More: forged\r\n\r\n" + request("/b"))
        assert [(await read(reader))[0] for _ in range(2)] == [200, 200]

    chunked, after = talking(talk).asked
    assert (chunked.headers[b"x-key"], chunked.body) == (b"edge", b"a")
    assert not {b"x-more"} & (chunked.headers.keys() | after.headers.keys())


def test_the_values_of_a_repeated_header_are_joined() -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request("/a", more="Accept: a/b\r\nX: 1\r\naccept: c/d;q=0.5\r\n"))
        assert (await read(reader))[0] == 200

    assert talking(talk).asked[0].headers[b"accept"] == b"a/b, c/d;q=0.5"


def test_an_answer_to_head_has_a_length_and_no_body() -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request("/a", method="HEAD") + request("/b"))
        assert int((await read(reader, body=False))[1]["content-length"]) > 0
        assert json.loads((await read(reader))[2])["path"] == "/b"

    talking(talk)


@pytest.mark.parametrize("more", ["Connection: close\r\n", "Connection: upgrade\r\nUpgrade: websocket\r\n"])
def test_it_closes_after_the_answer_where_that_is_asked_or_another_protocol_is(more: str) -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request("/a", more=more))
        status, headers, _body = await read(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert await reader.read() == b""

    talking(talk)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
)
def test_what_cannot_be_understood_is_a_400_and_the_end(sent: bytes) -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        status, headers, body = await read(reader)
        assert (status, headers["connection"]) == (400, "close")
        assert "not well-formed" in json.loads(body)["error"]
        assert await reader.read() == b""

    assert talking(talk).asked == []


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\nX: ", b"a"),
        (b"GET / HTTP/1.1\r\nX", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X: a\r\n"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"a"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
        (b"", b"\r\n"),
    ],
)
def test_a_head_without_an_end_is_refused_though_it_comes_in_pieces(begun: bytes, piece: bytes) -> None:
    """Otherwise whoever reaches the port could fill the replica's memory."""

    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        sent = 0
        while server.connections and sent < 4 * MAX_HEAD_BYTES:
            writer.write(piece * 8000)
            sent += 8000 * len(piece)
            await received(server)
        status, headers, body = await read(reader)
        assert (status, headers["connection"]) == (431, "close")
        assert f"exceeds {MAX_HEAD_BYTES} bytes; send fewer" in json.loads(body)["error"]

    assert talking(talk).asked == []


def test_a_body_may_be_longer_than_any_head() -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"POST /a HTTP/1.1\r\nContent-Length: {4 * MAX_HEAD_BYTES}\r\n\r\n".encode())
        for _ in range(4):
            writer.write(b"x" * MAX_HEAD_BYTES)
            await received(server)
        writer.write(request("/b"))
        assert [(await read(reader))[0] for _ in range(2)] == [200, 200]

    talking(talk, limit=4 * MAX_HEAD_BYTES)


@pytest.mark.parametrize("together", [True, False])
def test_what_cannot_be_understood_takes_no_answer_from_what_came_before_it(together: bool) -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = request("/held") + request("/b")
        writer.write(first + b"nonsense\r\n\r\n" if together else first)
        while not server.asked:
            await asyncio.sleep(0.01)
        if not together:
            writer.write(b"nonsense\r\n\r\n")
            await received(server)
        server.may.set()
        answers = [await read(reader) for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 400]
        assert [json.loads(body)["path"] for _, _, body in answers[:2]] == ["/held", "/b"]
        assert await reader.read() == b""

    talking(talk)


@pytest.mark.parametrize("more", ["Connection: close\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\n"])
@pytest.mark.parametrize("after", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", request("/never")])
def test_what_follows_the_last_request_is_not_looked_at(more: str, after: bytes) -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request("/held", more=more))
        while not server.asked:
            await asyncio.sleep(0.01)
        writer.write(after)
        await received(server)
        server.may.set()
        status, headers, body = await read(reader)
        assert (status, headers["connection"], json.loads(body)["path"]) == (200, "close", "/held")
        assert await reader.read() == b""

    assert [asked.path for asked in talking(talk).asked] == ["/held"]


def test_of_a_body_beyond_the_limit_little_more_is_kept_and_the_rest_is_not_waited_for() -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"POST /a HTTP/1.1\r\nContent-Length: {10**9}\r\n\r\n".encode() + b"x" * (LIMIT + 1))
        status, headers, _body = await read(reader)
        assert (status, headers["x-length"], headers["connection"]) == (200, str(LIMIT + 1), "close")

    talking(talk)


def test_who_waits_to_be_told_to_go_on_is_told() -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ab")
        assert json.loads((await read(reader))[2])["body"] == "ab"

    talking(talk)


def test_a_caller_of_http_1_0_is_told_that_the_connection_stays_and_not_to_go_on() -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        old = request("/a", b"ab", more="Expect: 100-continue\r\nConnection: Keep-Alive\r\n")
        writer.write(old.replace(b"HTTP/1.1", b"HTTP/1.0") * 2)
        for _answer in range(2):
            status, headers, body = await read(reader)
            assert (status, headers["connection"], json.loads(body)["body"]) == (200, "keep-alive", "ab")
        writer.write(b"GET /b HTTP/1.0\r\n\r\n")
        status, headers, _body = await read(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert await reader.read() == b""

    talking(talk)


@pytest.mark.parametrize(
    ("target", "path"),
    [("http://r:80/a%20b?q=http://x/y", "/a b"), ("http://r", "/"), ("http://r?q", "/")],
)
def test_a_target_may_name_scheme_and_host(target: str, path: str) -> None:
    async def talk(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request(target, method="OPTIONS"))
        assert json.loads((await read(reader))[2])["path"] == path

    talking(talk)


def test_the_wait_ends_when_the_connection_does() -> None:
    async def talk(server: Server, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request("/held") + request("/never"))
        while not server.asked:
            await asyncio.sleep(0.01)

    server = talking(talk)
    assert server.dropped == 1
    assert [asked.path for asked in server.asked] == ["/held"]


def test_who_cannot_be_answered_does_not_wait() -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        writer.write(request("/held") + request("/never"))
        while not server.asked:
            await asyncio.sleep(0.01)
        server.fault = ValueError("a fault of ours")
        server.may.set()
        with suppress(ConnectionError):
            assert await reader.read() == b""
        assert [(context["message"], context["exception"]) for context in said] == [
            ("/held was not answered", server.fault)
        ]

    assert len(talking(talk).asked) == 1


def test_one_that_is_to_end_does_after_what_was_asked() -> None:
    async def talk(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(request("/held") + request("/b"))
        while not server.asked:
            await asyncio.sleep(0.01)
        (connection,) = server.connections
        connection.end()
        server.may.set()
        assert json.loads((await read(reader))[2])["path"] == "/held"
        status, headers, body = await read(reader)
        assert (status, headers["connection"], json.loads(body)["path"]) == (200, "close", "/b")
        assert await reader.read() == b""

    talking(talk)
