"""The edge against a real HAProxy: tables that change, and what survives which death."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from edge_rig import (
    SECRET,
    Backend,
    Edge,
    Tables,
    alive,
    ask,
    edge_process,
    eventually,
    make_table,
    served_path,
)

from raymaas.cluster.ports import free_ports
from raymaas.errors import Refused, Unavailable
from raymaas.serve.edge.agent import EdgeAgent
from raymaas.serve.edge.runtime import RuntimeSocket


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
    edge.follow(table.model_copy(update={"proxies": (f"127.0.0.1:{free_ports(1)[0]}", *table.proxies)}))
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


def test_after_a_restart_without_the_controller_the_routes_are_those_of_the_disk(
    edge: Edge, backends: tuple[Backend, ...]
) -> None:
    edge.stop()
    settings = edge.settings.model_copy(update={"control": f"127.0.0.1:{free_ports(1)[0]}"})
    with edge_process(settings, edge.run_dir) as (process, front):
        status = front.wait_for_agent(process.pid)
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
    with edge_process(edge.settings, edge.run_dir) as (process, front):
        before = front.wait_for_agent(process.pid)
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
    with edge_process(edge.settings, edge.run_dir) as (process, front):
        before = front.wait_for_agent(process.pid)
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
