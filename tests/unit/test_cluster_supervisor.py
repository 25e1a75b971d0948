"""The supervisor starts services in order, starts the dead again, and ends them all. Services here are sleeps."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raymaas.cluster import supervisor as module
from raymaas.cluster.plan import (
    CLUSTER_MARKER,
    ClusterPlan,
    head_command,
    service_commands,
    service_environment,
)
from raymaas.cluster.processes import is_alive, members
from raymaas.cluster.supervisor import Supervisor, read_table, restart_delay_s

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]


def make_plan(run_dir: Path, *, mode: str = "own") -> ClusterPlan:
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    return ClusterPlan.parse(
        {
            "cluster_id": f"test-{os.getpid()}-{run_dir.name}",
            "mode": mode,
            "run_dir": str(run_dir),
            "storage": "file:///nowhere",
            "host": "127.0.0.1",
            "port": 1,
            "ray_address": "127.0.0.1:2",
            "dashboard_url": "http://127.0.0.1:3",
            "control_port": 4,
            "serve_port": 5,
            "token_file": str(run_dir / "token"),
            "edge_secret_file": str(run_dir / "secret"),
        },
        source="test",
    )


class Running:
    """A supervisor of three sleeps in a thread."""

    def __init__(self, plan: ClusterPlan) -> None:
        self.plan = plan
        self.ready = dict.fromkeys(("head", "controller", "edge-agent"), True)
        self.stop = threading.Event()
        checks: dict[str, Callable[[], bool]] = {
            name: (lambda name=name: self.ready[name]) for name in self.ready
        }
        environment = service_environment(plan, inherited=dict(os.environ))
        self.supervisor = Supervisor(plan, environment=environment, ready=checks)
        self.thread = threading.Thread(target=self.supervisor.run, args=(self.stop,))

    def start(self) -> None:
        self.thread.start()

    def wait(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline, read_table(Path(self.plan.run_dir))
            time.sleep(0.02)

    def pid(self, name: str) -> int:
        table = read_table(Path(self.plan.run_dir))
        return table.processes[name].pid if table and name in table.processes else 0

    def is_ready(self) -> bool:
        table = read_table(Path(self.plan.run_dir))
        return bool(table and table.ready)

    def end(self) -> None:
        self.stop.set()
        self.thread.join()


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(module, "service_commands", lambda plan: dict.fromkeys(service_commands(plan), SLEEP))
    each = Running(make_plan(tmp_path / "run"))
    yield each
    if each.thread.is_alive():
        each.end()


def test_a_service_waits_until_the_one_before_is_ready(running: Running) -> None:
    running.ready["head"] = False
    running.start()
    running.wait(lambda: running.pid("head") > 0)
    assert running.pid("controller") == 0

    running.ready["head"] = True

    running.wait(running.is_ready)
    assert running.pid("controller") > 0
    assert running.pid("edge-agent") > 0


def test_an_edge_that_has_run_comes_back_while_an_earlier_service_is_not_ready(running: Running) -> None:
    running.start()
    running.wait(running.is_ready)
    before = {name: running.pid(name) for name in running.ready}
    running.ready["controller"] = False
    os.kill(before["controller"], 9)
    running.wait(lambda: running.pid("controller") != before["controller"])

    os.kill(before["edge-agent"], 9)

    running.wait(lambda: running.pid("edge-agent") != before["edge-agent"])
    assert not running.is_ready()


def test_a_killed_service_comes_back_and_the_others_stay(running: Running) -> None:
    running.start()
    running.wait(running.is_ready)
    before = {name: running.pid(name) for name in running.ready}

    os.kill(before["controller"], 9)

    running.wait(lambda: running.pid("controller") not in (0, before["controller"]))
    assert running.pid("head") == before["head"]
    assert running.pid("edge-agent") == before["edge-agent"]


def test_a_new_head_gets_a_new_controller_but_the_edge_stays(running: Running) -> None:
    running.start()
    running.wait(running.is_ready)
    before = {name: running.pid(name) for name in running.ready}

    os.kill(before["head"], 9)

    running.wait(lambda: all(running.pid(n) not in (0, before[n]) for n in ("head", "controller")))
    assert running.pid("edge-agent") == before["edge-agent"]


def test_stopping_ends_every_service_with_its_session(running: Running) -> None:
    running.start()
    running.wait(running.is_ready)
    table = read_table(Path(running.plan.run_dir))
    assert table is not None

    running.end()

    services = [identity for name, identity in table.processes.items() if name != "supervisor"]
    assert len(services) == 3
    assert not any(is_alive(each) for each in services)
    assert members(services, marker=(CLUSTER_MARKER, running.plan.cluster_id)) == []


def test_a_new_supervisor_adopts_what_runs(running: Running) -> None:
    running.start()
    running.wait(running.is_ready)
    before = {name: running.pid(name) for name in running.ready}
    # As after kill -9 of the first: its services go on and its table stays.
    second = Running(running.plan)
    running.supervisor._end_all = lambda: None  # type: ignore[method-assign]
    running.end()

    second.start()

    second.wait(second.is_ready)
    assert {name: second.pid(name) for name in second.ready} == before
    second.end()
    for child in running.supervisor._children.values():
        child.wait()
    assert members([], marker=(CLUSTER_MARKER, running.plan.cluster_id)) == []


def test_restarts_are_immediate_once_and_then_slower_up_to_a_bound() -> None:
    delays = [restart_delay_s(n) for n in range(12)]

    assert delays[:3] == [0.0, 0.0, 0.5]
    assert delays == sorted(delays)
    assert delays[-1] == 10.0


def test_a_head_listens_on_loopback_only_and_every_service_has_the_token(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)

    environment = service_environment(plan, inherited={"PATH": "/bin"})

    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert "--dashboard-host=127.0.0.1" in head_command(plan)
    assert "--node-ip-address=127.0.0.1" in head_command(plan)


def test_joining_a_head_starts_none(tmp_path: Path) -> None:
    assert list(service_commands(make_plan(tmp_path, mode="joined"))) == ["controller", "edge-agent"]
