"""The kill table of ARCHITECTURE.md: `kill -9` of any one process, what it costs, and that it comes back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import numpy as np
import psutil
import pytest
from journey_home import Home, commands, everything_of, wait_until

from raymaas.client import Client
from raymaas.errors import RaymaasError
from raymaas.specs.serving import EdgeTable, Scaling

pytestmark = [pytest.mark.journey]


def haproxy_pid(home: Home) -> int:
    """The one that listens; during a reload its predecessor may still be there."""
    pids = [pid for pid, command in running(home).items() if "haproxy" in command.split(" ")[0]]
    return next((pid for pid in pids if listens(pid, home.plan().port)), 0)


def listens(pid: int, port: int) -> bool:
    try:
        return any(c.laddr.port == port for c in psutil.Process(pid).net_connections(kind="inet"))
    except psutil.NoSuchProcess:
        return False


def running(home: Home) -> dict[int, str]:
    return commands(everything_of(home.plan(), home.table()))


def titled(title: str) -> Callable[[Home], int]:
    """Finds the live actor process whose title, which Ray sets, begins with `title`."""
    return lambda home: next((pid for pid, command in running(home).items() if command.startswith(title)), 0)


def service_pid(name: str) -> Callable[[Home], int]:
    return lambda home: home.table().processes[name].pid


FINDERS = {
    "haproxy": haproxy_pid,
    "replica": titled("ray::ServeReplica:digits@1"),
    "serve-controller": titled("ray::ServeController"),
    "serve-proxy": titled("ray::ProxyActor"),
}


class Asking:
    """One caller that asks again and again, and counts what it gets."""

    def __init__(self, client: Client, row: np.ndarray) -> None:
        self._client, self._row = client, row
        self._stop = threading.Event()
        self.answered, self.failed = 0, 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Asking:
        self._thread.start()
        wait_until(lambda: self.answered > 0, timeout_s=10, what="an answer before the kill")
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            try:
                self._client.model("digits").predict(self._row)
                self.answered += 1
            except RaymaasError:
                self.failed += 1


def answers(client: Client, row: np.ndarray) -> bool:
    try:
        client.model("digits").predict(row)
    except RaymaasError:
        return False
    return True


@pytest.mark.parametrize(
    ("victim", "loses_requests", "back_within_s"),
    [
        ("controller", False, 30),
        ("edge-agent", False, 15),
        ("haproxy", True, 10),
        ("replica", True, 40),
        ("head", True, 90),
        ("serve-controller", False, 40),
        ("serve-proxy", False, 40),
    ],
)
def test_a_killed_process_comes_back_and_costs_what_the_table_says(
    home: Home, digits: str, rows: np.ndarray, victim: str, loses_requests: bool, back_within_s: float
) -> None:
    find = FINDERS.get(victim) or service_pid(victim)
    pid = find(home)
    assert pid
    with home.client() as client:
        wait_until(lambda: answers(client, rows[:1]), timeout_s=30, what="answering before the kill")
        with Asking(client, rows[:1]) as caller:
            os.kill(pid, signal.SIGKILL)
            wait_until(
                lambda: find(home) not in (0, pid) and home.status()["ready"],
                timeout_s=back_within_s,
                what=f"{victim} is back",
            )
            wait_until(
                lambda: answers(client, rows[:1]), timeout_s=back_within_s, what="the model answers again"
            )
            settled = caller.answered
            wait_until(
                lambda: caller.answered > settled + 10, timeout_s=30, what="the caller gets answers again"
            )
        if not loses_requests:
            assert caller.failed == 0
        # The control plane is whole as well: it knows the model and how its version stands.
        wait_until(lambda: ready(client), timeout_s=60, what="the control plane reports the version ready")


def replicas(home: Home) -> list[int]:
    """Those whose servers the edge knows, too."""
    found = [pid for pid, title in running(home).items() if title.startswith("ray::ServeReplica:digits@1")]
    table = EdgeTable.unseal((home.run_dir / "edge" / "table.json").read_bytes(), source="table.json")
    (target,) = (one for one in table.targets if one.version == 1)
    listening = {address.rpartition(":")[2] for address in target.replicas}
    return [pid for pid in found if any(listens(pid, int(port)) for port in listening)]


def kill_one_of_two(home: Home, client: Client, row: np.ndarray) -> None:
    wait_until(lambda: len(replicas(home)) == 2, timeout_s=90, what="two replicas are registered")
    with Asking(client, row) as caller:
        victim = replicas(home)[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in running(home), timeout_s=10, what="it is dead")
        settled = caller.answered
        wait_until(lambda: caller.answered > settled + 50, timeout_s=30, what="the other answers")
    assert caller.failed == 0


def test_a_killed_replica_costs_nothing_while_another_lives(
    home: Home, digits: str, rows: np.ndarray
) -> None:
    with home.client() as client:
        client.deploy("digits@1", scaling=Scaling(min_replicas=2, max_replicas=2), timeout_s=120)
        try:
            for _ in range(2):
                kill_one_of_two(home, client, rows[:1])
        finally:
            client.deploy("digits@1", scaling=Scaling(), timeout_s=120)


def ready(client: Client) -> bool:
    try:
        return [d.status for d in client.deployments("digits")] == ["ready"]
    except RaymaasError:
        return False


def drivers(home: Home, run_id: str) -> list[int]:
    return [pid for pid, command in running(home).items() if command.endswith(f"run --run {run_id}")]


def training_workers(home: Home) -> set[int]:
    return {pid for pid, command in running(home).items() if "RayTrainWorker" in command}


@pytest.mark.soak  # test_resume.py kills one for every change
def test_a_killed_job_driver_is_replaced_once_and_its_training_goes_on(home: Home, digits: str) -> None:
    """Its log and epochs stay, its workers end. What becomes of the weights is for `test_resume`."""
    long_job = [
        "jobs/train_digits.yaml",
        "--set",
        "training.epochs=100000",
        "--set",
        "training.early_stopping=null",
    ]
    started = home.cli("train", *long_job, "--no-wait", RAYMAAS_URL=home.plan().url)
    run_id = next(word for word in started.stdout.split() if word.startswith("train-digits-")).strip(".,;:`")
    with home.client() as client:
        handle = client.run(run_id)
        wait_until(
            lambda: "epoch" in "".join(handle.logs()), timeout_s=120, what="an epoch in the long run's log"
        )
        # One process, no shell around it: Ray watches what it started, and a child of that would train on.
        (driver,) = drivers(home, run_id)
        workers = training_workers(home)

        os.kill(driver, signal.SIGKILL)

        wait_until(
            lambda: drivers(home, run_id) not in ([], [driver]), timeout_s=60, what="there is a second driver"
        )
        wait_until(
            lambda: not workers & training_workers(home),
            timeout_s=60,
            what="the first one's workers have ended",
        )
        reached = len(handle.metrics())
        wait_until(lambda: len(handle.metrics()) > reached, timeout_s=120, what="more epochs")
        assert "".join(handle.logs()).count("run train-digits-") == 2, "one log for both drivers"
        handle.stop()
        wait_until(lambda: not training_workers(home), timeout_s=60, what="all workers have ended")
        assert handle.status().status.state == "stopped"
        wait_until(
            lambda: "report/report.md" in {file.name for file in handle.files()},
            timeout_s=30,
            what="a report of how far it got",
        )
        wait_until(lambda: answers(client, np.zeros((1, 64))), timeout_s=10, what="serving goes on")
