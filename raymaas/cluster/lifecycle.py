"""Up and down: decide a plan, hand it to a supervisor, wait until it is ready; and end all of it again."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raymaas.cluster.plan import (
    CLUSTER_MARKER,
    PLAN_FILE,
    SUPERVISOR,
    ClusterPlan,
    ProcessTable,
    service_commands,
    service_environment,
)
from raymaas.cluster.ports import free_ports, require_free
from raymaas.cluster.processes import end, is_alive, members, send_signal, wait_gone
from raymaas.cluster.supervisor import read_table, write_private
from raymaas.errors import RaymaasError, Refused, Unavailable
from raymaas.specs.base import Spec
from raymaas.specs.retention import Retention

Progress = Callable[[str], None]

LOCK_FILE = "lock"

# Ray puts unix sockets about 75 characters below its temporary directory; the kernel's limit is 107.
_LONGEST_RAY_TEMP_DIR = 30
_SAYS = {"head": "Ray head", "controller": "controller", "edge-agent": "edge"}


class UpOptions(Spec):
    """What a user may choose of a new cluster."""

    run_dir: str
    storage: str
    host: str = "127.0.0.1"
    port: int = 8080
    control_host: str = "127.0.0.1"
    control_port: int = 0
    dashboard_port: int = 8265
    cpus: int | None = None
    cache_dir: str = ""
    cache_bytes: int = 0
    retention: Retention = Retention()
    gc_every_hours: float = 0


@dataclass(frozen=True)
class Head:
    """A Ray head that was there before us."""

    ray_address: str
    dashboard_url: str
    token_file: str | None


def up(
    options: UpOptions,
    *,
    environment: Mapping[str, str],
    join: Head | None = None,
    progress: Progress,
    timeout_s: float = 120.0,
) -> ClusterPlan:
    """Start a cluster, or bring back what is missing of the one that runs here, and wait until it answers.

    Raises Refused when a port is taken or another cluster already runs from `run_dir`, Unavailable with the end of
    the log when a service does not come up; then nothing is left running.
    """
    run_dir = Path(options.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    _refuse_loose(run_dir)
    with _alone(run_dir):
        plan = read_plan(run_dir)
        if plan is not None and _services_live(run_dir):
            table = read_table(run_dir)
            if table and is_supervised(table):
                raise Refused(
                    f"a cluster already runs at {plan.url} (storage {plan.storage}); `raymaas down` stops it"
                )
            progress("the supervisor was gone; starting it again")
        else:
            # What is left of a cluster whose services all died has another secret, and perhaps another store.
            _end(run_dir, progress=lambda _: None)
            plan = _new_plan(options, join)
            write_private(run_dir / PLAN_FILE, plan.seal())
        _spawn_supervisor(plan, environment)
        try:
            _wait_ready(plan, progress=progress, timeout_s=timeout_s)
        except RaymaasError:
            _end(run_dir, progress=lambda _: None)
            raise
        return plan


def down(
    run_dir: Path, *, progress: Progress, withdraw: Callable[[ClusterPlan], None] = lambda plan: None
) -> ClusterPlan | None:
    """End everything `up` started and empty the run directory but for its logs; None when nothing was running.

    Works whatever was killed before: the supervisor is asked first, and what is left is found by session and marker.
    `withdraw(plan)` is called for a joined head once our processes are gone, to take our applications out of it.
    """
    if read_plan(run_dir) is None:
        return None
    with _alone(run_dir):
        return _end(run_dir, progress=progress, withdraw=withdraw)


def _end(
    run_dir: Path, *, progress: Progress, withdraw: Callable[[ClusterPlan], None] = lambda plan: None
) -> ClusterPlan | None:
    plan, table = read_plan(run_dir), read_table(run_dir)
    if plan is None:
        return None
    processes = (table or ProcessTable()).processes
    supervisor = processes.get(SUPERVISOR)
    if supervisor is not None and is_alive(supervisor):
        progress("stopping services")
        send_signal(supervisor, 15)
        wait_gone([supervisor], timeout_s=45)
    left = members(processes.values(), marker=(CLUSTER_MARKER, plan.cluster_id))
    if left:
        progress(f"ending {len(left)} remaining processes")
        end(left, grace_s=3.0)
        # A worker that was being forked while we looked.
        end(members(processes.values(), marker=(CLUSTER_MARKER, plan.cluster_id)), grace_s=0.0)
    if plan.mode == "joined":
        progress("taking our applications out of the Ray cluster")
        withdraw(plan)
    for entry in run_dir.iterdir():
        # The logs stay: they say what happened.
        if entry.is_dir() and entry.name != "logs":
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.is_file() and entry.name != LOCK_FILE:
            entry.unlink(missing_ok=True)
    if plan.ray_temp_dir:
        shutil.rmtree(plan.ray_temp_dir, ignore_errors=True)
    return plan


@contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Hold the run directory against another `up` or `down`; the kernel lets go of it when this process dies."""
    with (run_dir / LOCK_FILE).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another `raymaas up` or `down` is at work in {run_dir}; wait for it") from None
        yield


def read_plan(run_dir: Path) -> ClusterPlan | None:
    try:
        return ClusterPlan.unseal((run_dir / PLAN_FILE).read_bytes(), source=str(run_dir / PLAN_FILE))
    except FileNotFoundError:
        return None


def driver_environment(environment: Mapping[str, str], *, run_dir: Path) -> dict[str, str]:
    """The environment for a Ray driver started here: as it is inside a job, else that of the cluster in `run_dir`.

    Set it before Ray is imported, which reads some of it then. Raises Unavailable when there is no cluster.
    """
    if environment.get("RAY_ADDRESS"):
        return dict(environment)
    plan = read_plan(run_dir)
    if plan is None:
        raise Unavailable(
            "there is no Ray cluster to run on; start one with `raymaas up`, "
            "or submit this command to one with `ray job submit`"
        )
    return service_environment(plan, inherited=dict(environment)) | {"RAY_ADDRESS": plan.ray_address}


def is_supervised(table: ProcessTable) -> bool:
    supervisor = table.processes.get(SUPERVISOR)
    return supervisor is not None and is_alive(supervisor)


def _new_plan(options: UpOptions, join: Head | None) -> ClusterPlan:
    run_dir = Path(options.run_dir)
    port, dashboard_port = options.port, options.dashboard_port
    spare = free_ports(8)
    if port:
        require_free(options.host, port, what="the edge", setting="--port or RAYMAAS_PORT")
    if options.control_port:
        require_free(
            options.control_host,
            options.control_port,
            what="the controller",
            setting="--control-port or RAYMAAS_CONTROL_PORT",
        )
    if dashboard_port and join is None:
        require_free(
            "127.0.0.1",
            dashboard_port,
            what="Ray's dashboard",
            setting="--dashboard-port or RAYMAAS_DASHBOARD_PORT",
        )
    (run_dir / "logs").mkdir(exist_ok=True)
    write_private(run_dir / "edge-secret", secrets.token_urlsafe(32).encode())
    if join is None:
        write_private(run_dir / "token", secrets.token_hex(32).encode())
    return ClusterPlan(
        cluster_id=secrets.token_hex(8),
        mode="joined" if join else "own",
        run_dir=str(run_dir),
        storage=options.storage,
        host=options.host,
        port=port or spare[0],
        ray_address=join.ray_address if join else f"127.0.0.1:{spare[1]}",
        dashboard_url=join.dashboard_url if join else f"http://127.0.0.1:{dashboard_port or spare[2]}",
        control_host=options.control_host,
        control_port=options.control_port or spare[3],
        serve_port=spare[4],
        client_server_port=spare[5],
        agent_port=spare[6],
        metrics_port=spare[7],
        ray_temp_dir="" if join else _ray_temp_dir(run_dir),
        cpus=options.cpus,
        cache_dir=options.cache_dir,
        cache_bytes=options.cache_bytes,
        retention=options.retention,
        gc_every_hours=options.gc_every_hours,
        token_file=join.token_file if join else str(run_dir / "token"),
        edge_secret_file=str(run_dir / "edge-secret"),
    )


def _ray_temp_dir(run_dir: Path) -> str:
    inside = run_dir / "ray"
    if len(str(inside)) <= _LONGEST_RAY_TEMP_DIR:
        return str(inside)
    # Made new and private: a name somebody else could guess and make first would be theirs.
    return tempfile.mkdtemp(prefix="rm-")


def _spawn_supervisor(plan: ClusterPlan, environment: Mapping[str, str]) -> None:
    with plan.path("logs/supervisor.log").open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "raymaas.services", SUPERVISOR, plan.run_dir],
            env=service_environment(plan, inherited=dict(environment)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=plan.run_dir,
        )


def _wait_ready(plan: ClusterPlan, *, progress: Progress, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    waiting_for = ""
    while True:
        table = read_table(Path(plan.run_dir)) or ProcessTable()
        if table.ready and is_supervised(table):
            return
        started = [name for name in service_commands(plan) if name in table.processes]
        if started and started[-1] != waiting_for:
            waiting_for = started[-1]
            progress(f"starting the {_SAYS[waiting_for]}")
        restarted = [name for name, count in table.restarts.items() if count >= 3]
        if restarted or time.monotonic() > deadline:
            raise _not_up(plan, (restarted or [waiting_for or SUPERVISOR])[0])
        time.sleep(0.1)


def _not_up(plan: ClusterPlan, name: str) -> Unavailable:
    # The edge answers once the controller has given it a table, so the reason may be the controller's.
    asked = (name, "controller") if name == "edge-agent" else (name,)
    logs = [f"the log {plan.path(f'logs/{each}.log')} ends with:\n{_log_tail(plan, each)}" for each in asked]
    return Unavailable("\n".join((f"the {_SAYS.get(name, name)} did not come up", *logs)))


def _log_tail(plan: ClusterPlan, name: str, lines: int = 12) -> str:
    try:
        text = plan.path(f"logs/{name}.log").read_text(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])


def _services_live(run_dir: Path) -> bool:
    table = read_table(run_dir) or ProcessTable()
    return any(is_alive(p) for p in table.processes.values())


def _refuse_loose(run_dir: Path) -> None:
    """The directory holds secrets and a socket: others must not be able to look in."""
    status = run_dir.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise Refused(f"{run_dir} is readable by others; make it private with: chmod 700 {run_dir}")
