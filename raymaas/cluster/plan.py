"""ClusterPlan: what `up` decided, written down once, from which every process of the cluster is started."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field

from raymaas.cluster.processes import ProcessId
from raymaas.specs.base import Document
from raymaas.specs.retention import Retention

CLUSTER_MARKER = "RAYMAAS_CLUSTER"
PLAN_FILE = "cluster.json"
PROCESSES_FILE = "processes.json"
SUPERVISOR = "supervisor"


class ClusterPlan(Document):
    """One cluster on this machine. The file holds no secrets, only the names of the files that do."""

    kind = "cluster-plan"

    cluster_id: str = Field(description="Random; every process carries it in RAYMAAS_CLUSTER.")
    mode: Literal["own", "joined"] = Field(
        description="own: up started the Ray head; joined: it was there before."
    )
    run_dir: str
    storage: str
    cache_dir: str = Field("", description="Folder of the replicas' blob cache, on each node.")
    cache_bytes: int = Field(0, ge=0, description="Its limit; 0: there is none.")
    retention: Retention = Field(Retention(), description="What the controller's collections keep of runs.")
    gc_every_hours: float = Field(0, ge=0, description="Hours between those; 0: there are none.")
    host: str = Field(description="Address the edge listens on.")
    port: int = Field(description="Port the edge listens on.")
    ray_address: str = Field(description="host:port of Ray's GCS.")
    dashboard_url: str
    control_host: str = Field("127.0.0.1", description="Address the controller's HTTP API listens on.")
    control_port: int = Field(description="Port of the controller's HTTP API.")
    serve_port: int = Field(description="Loopback port of Ray Serve's own proxy, the slow lane.")
    client_server_port: int = 0
    agent_port: int = 0
    metrics_port: int = 0
    ray_temp_dir: str = ""
    cpus: int | None = None
    token_file: str | None = Field(
        default=None, description="Ray's token, 0600; absent on a head without one."
    )
    edge_secret_file: str

    @property
    def url(self) -> str:
        """Where this machine reaches the edge."""
        return f"http://{_reached_at(self.host, self.port)}"

    @property
    def control_address(self) -> str:
        """Where this machine reaches the controller, as ip:port."""
        return _reached_at(self.control_host, self.control_port)

    @property
    def control_url(self) -> str:
        return f"http://{self.control_address}"

    def path(self, name: str) -> Path:
        return Path(self.run_dir) / name


class ProcessTable(Document):
    """Which processes the supervisor runs now, by service name; the supervisor itself among them."""

    kind = "process-table"

    processes: dict[str, ProcessId] = Field(default_factory=dict)
    restarts: dict[str, int] = Field(default_factory=dict)
    ready: bool = False
    problem: str = ""


def _reached_at(host: str, port: int) -> str:
    """ip:port for this machine: loopback for what listens on every address."""
    at = ipaddress.ip_address(host)
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(at), str(at))
    return f"[{local}]:{port}" if at.version == 6 else f"{local}:{port}"


def service_commands(plan: ClusterPlan) -> dict[str, list[str]]:
    """The supervised services in starting order, each with its command line."""
    services = {
        name: [sys.executable, "-m", "raymaas.services", name, plan.run_dir]
        for name in ("controller", "edge-agent")
    }
    return {"head": head_command(plan)} | services if plan.mode == "own" else services


def head_command(plan: ClusterPlan) -> list[str]:
    """`ray start --head --block`, every port chosen by us and on loopback."""
    host, port = plan.ray_address.rsplit(":", 1)
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        f"--node-ip-address={host}",
        f"--port={port}",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={plan.dashboard_url.rsplit(':', 1)[1]}",
        f"--ray-client-server-port={plan.client_server_port}",
        f"--dashboard-agent-listen-port={plan.agent_port}",
        f"--metrics-export-port={plan.metrics_port}",
        # 0 lets the kernel choose; Ray's default range 10002-19999 collides with ports picked elsewhere.
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--temp-dir={plan.ray_temp_dir}",
        "--log-style=record",
    ]  # fmt: skip
    return [*command, f"--num-cpus={plan.cpus}"] if plan.cpus is not None else command


def service_environment(plan: ClusterPlan, *, inherited: dict[str, str]) -> dict[str, str]:
    """The environment of every supervised process: the caller's, plus what makes Ray local, closed and durable."""
    python_bin = str(Path(sys.executable).parent)
    environment = inherited | {
        CLUSTER_MARKER: plan.cluster_id,
        # Job entry points such as `raymaas run` are looked up on PATH by Ray.
        "PATH": f"{python_bin}:{inherited.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "RAYMAAS_STORAGE": plan.storage,
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
        # A worker's checkpoint waits for the next poll of its controller, 2 s apart by default.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        # After a node was lost Ray Train first tries with the room it remembers; it gives up after a minute by default.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
        # A driver that is told to stop records what it has and draws its report; Ray kills it after 3 s by default.
        "RAY_JOB_STOP_WAIT_TIME_S": "15",
    }
    if plan.token_file:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": plan.token_file}
    if plan.mode == "own":
        environment |= {
            # Despite its name: false makes Ray use 127.0.0.1 as the node's address, so that GCS, raylet and workers
            # listen on loopback. Without it Ray replaces a loopback address by the machine's first real one.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Ray has its workers give way to all else, replicas too. Here jobs do (raymaas.priority), and they do not.
            "RAY_worker_niceness": "0",
            # Looks for nodes that are about to be taken away, by a process of its own for each training: not this one.
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
            "RAY_gcs_storage": "rocksdb",
            "RAY_gcs_storage_path": str(plan.path("gcs")),
            "RAY_gcs_rpc_server_reconnect_timeout_s": "120",
        }
    return environment
