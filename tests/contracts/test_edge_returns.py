"""Killed with -9 under a real supervisor, HAProxy, its agent or both come back with the same routes, keys, servers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_rig import SECRET, Front, edge_settings, end_haproxy, eventually
from serving_rig import Served, served

from raymaas.cluster import supervisor as module
from raymaas.cluster.plan import PLAN_FILE, ClusterPlan, service_commands, service_environment
from raymaas.cluster.ports import free_ports
from raymaas.cluster.supervisor import Supervisor, write_private
from raymaas.serve.edge.rundir import KEYS_MAP_NAME
from raymaas.serve.edge.runtime import RuntimeSocket
from raymaas.specs.keys import Grant

INFER = "/v2/models/digits/versions/2/infer"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Served]:
    with served(1, 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def key(cluster: Served) -> str:
    return cluster.world.keys.create(Grant(name="ops", scopes=("admin", "predict")), who="ana").text


def planned(run_dir: Path, *, control: str) -> ClusterPlan:
    """The plan of a cluster whose controller is there already; written down, as its services read it."""
    (run_dir / "logs").mkdir(parents=True)
    write_private(run_dir / "edge-secret", SECRET.encode())
    plan = ClusterPlan(
        cluster_id=f"test-{os.getpid()}",
        mode="joined",
        run_dir=str(run_dir),
        storage="file:///nowhere",
        host="127.0.0.1",
        port=free_ports(1)[0],
        ray_address="127.0.0.1:1",
        dashboard_url="http://127.0.0.1:1",
        control_port=int(control.rpartition(":")[2]),
        serve_port=1,
        edge_secret_file=str(run_dir / "edge-secret"),
    )
    write_private(run_dir / PLAN_FILE, plan.seal())
    return plan


@pytest.fixture(scope="module")
def front(cluster: Served, key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The edge service as the supervisor runs it, following the controller's table."""
    plan = planned(tmp_path_factory.mktemp("s") / "run", control=cluster.control)
    front = Front(edge_settings(control=cluster.control, port=plan.port), plan.path("edge"))
    edge_alone = {"edge-agent": service_commands(plan)["edge-agent"]}
    stop = threading.Event()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "service_commands", lambda plan: edge_alone)
        environment = service_environment(plan, inherited=dict(os.environ))
        supervisor = Supervisor(plan, environment=environment, ready={"edge-agent": lambda: True})
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    try:
        revision = cluster.changed()
        eventually(lambda: (s := front.status()) and s.revision == revision, "the edge follows", within_s=60)
        yield front
    finally:
        stop.set()
        thread.join()
        end_haproxy(front)


def holdings(front: Front) -> tuple[object, ...]:
    """The routes, the keys and the servers that HAProxy has, those with their addresses and whether they are in use."""
    runtime = RuntimeSocket(front.run_dir / "admin.sock")
    servers = sorted((s.backend, s.name, s.in_maintenance) for s in runtime.servers())
    return runtime.map(), runtime.map(name=KEYS_MAP_NAME), servers


@pytest.mark.parametrize("killed", [("haproxy",), ("agent",), ("agent", "haproxy")], ids="+".join)
def test_what_was_killed_is_back_with_what_it_had(
    front: Front, cluster: Served, key: str, killed: tuple[str, ...]
) -> None:
    before, held = front.now(), holdings(front)
    pids = {"haproxy": before.haproxy_pid, "agent": before.agent_pid}
    for name in killed:
        os.kill(pids[name] or 0, signal.SIGKILL)

    def back() -> bool:
        now = front.now()
        new = {"haproxy": now.haproxy_pid, "agent": now.agent_pid}
        return None not in new.values() and all((new[name] != pids[name]) == (name in killed) for name in new)

    eventually(back, f"the edge runs again, with another {' and '.join(killed)}", within_s=60)
    status, answer, _ = front.ask(INFER, b"x", {"x-api-key": key})
    assert (status, answer["version"]) == (200, 2)
    assert answer["replica"] == cluster.serve.replicas[1].lane.address, "the fast lane, not the proxies"
    assert front.ask(INFER, b"x")[0] == 401
    assert holdings(front) == held
    assert len(held[0]) > 100  # type: ignore[arg-type]
    assert front.now().revision == before.revision
