"""The supervisor: starts the services in order, starts again the one that died, and ends them all when told.

It owns `processes.json`, from which `down` can end everything without it, and from which a new supervisor adopts
what the last one left running.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from raymaas.cluster.plan import (
    PROCESSES_FILE,
    SUPERVISOR,
    ClusterPlan,
    ProcessTable,
    service_commands,
)
from raymaas.cluster.processes import ProcessId, end, identify, is_alive, members, send_signal, wait_gone
from raymaas.errors import RaymaasError

log = logging.getLogger("raymaas.supervisor")

_POLL_S = 0.2
_STABLE_S = 30.0
# The controller is a Ray driver: it cannot outlive the head it was connected to.
_DEPENDENTS = {"head": ("controller",)}
# It follows what it knows from before, so once it has run it comes back whatever the others do.
_ALONE = ("edge-agent",)
# A head that runs Serve did not end by itself within 15 s; nothing of it is kept, so it is killed sooner.
_GRACE_S = {"edge-agent": 8.0, "controller": 8.0, "head": 4.0}


def restart_delay_s(failures: int) -> float:
    """Seconds to wait before the next start after `failures` quick deaths in a row: at once, then doubling to 10."""
    return 0.0 if failures <= 1 else min(10.0, 0.5 * 2.0 ** (failures - 2))


def read_table(run_dir: Path) -> ProcessTable | None:
    """The process table in `run_dir`; None when there is none or it was torn by a full disk."""
    try:
        return ProcessTable.unseal((run_dir / PROCESSES_FILE).read_bytes(), source=PROCESSES_FILE)
    except (FileNotFoundError, RaymaasError):
        return None


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole or not at all, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


class Supervisor:
    """Runs the services of `plan`. `ready[name]()` says whether a started service can be used by the next one."""

    def __init__(
        self,
        plan: ClusterPlan,
        *,
        environment: Mapping[str, str],
        ready: Mapping[str, Callable[[], bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._environment = dict(environment)
        self._ready = ready
        self._clock = clock
        self._commands = service_commands(plan)
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._failures: dict[str, int] = {}
        self._started_at: dict[str, float] = {}
        self._next_start: dict[str, float] = {}
        own = identify(os.getpid())
        assert own is not None
        found = read_table(Path(plan.run_dir)) or ProcessTable()
        adopted = {n: p for n, p in found.processes.items() if n in self._commands}
        self._table = ProcessTable(processes=adopted | {SUPERVISOR: own}, restarts=found.restarts)

    def run(self, stop: threading.Event) -> None:
        """Keep every service running until `stop` is set, then end them in reverse order."""
        while not stop.is_set():
            self._tend()
            stop.wait(_POLL_S)
        self._end_all()

    def _tend(self) -> None:
        all_ready = True
        for name in _ALONE:
            if name in self._table.processes and not self._is_running(name):
                self._start_when_due(name)
        for name in self._commands:
            if not self._is_running(name):
                all_ready = False
                if not self._start_when_due(name):
                    break
            elif self._clock() - self._started_at.get(name, 0.0) > _STABLE_S:
                self._failures[name] = 0
            # Later services need earlier ones: a controller started before its head would only fail and wait.
            if not self._table.ready and not self._ready[name]():
                all_ready = False
                break
        if all_ready != self._table.ready:
            self._save(ready=all_ready)

    def _is_running(self, name: str) -> bool:
        child = self._children.get(name)
        if child is not None:
            return child.poll() is None
        identity = self._table.processes.get(name)
        return identity is not None and is_alive(identity)

    def _start_when_due(self, name: str) -> bool:
        """Start `name` if its delay after the last death is over; True when it was started."""
        now = self._clock()
        if name in self._table.processes and name not in self._next_start:
            self._failures[name] = self._failures.get(name, 0) + 1
            self._next_start[name] = now + restart_delay_s(self._failures[name])
            log.warning("%s died; starting it again", name)
        if now < self._next_start.get(name, 0.0):
            return False
        for cleared in (name, *_DEPENDENTS.get(name, ())):
            self._clear_remains(cleared)
        restarts = self._table.restarts.get(name, 0) + (name in self._table.processes)
        child = self._spawn(name)
        self._children[name] = child
        self._started_at[name] = now
        self._next_start.pop(name, None)
        identity = identify(child.pid)
        if identity is not None:
            self._save(
                processes=self._table.processes | {name: identity},
                restarts=self._table.restarts | {name: restarts},
                ready=False,
            )
        return True

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        with (self._plan.path("logs") / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                self._commands[name],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self._plan.run_dir,
            )

    def _clear_remains(self, name: str) -> None:
        """End what a dead service left in its session: a head's surviving agent holds the ports its successor needs."""
        former = self._table.processes.get(name)
        if former is not None:
            end(members([former]), grace_s=0.0)

    def _end_all(self) -> None:
        self._save(ready=False)
        for name in reversed(self._commands):
            identity = self._table.processes.get(name)
            if identity is None:
                continue
            log.info("ending %s", name)
            send_signal(identity, 15)
            wait_gone([identity], timeout_s=_GRACE_S[name])
            end(members([identity]), grace_s=1.0)
            if name in self._children:
                self._children[name].wait()

    def _save(
        self,
        *,
        processes: dict[str, ProcessId] | None = None,
        restarts: dict[str, int] | None = None,
        ready: bool,
    ) -> None:
        self._table = ProcessTable(
            processes=self._table.processes if processes is None else processes,
            restarts=self._table.restarts if restarts is None else restarts,
            ready=ready,
        )
        write_private(self._plan.path(PROCESSES_FILE), self._table.seal())
