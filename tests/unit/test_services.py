"""A cluster's own processes run without what they do not need: they live as long as the cluster does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from raymaas import services
from raymaas.cluster.plan import PLAN_FILE, ClusterPlan
from raymaas.cluster.ports import free_ports
from raymaas.cluster.supervisor import read_table
from raymaas.serve.edge import running
from raymaas.serve.edge.config import EdgeSettings

HEAVY = ("fastapi", "fsspec", "numpy", "pandas", "pyarrow", "ray", "rich", "torch", "typer", "uvicorn")


@pytest.fixture
def plan(tmp_path: Path) -> ClusterPlan:
    """Written down, for an edge on a free port whose controller is not there."""
    ports = free_ports(2)
    plan = ClusterPlan(
        cluster_id=tmp_path.name,
        mode="own",
        run_dir=str(tmp_path),
        storage="file:///nowhere",
        host="127.0.0.1",
        port=ports[0],
        ray_address="127.0.0.1:1",
        dashboard_url="http://127.0.0.1:2",
        control_port=ports[1],
        serve_port=3,
        edge_secret_file=str(tmp_path / "secret"),
    )
    (tmp_path / "secret").write_text("0123456789abcdef")
    (tmp_path / PLAN_FILE).write_bytes(plan.seal())
    return plan


def exit_status(
    service: str,
    plan: ClusterPlan,
    *,
    begun: Callable[[], bool],
    without: tuple[str, ...] = (),
    signals: int = 1,
) -> int:
    """Of that service where those packages cannot be imported, told to end once it has begun. It supervises none."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({without}))\n"
        "from raymaas.cluster import supervisor\n"
        "supervisor.service_commands = lambda plan: {}\n"
        f"from raymaas.services import main; main([{service!r}, {plan.run_dir!r}])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONWARNINGS": "error"})
    try:
        deadline = time.monotonic() + 30
        while process.poll() is None and not begun():
            assert time.monotonic() < deadline, f"{service} has not begun"
            time.sleep(0.05)
        for _ in range(signals):
            process.send_signal(signal.SIGTERM)
        return process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()


def supervising(plan: ClusterPlan) -> bool:
    table = read_table(Path(plan.run_dir))
    return table is not None and table.ready


def test_the_supervisor_runs_on_the_standard_library_and_documents(plan: ClusterPlan) -> None:
    begun = partial(supervising, plan)
    assert exit_status("supervisor", plan, without=(*HEAVY, "httpx"), begun=begun) == 0


def test_a_service_that_is_told_to_end_again_while_it_ends_does_end(plan: ClusterPlan) -> None:
    assert exit_status("supervisor", plan, begun=partial(supervising, plan), signals=300) == 0


def test_the_edge_agent_runs_without_numpy_and_the_command_line(plan: ClusterPlan) -> None:
    begun = plan.path("edge/status.json").exists

    assert exit_status("edge-agent", plan, without=HEAVY, begun=begun) == 0


def test_a_service_without_a_plan_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "raymaas.services", "supervisor", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "`raymaas up` starts one" in done.stderr
    assert "Traceback" not in done.stderr


def test_edges_of_hosts_that_have_one_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(running, "run_edge", lambda *_, name, stop: names.append(name))
    monkeypatch.setattr(services, "_stop_on_signals", threading.Event)
    settings = EdgeSettings(control="127.0.0.1:1", secret=SecretStr("0123456789abcdef"))
    for folder in ("a", "b", "a"):
        services.ingress(settings, tmp_path / folder)
    assert names[0] == names[2], "the same after a restart"
    assert names[0] != names[1]
