"""Process identity: a pid means nothing without its start time, and a service is its whole session."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

import psutil

from raymaas.specs.base import Spec

# Start times are read from the kernel in clock ticks; two readings of one process differ by rounding only.
_SAME_START_S = 0.02


class ProcessId(Spec):
    """One process, recognisable after its pid was given to somebody else."""

    pid: int
    started: float


def identify(pid: int) -> ProcessId | None:
    """The identity of the live process `pid`, or None when there is none (a zombie is none)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessId(pid=pid, started=process.create_time())
    except psutil.NoSuchProcess:
        return None


def is_alive(identity: ProcessId) -> bool:
    now = identify(identity.pid)
    return now is not None and abs(now.started - identity.started) < _SAME_START_S


def members(leaders: Iterable[ProcessId], *, marker: tuple[str, str] | None = None) -> list[ProcessId]:
    """Every live process in a session led by one of `leaders`, or whose environment holds `marker`.

    Sessions catch Ray's workers, which rewrite their titles over their environment; the marker catches what opened
    a session of its own, such as a job's driver. This process is never among them.
    """
    by_pid = {leader.pid: leader for leader in leaders}
    found = []
    for pid in psutil.pids():
        identity = identify(pid)
        if identity is None or pid == os.getpid():
            continue
        if _in_session_of(pid, by_pid) or (marker and _carries(pid, marker)):
            found.append(identity)
    return found


def _in_session_of(pid: int, leaders: dict[int, ProcessId]) -> bool:
    try:
        leader = leaders.get(os.getsid(pid))
    except ProcessLookupError:
        return False
    if leader is None:
        return False
    # While any member lives, the kernel does not reuse a session's number; a live leader must still be the same one.
    return identify(leader.pid) is None or is_alive(leader)


def _carries(pid: int, marker: tuple[str, str]) -> bool:
    try:
        return psutil.Process(pid).environ().get(marker[0]) == marker[1]
    except (psutil.Error, OSError):
        return False


def end(processes: Iterable[ProcessId], *, grace_s: float) -> None:
    """Terminate, wait up to `grace_s` seconds, then kill; on return none of `processes` lives."""
    remaining = list(processes)
    for signal_number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        for identity in remaining:
            send_signal(identity, signal_number)
        remaining = wait_gone(remaining, timeout_s=wait_s)
        if not remaining:
            return


def send_signal(identity: ProcessId, number: int) -> None:
    if is_alive(identity):
        try:
            os.kill(identity.pid, number)
        except ProcessLookupError:
            return


def wait_gone(processes: Iterable[ProcessId], *, timeout_s: float) -> list[ProcessId]:
    """Wait until none of `processes` lives; returns those that still do after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    alive = [p for p in processes if is_alive(p)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [p for p in alive if is_alive(p)]
    return alive
