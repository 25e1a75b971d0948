"""The kill table of ARCHITECTURE.md: `kill -9` of any one process, what it costs, and that it comes back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import numpy as np
import psutil
import pytest
from journey_home import Home, everything_of, wait_until

from raymaas.client import Client
from raymaas.errors import RaymaasError

pytestmark = [pytest.mark.journey]


def edge_status_pid(home: Home) -> int:
    """HAProxy's pid: the child that listens on the edge's port."""
    port = home.plan().port
    for identity in everything_of(home.plan(), home.table()):
        process = psutil.Process(identity.pid)
        if process.name() == "haproxy" and any(
            c.laddr.port == port for c in process.net_connections(kind="inet")
        ):
            return identity.pid
    return 0


def replica_pid(home: Home) -> int:
    for identity in everything_of(home.plan(), home.table()):
        process = psutil.Process(identity.pid)
        if (
            "ServeReplica:digits@1" in " ".join(process.cmdline())
            and process.status() != psutil.STATUS_ZOMBIE
        ):
            return identity.pid
    return 0


def service_pid(name: str) -> Callable[[Home], int]:
    return lambda home: home.table().processes[name].pid


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
    ],
)
def test_a_killed_process_comes_back_and_costs_what_the_table_says(
    home: Home, digits: str, rows: np.ndarray, victim: str, loses_requests: bool, back_within_s: float
) -> None:
    find = {"haproxy": edge_status_pid, "replica": replica_pid}.get(victim) or service_pid(victim)
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


def ready(client: Client) -> bool:
    try:
        return [d.status for d in client.deployments("digits")] == ["ready"]
    except RaymaasError:
        return False
