"""The edge against a real HAProxy: what a client sees, what a replica sees, and what survives which death."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from raymaas.errors import Refused, Unavailable
from raymaas.serve.edge.agent import EdgeAgent
from raymaas.serve.edge.config import EdgeSettings
from raymaas.serve.edge.runtime import RuntimeSocket
from raymaas.serve.edge.status import EdgeStatus, read_status
from raymaas.specs.serving import EdgeTable, EdgeTarget

SECRET = "canary_0123456789abcdef"
MAX_BODY = 100_000

AGENT = """
import signal, sys, threading
from pathlib import Path
from raymaas.serve.edge.agent import EdgeAgent
from raymaas.serve.edge.config import EdgeSettings
from raymaas.serve.edge.source import HttpTableSource
settings = EdgeSettings.model_validate_json(sys.argv[1])
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
source = HttpTableSource("http://" + settings.control, secret=settings.secret)
EdgeAgent(settings, Path(sys.argv[2]), source).run(stop)
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


@pytest.fixture(scope="module")
def backends() -> Iterator[tuple[Backend, Backend, Backend]]:
    """Two Serve proxies and a control plane."""
    servers = (Backend(), Backend(), Backend())
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    yield servers
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


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


class Edge:
    """An agent in a thread, and the client's view of its HAProxy."""

    def __init__(self, settings: EdgeSettings, run_dir: Path) -> None:
        self.settings = settings
        self.run_dir = run_dir
        self.tables = Tables()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=EdgeAgent(settings, run_dir, self.tables).run, args=(self._stop,)
        )
        self._thread.start()
        eventually(
            lambda: (s := self.status()) and s.agent_pid == os.getpid() and s.haproxy_pid, "HAProxy runs"
        )

    def status(self) -> EdgeStatus | None:
        return read_status(self.run_dir)

    def now(self) -> EdgeStatus:
        status = self.status()
        assert status is not None
        return status

    def follow(self, table: EdgeTable) -> None:
        self.tables.give(table)
        eventually(lambda: self.now().revision == table.revision, f"table {table.revision} is followed")

    def stop(self) -> None:
        self._stop.set()
        self.tables.close()
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()

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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
) -> EdgeTable:
    return EdgeTable(
        revision=revision,
        proxies=tuple(proxy.address for proxy in proxies),
        targets=tuple(
            EdgeTarget(model="digits", version=v, path_prefix=f"/models/digits/{v}") for v in versions
        ),
        traffic={"digits": traffic or {versions[0]: 100}},
        aliases={"digits": aliases or {}},
    )


def served_path(version: int, rest: str) -> str:
    return f"/models/digits/{version}/v2/models/digits/versions/{version}{rest}"


def launch(run_dir: Path, *, control: str, **changes: Any) -> Edge:
    fields = {
        "port": free_port(),
        "control": control,
        "secret": SECRET,
        "max_body_bytes": MAX_BODY,
        "connect_timeout_s": 0.2,
    }
    return Edge(EdgeSettings.parse(fields | changes, source="test"), run_dir)


def end(edges: list[Edge]) -> None:
    for edge in reversed(edges):
        edge.stop()
    for edge in edges:
        left = edge.now()
        # Only where a test failed between an agent's death and its heir.
        if left.haproxy_pid and left.haproxy_started_at and alive(left.haproxy_pid, left.haproxy_started_at):
            os.kill(left.haproxy_pid, signal.SIGKILL)
            raise AssertionError(f"HAProxy, pid {left.haproxy_pid}, was left behind")


@pytest.fixture
def make_edge(tmp_path: Path, backends: tuple[Backend, Backend, Backend]) -> Iterator[Callable[..., Edge]]:
    started: list[Edge] = []

    def make(**changes: Any) -> Edge:
        started.append(launch(tmp_path / "e", **{"control": backends[2].address} | changes))
        return started[-1]

    yield make
    end(started)


def first_table(backends: tuple[Backend, Backend, Backend]) -> EdgeTable:
    """Versions 1, 2 and 3 of digits: 90 % to 1, 10 % to 2, and prod is 2."""
    return make_table("r1", backends[0], traffic={1: 90, 2: 10}, aliases={"prod": 2})


@pytest.fixture
def edge(make_edge: Callable[..., Edge], backends: tuple[Backend, Backend, Backend]) -> Edge:
    """An edge of its own, following the first table."""
    edge = make_edge()
    edge.follow(first_table(backends))
    return edge


@pytest.fixture(scope="module")
def shared_edge(
    tmp_path_factory: pytest.TempPathFactory, backends: tuple[Backend, Backend, Backend]
) -> Iterator[Edge]:
    """An edge following the first table, for tests that only send requests."""
    edge = launch(tmp_path_factory.mktemp("e"), control=backends[2].address)
    edge.follow(first_table(backends))
    yield edge
    end([edge])


def test_traffic_follows_the_weights(shared_edge: Edge) -> None:
    with shared_edge.connection() as connection:
        paths = [ask(connection, "/v2/models/digits/infer", b"x")[1]["path"] for _ in range(1000)]
    seen = Counter(paths)
    assert seen.keys() == {served_path(1, "/infer"), served_path(2, "/infer")}
    # 100 expected, standard deviation 9.5: five of them.
    assert 52 < seen[served_path(2, "/infer")] < 148


def test_a_version_is_pinned_and_an_alias_followed(shared_edge: Edge) -> None:
    for ref, version in (("3", 3), ("prod", 2), ("1", 1)):
        status, seen, _ = shared_edge.ask(f"/v2/models/digits/versions/{ref}/infer?x=1", b"abc")
        assert (status, seen["path"], seen["body_bytes"]) == (200, served_path(version, "/infer?x=1"), 3)
    assert shared_edge.ask("/v2/models/digits/versions/prod")[1]["path"] == served_path(2, "")
    assert shared_edge.ask("/v2/models/digits")[1]["path"] in (served_path(1, ""), served_path(2, ""))


def test_what_no_live_version_answers_goes_to_the_control_plane(
    shared_edge: Edge, backends: tuple[Backend, ...]
) -> None:
    for path in (
        "/",
        "/v2",
        "/v2/health/ready",
        "/v2/repository/index",
        "/api/v1/models",
        "/v2/models",
        "/v2/models/digitz/infer",
        "/v2/models/digits/versions/9/infer",
        "/v2/models/digits/versions/staging",
        "/v2/models/digits/versions",
        "/v2/models/digits%237/infer",
    ):
        status, seen, _ = shared_edge.ask(path, headers={"x-raymaas-who": "root"})
        assert (status, seen["server"], seen["path"]) == (200, backends[2].server_address[1], path)
        assert not [name for name in seen["headers"] if name.startswith("x-raymaas")]


def test_who_asks_reaches_the_control_api_and_nothing_else(shared_edge: Edge) -> None:
    def users(path: str) -> list[str]:
        headers = shared_edge.ask(path, headers={"X-RayMaaS-User": "ana", "x-raymaas-edge": "mine"})[1][
            "headers"
        ]
        assert headers.get("x-raymaas-edge") in (None, SECRET)
        return [value for name, value in headers.items() if name.lower() == "x-raymaas-user"]

    assert users("/api/v1/models") == ["ana"]
    assert users("/v2/models/digits") == users("/v2/repository/index") == []
    headers = shared_edge.ask("/api/v1/models")[1]["headers"]
    assert "x-raymaas-user" not in headers


def test_liveness_is_the_edges_own_and_a_control_plane_that_is_down_is_a_503_in_json(
    make_edge: Callable[..., Edge],
) -> None:
    edge = make_edge(control=f"127.0.0.1:{free_port()}")
    assert edge.ask("/v2/health/live")[:2] == (200, {"live": True})
    status, body, _ = edge.ask("/v2/health/ready")
    assert (status, list(body)) == (503, ["error"])
    status, body, headers = edge.ask("/api/v1/models")
    assert (status, body["type"], headers["content-type"]) == (503, "unavailable", "application/problem+json")


@pytest.mark.parametrize(
    "path", ["/internal/edge-table", "//internal/x", "/%69nternal/edge-table", "/INTERNAL"]
)
def test_the_control_planes_inside_is_not_reachable(shared_edge: Edge, path: str) -> None:
    assert shared_edge.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "path", ["/api/../internal/edge-table", "/v2/models/digits/%2e%2e/x", "/%zz", "/./internal"]
)
def test_a_path_that_means_something_else_is_refused(shared_edge: Edge, path: str) -> None:
    assert shared_edge.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).startswith(b"HTTP/1.1 400")


def test_a_replica_sees_the_edges_secret_and_no_header_a_client_made_up(shared_edge: Edge) -> None:
    made_up = {
        "X-RayMaaS-Edge": "mine",
        "x-raymaas-who": "root",
        "x_raymaas_edge": "mine",
        "X-Forwarded-For": "9.9.9.9",
        "Upgrade": "h2c",
        "Connection": "upgrade",
        "Authorization": "Bearer key",
    }
    headers = {
        k.lower(): v for k, v in shared_edge.ask("/v2/models/digits", headers=made_up)[1]["headers"].items()
    }
    assert headers["x-raymaas-edge"] == SECRET
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["authorization"] == "Bearer key"
    assert not {"x-raymaas-who", "x_raymaas_edge", "upgrade"} & headers.keys()


def test_a_request_id_is_kept_or_made_and_reaches_replica_client_and_log(shared_edge: Edge) -> None:
    _, seen, headers = shared_edge.ask("/v2/models/digits", headers={"x-request-id": "order-7.A_b"})
    assert seen["headers"]["x-request-id"] == headers["x-request-id"] == "order-7.A_b"
    made = []
    for given in ({}, {"x-request-id": "two words"}, {"x-request-id": "a" * 129}):
        _, seen, headers = shared_edge.ask("/v2/models/digits", headers=given)
        assert seen["headers"]["x-request-id"] == headers["x-request-id"] != given.get("x-request-id")
        made.append(headers["x-request-id"])
    assert len(set(made)) == 3
    _, _, headers = shared_edge.ask("/internal/x", headers={"x-request-id": "refused-1"})
    assert headers["x-request-id"] == "refused-1"

    def logged() -> dict[str, Any]:
        lines = (shared_edge.run_dir / "access.log").read_text().splitlines(keepends=True)
        return {line["id"]: line for line in map(json.loads, (t for t in lines if t.endswith("\n")))}

    eventually(lambda: {"order-7.A_b", "refused-1", *made} <= logged().keys(), "requests are logged by id")
    assert logged()["refused-1"]["status"] == 404
    assert logged()["order-7.A_b"]["route"].endswith(("/1", "/2"))


def test_a_body_up_to_the_limit_passes_and_beyond_it_is_413_before_it_is_sent(shared_edge: Edge) -> None:
    status, seen, _ = shared_edge.ask("/v2/models/digits/infer", b"x" * MAX_BODY)
    assert (status, seen["body_bytes"]) == (200, MAX_BODY)
    for path in ("/v2/models/digits/infer", "/api/v1/runs"):
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n"
        answer = shared_edge.raw(head.encode())
        assert answer.startswith(b"HTTP/1.1 413")
        assert f"larger than {MAX_BODY} bytes".encode() in answer


@pytest.mark.parametrize(
    "framing", ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked"]
)
def test_a_body_with_two_lengths_or_none_is_refused(shared_edge: Edge, framing: str) -> None:
    smuggled = "0\r\n\r\nGET /v2/models/digits HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = shared_edge.raw(
        f"POST /v2/models/digits/infer HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{smuggled}".encode()
    )
    assert answer.startswith(b"HTTP/1.1 411")
    assert b"send the body with Content-Length" in answer


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: " + "y" * 20_000 + "\r\n\r\n", 431),
    ],
)
def test_what_is_not_a_plain_request_is_refused_in_json(
    shared_edge: Edge, request_text: str, status: int
) -> None:
    head, _, body = shared_edge.raw(request_text.encode()).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert list(json.loads(body)) == ["error"]


@pytest.mark.parametrize(
    "request_text",
    [
        "POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "GET http://elsewhere/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_1_1_is_refused(shared_edge: Edge, request_text: str) -> None:
    assert shared_edge.raw(request_text.encode()).startswith(b"HTTP/1.1 400")


def test_headers_larger_than_any_buffer_are_not_taken(shared_edge: Edge) -> None:
    # The answer to a client that is still sending may be lost in the reset.
    answer = shared_edge.raw(b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 200_000 + b"\r\n\r\n")
    assert answer[:12] in (b"HTTP/1.1 400", b"")


def test_a_client_that_never_finishes_its_headers_is_dismissed(make_edge: Callable[..., Edge]) -> None:
    edge = make_edge(header_timeout_s=0.3)
    with socket.create_connection(("127.0.0.1", edge.settings.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


def test_a_table_is_seen_whole_or_not_at_all(edge: Edge, backends: tuple[Backend, ...]) -> None:
    """The versions are exchanged entirely, over and over: in between there is no moment without a route."""
    done = threading.Event()

    def keep_asking() -> Counter[tuple[int, str]]:
        answers: Counter[tuple[int, str]] = Counter()
        with edge.connection() as connection:
            while not done.is_set():
                status, seen, _ = ask(connection, "/v2/models/digits/infer", b"x")
                answers[status, seen["path"]] += 1
        return answers

    edge.follow(make_table("a", backends[0], versions=(1,)))
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(keep_asking) for _ in range(3)]
        for turn in range(20):
            edge.follow(make_table(f"b{turn}", backends[0], versions=(2,)))
            edge.follow(make_table(f"a{turn}", backends[0], versions=(1,)))
        done.set()
        answers = sum((each.result() for each in asking), Counter())
    assert answers.keys() == {(200, served_path(1, "/infer")), (200, served_path(2, "/infer"))}


def test_the_running_map_and_the_map_on_disk_are_the_same(shared_edge: Edge) -> None:
    on_disk = dict(line.split() for line in (shared_edge.run_dir / "routes.map").read_text().splitlines())
    assert RuntimeSocket(shared_edge.run_dir / "admin.sock").map() == on_disk
    assert len(on_disk) == 104


def test_a_refused_map_leaves_the_old_one(edge: Edge) -> None:
    runtime = RuntimeSocket(edge.run_dir / "admin.sock")
    before = runtime.map()
    with pytest.raises(Unavailable):
        runtime.commit_map({"digits/1": "slot00/1", "digits/2": "x" * 100_000})
    assert runtime.map() == before
    runtime.commit_map(before)


def test_proxies_come_and_go_without_a_failed_request(edge: Edge, backends: tuple[Backend, ...]) -> None:
    def answering() -> set[int]:
        return {edge.ask("/v2/models/digits/versions/3")[1]["server"] for _ in range(6)}

    def known() -> set[str]:
        servers = RuntimeSocket(edge.run_dir / "admin.sock").servers()
        return {server.name for server in servers if server.backend.startswith("slot")}

    first, second = backends[0], backends[1]
    assert answering() == {first.server_address[1]}
    edge.follow(make_table("both", first, second))
    assert answering() == {first.server_address[1], second.server_address[1]}
    edge.follow(make_table("second", second))
    assert answering() == {second.server_address[1]}
    eventually(lambda: known() == {second.address}, "the first proxy is deleted")
    edge.follow(make_table("none"))
    assert answering() == {second.server_address[1]}


def test_a_dead_proxy_beside_a_live_one_costs_no_answer(edge: Edge, backends: tuple[Backend, ...]) -> None:
    table = make_table("half", backends[0])
    edge.follow(table.model_copy(update={"proxies": (f"127.0.0.1:{free_port()}", *table.proxies)}))
    assert {edge.ask("/v2/models/digits/infer", b"x")[0] for _ in range(20)} == {200}


def test_more_versions_than_slots_reload_without_a_failed_request(
    make_edge: Callable[..., Edge], backends: tuple[Backend, ...]
) -> None:
    edge = make_edge(slots=2, max_slots=5)
    edge.follow(make_table("two", backends[0], versions=(1, 2)))
    before = edge.now()
    done = threading.Event()

    def keep_asking() -> Counter[int]:
        statuses: Counter[int] = Counter()
        while not done.is_set():
            with edge.connection() as connection:
                statuses.update(ask(connection, "/v2/models/digits/versions/1")[0] for _ in range(5))
        return statuses

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(keep_asking) for _ in range(2)]
        edge.follow(make_table("three", backends[0], versions=(1, 2, 3)))
        eventually(
            lambda: edge.ask("/v2/models/digits/versions/3")[1]["path"] == served_path(3, ""), "3 answers"
        )
        done.set()
        assert sum((each.result() for each in asking), Counter()).keys() == {200}
    after = edge.now()
    assert (before.slots, after.slots) == (2, 4)
    assert after.haproxy_pid != before.haproxy_pid
    assert after.restarts == 0

    edge.tables.give(make_table("six", backends[0], versions=(1, 2, 3, 4, 5, 6)))
    refusal = eventually(lambda: edge.now().problem, "the agent says why it does not follow")
    assert "6 versions are deployed and an edge serves 5" in refusal
    assert edge.now().revision == "three"
    edge.follow(make_table("five", backends[0], versions=(1, 2, 3, 4, 5)))
    assert edge.now().problem is None
    assert edge.ask("/v2/models/digits/versions/5")[1]["path"] == served_path(5, "")


def test_a_haproxy_that_is_killed_comes_back_with_its_routes(edge: Edge) -> None:
    before = edge.now()
    assert before.haproxy_pid is not None
    os.kill(before.haproxy_pid, signal.SIGKILL)
    after = eventually(
        lambda: (s := edge.now()).restarts == 1 and s.haproxy_pid and s, "HAProxy is started again"
    )
    assert after.haproxy_pid != before.haproxy_pid
    assert edge.ask("/v2/models/digits/versions/prod/infer", b"x")[1]["path"] == served_path(2, "/infer")
    assert after.revision == "r1"


@contextmanager
def agent_process(settings: EdgeSettings, run_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    fields = settings.model_dump(mode="json") | {"secret": settings.secret.get_secret_value()}
    process = subprocess.Popen([sys.executable, "-c", AGENT, json.dumps(fields), str(run_dir)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def running(run_dir: Path, *, agent_pid: int) -> EdgeStatus:
    def current() -> EdgeStatus | None:
        status = read_status(run_dir)
        return status if status and status.agent_pid == agent_pid and status.haproxy_pid else None

    found = eventually(current, "the agent reports a HAProxy")
    assert isinstance(found, EdgeStatus)
    return found


def test_after_a_restart_without_the_controller_the_routes_are_those_of_the_disk(
    edge: Edge, backends: tuple[Backend, ...]
) -> None:
    edge.stop()
    settings = edge.settings.model_copy(update={"control": f"127.0.0.1:{free_port()}"})
    with agent_process(settings, edge.run_dir) as process:
        status = running(edge.run_dir, agent_pid=process.pid)
        assert status.revision == "r1"
        assert edge.ask("/v2/models/digits/versions/prod")[1]["path"] == served_path(2, "")
        eventually(lambda: "does not answer" in (edge.now().controller_problem or ""), "the status names it")
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert status.haproxy_pid is not None
        assert status.haproxy_started_at is not None
        assert not alive(status.haproxy_pid, status.haproxy_started_at)


def test_an_agent_that_was_killed_leaves_haproxy_serving_and_the_next_one_adopts_it(
    edge: Edge, make_edge: Callable[..., Edge], backends: tuple[Backend, ...]
) -> None:
    edge.stop()
    with agent_process(edge.settings, edge.run_dir) as process:
        before = running(edge.run_dir, agent_pid=process.pid)
        process.kill()
        process.wait()
    assert edge.ask("/v2/models/digits/versions/3")[1]["path"] == served_path(3, "")
    heir = make_edge(port=edge.settings.port)
    assert (heir.now().haproxy_pid, heir.now().restarts) == (before.haproxy_pid, 0)
    heir.follow(make_table("later", backends[0], aliases={"prod": 3}))
    assert heir.now().haproxy_pid == before.haproxy_pid
    assert heir.ask("/v2/models/digits/versions/prod")[1]["path"] == served_path(3, "")


def test_an_adopted_haproxy_with_other_settings_is_replaced(
    edge: Edge, make_edge: Callable[..., Edge]
) -> None:
    edge.stop()
    with agent_process(edge.settings, edge.run_dir) as process:
        before = running(edge.run_dir, agent_pid=process.pid)
        process.kill()
        process.wait()
    heir = make_edge(port=edge.settings.port, max_body_bytes=10)
    assert heir.now().haproxy_pid != before.haproxy_pid
    assert heir.ask("/v2/models/digits/infer", b"x" * 11)[0] == 413
    assert before.haproxy_pid is not None
    assert before.haproxy_started_at is not None
    pid, started_at = before.haproxy_pid, before.haproxy_started_at
    eventually(lambda: not alive(pid, started_at), "the old HAProxy ends")


def test_the_socket_the_secret_and_the_folder_are_private(shared_edge: Edge) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared_edge.run_dir.iterdir()}
    assert set(modes.values()) == {0o600}
    assert {"admin.sock", "haproxy.cfg", "routes.map", "table.json", "process.json"} <= modes.keys()
    assert stat.S_IMODE(shared_edge.run_dir.stat().st_mode) == 0o700
    pid = shared_edge.now().haproxy_pid
    assert SECRET not in " ".join(psutil.Process(pid).cmdline())
    assert SECRET not in (shared_edge.run_dir / "status.json").read_text()


def already_stopped() -> threading.Event:
    """An agent that should have refused to run ends at once."""
    stop = threading.Event()
    stop.set()
    return stop


def test_a_port_in_use_is_refused_by_number_and_setting(edge: Edge, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=rf"port {edge.settings.port} .* --port or RAYMAAS_PORT"):
        EdgeAgent(edge.settings, tmp_path / "second", Tables()).run(already_stopped())


def test_a_run_directory_in_use_is_refused(edge: Edge) -> None:
    with pytest.raises(Refused, match="another edge agent"):
        EdgeAgent(edge.settings, edge.run_dir, Tables()).run(already_stopped())
