"""LossyProxy: stands between a client and an HTTP server, and loses what it is told to lose."""

from __future__ import annotations

import enum
import http.client
import http.server
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Fate(enum.Enum):
    PASS = "forward it, and give the reply back"
    CUT = "hang up before the server sees it"
    DROP = "forward it, wait for the reply, then hang up"
    HOLD = "forward it, wait for the reply, and keep it until the client has given up"


@dataclass(frozen=True)
class Answer:
    """Say this instead, as S3 would; the server does not see the request."""

    status: int
    code: str

    def body(self) -> bytes:
        return f"<Error><Code>{self.code}</Code><Message>said by the proxy</Message></Error>".encode()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    number: int = field(compare=False)  # from 1, of all that this proxy has seen


Rule = Callable[[Request], Fate | Answer]


class LossyProxy:
    """A proxy on a free loopback port, running inside a `with` block.

    `rule` may be replaced at any time; it is asked once a request. `seen` holds every request with its fate.
    The Host header goes through as it came, so that signatures hold. A server that cannot be reached, or hangs
    up, makes the proxy hang up.
    """

    def __init__(self, endpoint: str, rule: Rule = lambda request: Fate.PASS) -> None:
        self.rule = rule
        self.seen: list[tuple[Request, Fate | Answer]] = []
        self._upstream = urlsplit(endpoint).netloc
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="lossy-proxy")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def count(self, method: str, fate: Fate) -> int:
        return sum(request.method == method and met is fate for request, met in self.seen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _decide(self, method: str, path: str) -> Fate | Answer:
        with self._lock:
            request = Request(method, path, len(self.seen) + 1)
            fate = self.rule(request)
            self.seen.append((request, fate))
        return fate

    def _forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet, or each reply waits 40 ms for the other side's acknowledgement.
            wbufsize = -1

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                self.close_connection = True
                fate = proxy._decide(self.command, self.path)
                if fate is Fate.CUT:
                    return
                if isinstance(fate, Answer):
                    self._reply(fate.status, [("content-type", "application/xml")], fate.body())
                    return
                headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
                try:
                    response, reply = proxy._forward(self.command, self.path, headers, body)
                except (OSError, http.client.HTTPException):
                    return
                if fate is Fate.HOLD:
                    self._until_given_up()
                if fate is Fate.PASS:
                    self._reply(response.status, response.getheaders(), reply)
                    self.close_connection = False

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def handle_expect_100(self) -> bool:
                answered = super().handle_expect_100()
                self.wfile.flush()
                return answered

            def _reply(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _until_given_up(self) -> None:
                self.connection.settimeout(0.05)
                while not proxy._closing.is_set():
                    with suppress(TimeoutError):
                        if not self.connection.recv(1, socket.MSG_PEEK):
                            return

            def handle(self) -> None:
                with suppress(ConnectionError):  # a client that hangs up is what this is for
                    super().handle()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: `seen` is the log."""

        return Handler
