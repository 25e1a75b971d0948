"""The fast lane in a running edge: replicas answer, the proxies stand behind them, and dead ones cost no answer."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_rig import Backend, Echo, Edge, ask, eventually, make_table, served_path

from raymaas.cluster.ports import free_ports
from raymaas.serve.edge.runtime import RuntimeSocket

PINNED = "/v2/models/digits/versions/1/infer"

REPLICA = """
import http.server, sys
sys.path.insert(0, sys.argv[1])
from edge_rig import Backend
backend = Backend()
print(backend.address, flush=True)
backend.serve_forever()
"""


@contextmanager
def replica_process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A replica that can be killed, and its address."""
    here = os.path.dirname(os.path.abspath(__file__))
    with subprocess.Popen(
        [sys.executable, "-c", REPLICA, here], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def answering(edge: Edge, *, times: int = 12) -> Counter[int]:
    with edge.connection() as connection:
        answers = [ask(connection, PINNED, b"x") for _ in range(times)]
    assert {status for status, _, _ in answers} == {200}
    return Counter(body["server"] for _, body, _ in answers)


def test_replicas_answer_for_their_version_and_the_proxy_for_all_others(
    edge: Edge, backends: tuple[Backend, ...]
) -> None:
    proxy, replica = backends[0], backends[1]
    edge.follow(make_table("announced", proxy, replicas={1: [replica.address]}))

    assert answering(edge).keys() == {replica.server_address[1]}
    assert edge.ask("/v2/models/digits/versions/2/infer", b"x")[1]["server"] == proxy.server_address[1]
    assert edge.ask(PINNED, b"x")[1]["path"] == served_path(1, "/infer")
    edge.follow(make_table("left", proxy))
    assert answering(edge).keys() == {proxy.server_address[1]}
    eventually(lambda: replica.address not in known(edge), "the server of the replica that left is deleted")


def known(edge: Edge) -> set[str]:
    return {server.name for server in RuntimeSocket(edge.run_dir / "admin.sock").servers()}


def test_a_killed_replica_costs_no_answer_while_another_or_a_proxy_lives(
    edge: Edge, backends: tuple[Backend, ...]
) -> None:
    with replica_process() as (first, one), replica_process() as (second, two):
        edge.follow(make_table("two", backends[0], replicas={1: [one, two]}))
        both = {port_of(one), port_of(two)}
        eventually(lambda: answering(edge).keys() == both, "both replicas answer")
        first.send_signal(signal.SIGKILL)
        assert answering(edge, times=60).keys() <= both
        second.send_signal(signal.SIGKILL)
        assert sum(answering(edge, times=60).values()) == 60
        assert answering(edge).keys() == {backends[0].server_address[1]}


def test_a_replica_that_comes_back_at_its_port_is_asked_again(
    edge: Edge, backends: tuple[Backend, ...]
) -> None:
    port = free_ports(1)[0]
    edge.follow(make_table("early", backends[0], replicas={1: [f"127.0.0.1:{port}"]}))
    assert answering(edge).keys() == {backends[0].server_address[1]}

    with serving(port, Echo):
        eventually(lambda: answering(edge, times=4).keys() == {port}, "its checks found it")


class Leaving(Echo):
    """A replica on its way out: its health check fails, and it answers what still comes."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()


@contextmanager
def serving(port: int, handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_leaving_replica_is_left_alone_before_any_table_says_so(
    edge: Edge, backends: tuple[Backend, ...]
) -> None:
    port = free_ports(1)[0]
    with serving(port, Leaving):
        edge.follow(make_table("leaving", backends[0], replicas={1: [f"127.0.0.1:{port}"]}))
        proxy = backends[0].server_address[1]
        eventually(lambda: answering(edge, times=4).keys() == {proxy}, "its health check took it out")


def test_a_restarted_haproxy_knows_the_replicas(
    make_edge: Callable[..., Edge], backends: tuple[Backend, ...]
) -> None:
    edge = make_edge()
    edge.follow(make_table("announced", backends[0], replicas={1: [backends[1].address]}))
    pid = edge.now().haproxy_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: edge.now().haproxy_pid not in (None, pid), "the agent started another")
    assert answering(edge).keys() == {backends[1].server_address[1]}
