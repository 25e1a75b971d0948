"""Which server the command line talks to when no --url is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raymaas.cli.show import usual_server
from raymaas.cluster.plan import PLAN_FILE, ClusterPlan
from raymaas.errors import InvalidInput


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A user's home from which a cluster runs, its edge on port 4711."""
    run_dir = tmp_path / "run"
    plan = ClusterPlan(
        cluster_id="c1",
        mode="own",
        run_dir=str(run_dir),
        storage="memory://x",
        host="127.0.0.1",
        port=4711,
        ray_address="127.0.0.1:1",
        dashboard_url="http://127.0.0.1:2",
        control_port=3,
        serve_port=4,
        client_server_port=5,
        agent_port=6,
        metrics_port=7,
        edge_secret_file=str(run_dir / "edge-secret"),
    )
    run_dir.mkdir()
    (run_dir / PLAN_FILE).write_bytes(plan.seal())
    return {"RAYMAAS_HOME": str(tmp_path)}


def test_it_is_the_cluster_that_runs_from_the_users_home(environment: dict[str, str]) -> None:
    assert usual_server(environment).url == "http://127.0.0.1:4711"


def test_the_variable_and_then_the_settings_file_come_first(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text("url: http://from-file:1\n")
    assert usual_server(environment).url == "http://from-file:1"
    assert usual_server(environment | {"RAYMAAS_URL": "http://head:9000"}).url == "http://head:9000"


def test_without_a_cluster_nothing_is_said(tmp_path: Path) -> None:
    assert usual_server({"RAYMAAS_HOME": str(tmp_path)}).url is None


def test_a_mistake_in_the_settings_file_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("prt: 1\n")
    with pytest.raises(InvalidInput, match="prt: unknown field"):
        usual_server(environment)


@pytest.mark.parametrize(
    ("missing", "port"), [((), 4711), (("psutil", "ray", "fsspec"), 8080)], ids=["server", "core"]
)
def test_the_core_install_falls_back_to_the_clients_default(
    missing: tuple[str, ...], port: int, environment: dict[str, str]
) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing}))\n"
        "from raymaas.cli.show import Server, client_of\n"
        "print(client_of(type('Context', (), {'obj': Server()})).url)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAYMAAS_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=kept | environment,
    )
    assert (done.stdout.strip(), done.stderr) == (f"http://127.0.0.1:{port}", "")
