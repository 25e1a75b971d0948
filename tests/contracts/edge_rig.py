"""What the edge's tests share: replicas that echo, a table source in memory, and a running agent to ask."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from raymaas.cluster.ports import free_ports
from raymaas.serve.edge.agent import EdgeAgent
from raymaas.serve.edge.config import EdgeSettings
from raymaas.serve.edge.status import EdgeStatus, read_status
from raymaas.specs.base import sha256_hex
from raymaas.specs.keys import EdgeKey
from raymaas.specs.serving import EdgeTable, EdgeTarget

SECRET = "canary_0123456789abcdef"
SECRET_PART = "CANARY0123456789abcdefghijklmnop"
MAX_BODY = 100_000

AGENT = """
import signal, sys, threading
from pathlib import Path
from raymaas.serve.edge.config import EdgeSettings
from raymaas.serve.edge.running import run_edge
from raymaas.serve.edge.source import HttpController
settings = EdgeSettings.model_validate_json(sys.argv[1])
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
controller = HttpController("http://" + settings.control, secret=settings.secret)
run_edge(settings, Path(sys.argv[2]), controller, name=sys.argv[2], stop=stop)
"""


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers every request with what it saw of it."""

    protocol_version = "HTTP/1.1"
    # Head and body in one packet, or each answer waits 40 ms for the other side's acknowledgement.
    wbufsize = -1

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        seen = {
            "server": self.connection.getsockname()[1],
            "path": self.path,
            "headers": dict(self.headers),
            "body_bytes": len(body),
        }
        raw = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


class Backend(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echo)

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class Tables:
    """A TableSource in memory."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._table: EdgeTable | None = None
        self._closed = False

    def give(self, table: EdgeTable) -> None:
        with self._changed:
            self._table = table
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __call__(self, after: str | None, wait_s: float) -> EdgeTable | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._newer(after), timeout=wait_s)
            return self._table if self._newer(after) else None

    def _newer(self, after: str | None) -> bool:
        return self._table is not None and self._table.revision != after


def eventually(holds: Callable[[], Any], what: str, *, within_s: float = 15.0) -> Any:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {within_s} s: {what}")


class Front:
    """An edge as its clients see it, and what its agent says of it."""

    def __init__(self, settings: EdgeSettings, run_dir: Path) -> None:
        self.settings = settings
        self.run_dir = run_dir

    def status(self) -> EdgeStatus | None:
        return read_status(self.run_dir)

    def now(self) -> EdgeStatus:
        status = self.status()
        assert status is not None
        return status

    def wait_for_agent(self, pid: int) -> EdgeStatus:
        def reported() -> EdgeStatus | None:
            status = self.status()
            return status if status and status.agent_pid == pid and status.haproxy_pid else None

        found = eventually(reported, f"agent {pid} reports a HAProxy")
        assert isinstance(found, EdgeStatus)
        return found

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=10)
        try:
            yield connection
        finally:
            connection.close()

    def ask(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        with self.connection() as connection:
            return ask(connection, path, body, headers)

    def raw(self, request: bytes) -> bytes:
        """Send bytes as they are; all that comes back until the connection ends."""
        answer = b""
        # The edge may close before it has read everything, and a close with unread bytes is a reset.
        with (
            socket.create_connection(("127.0.0.1", self.settings.port), timeout=10) as connection,
            suppress(ConnectionError, OSError),
        ):
            connection.sendall(request)
            answer = connection.recv(65536)
            # Not before the first bytes: HAProxy may take an early end for a caller that went away.
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
        return answer


class Edge(Front):
    """One with its agent in a thread, which follows the tables it is given."""

    def __init__(self, settings: EdgeSettings, run_dir: Path) -> None:
        super().__init__(settings, run_dir)
        self.tables = Tables()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=EdgeAgent(settings, run_dir, self.tables).run, args=(self._stop,)
        )
        self._thread.start()
        self.wait_for_agent(os.getpid())

    def follow(self, table: EdgeTable) -> None:
        self.tables.give(table)
        eventually(lambda: self.now().revision == table.revision, f"table {table.revision} is followed")

    def stop(self) -> None:
        self._stop.set()
        self.tables.close()
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()


@contextmanager
def edge_process(settings: EdgeSettings, run_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], Front]]:
    """A whole edge in a process of its own, which follows the controller over HTTP. Its HAProxy may be left running."""
    fields = settings.model_dump(mode="json") | {"secret": settings.secret.get_secret_value()}
    process = subprocess.Popen([sys.executable, "-c", AGENT, json.dumps(fields), str(run_dir)])
    try:
        yield process, Front(settings, run_dir)
    finally:
        process.kill()
        process.wait()


def ask(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    connection.request("GET" if body is None else "POST", path, body=body, headers=headers or {})
    answer = connection.getresponse()
    raw = answer.read()
    return answer.status, json.loads(raw), {k.lower(): v for k, v in answer.getheaders()}


def alive(pid: int, started_at: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started_at) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def make_table(
    revision: str,
    *proxies: Backend,
    versions: tuple[int, ...] = (1, 2, 3),
    traffic: dict[int, int] | None = None,
    aliases: dict[str, int] | None = None,
    replicas: Mapping[int, Sequence[str]] | None = None,
    **more: Any,
) -> EdgeTable:
    return EdgeTable(
        revision=revision,
        proxies=tuple(proxy.address for proxy in proxies),
        targets=tuple(
            EdgeTarget(
                model="digits",
                version=v,
                path_prefix=f"/models/digits/{v}",
                replicas=tuple((replicas or {}).get(v, ())),
            )
            for v in versions
        ),
        traffic={"digits": traffic or {versions[0]: 100}},
        aliases={"digits": aliases or {}},
        **more,
    )


def text_of(number: int) -> str:
    return f"rmk_{number:08x}_{SECRET_PART}{number}"


def key(number: int, name: str, **changes: Any) -> EdgeKey:
    """What an edge knows of the key `text_of(number)`."""
    digest = sha256_hex(text_of(number).encode())
    return EdgeKey(**{"name": name, "key_id": f"{number:08x}", "sha256": digest} | changes)


def served_path(version: int, rest: str) -> str:
    return f"/models/digits/{version}/v2/models/digits/versions/{version}{rest}"


def edge_settings(*, control: str, **changes: Any) -> EdgeSettings:
    fields = {
        "port": free_ports(1)[0],
        "control": control,
        "secret": SECRET,
        "max_body_bytes": MAX_BODY,
        "connect_timeout_s": 0.2,
    }
    return EdgeSettings.parse(fields | changes, source="test")


def launch(run_dir: Path, *, control: str, **changes: Any) -> Edge:
    return Edge(edge_settings(control=control, **changes), run_dir)


def end(edges: list[Edge]) -> None:
    for edge in reversed(edges):
        edge.stop()
    # Only where a test failed between an agent's death and its heir.
    left = [edge.run_dir for edge in edges if end_haproxy(edge)]
    assert not left, f"HAProxy was left behind in {left}"


def end_haproxy(edge: Front) -> bool:
    """Kill the HAProxy that an agent reported last; False when it has ended already."""
    left = edge.status()
    if not left or not left.haproxy_pid or not left.haproxy_started_at:
        return False
    if not alive(left.haproxy_pid, left.haproxy_started_at):
        return False
    os.kill(left.haproxy_pid, signal.SIGKILL)
    return True


def first_table(backends: tuple[Backend, Backend, Backend]) -> EdgeTable:
    """Versions 1, 2 and 3 of digits: 90 % to 1, 10 % to 2, and prod is 2."""
    return make_table("r1", backends[0], traffic={1: 90, 2: 10}, aliases={"prod": 2})
