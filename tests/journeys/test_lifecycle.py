"""Up and down: what a user sees, and what is left behind. What goes down, or never comes up, has a home of its own."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from journey_home import Home, everything_of, names, wait_until

pytestmark = [pytest.mark.journey]


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    home.cli("down", check=False)


def test_up_twice_says_what_runs(home: Home) -> None:
    plan = home.plan()
    assert httpx.get(f"{plan.url}/v2/health/ready", trust_env=False).json() == {"ready": True, "live": True}

    again = home.cli("up", check=False)

    assert again.returncode == 1
    assert plan.url in again.stderr
    assert "raymaas down" in again.stderr


def test_down_leaves_nothing_and_up_starts_anew(own_home: Home) -> None:
    own_home.cli("up")
    plan, table = own_home.plan(), own_home.table()

    own_home.cli("down")

    assert names(everything_of(plan, table)) == []
    assert own_home.cli("status", check=False).returncode == 1
    assert "nothing was running" in own_home.cli("down").stderr
    assert not list(own_home.run_dir.glob("token")), "a secret outlived the cluster it was for"

    own_home.cli("up")
    assert own_home.status()["ready"]
    plan, table = own_home.plan(), own_home.table()
    # The supervisor first, so that nothing is started again.
    for name in ("supervisor", "controller", "edge-agent", "head"):
        os.kill(table.processes[name].pid, signal.SIGKILL)

    own_home.cli("down")

    assert names(everything_of(plan, table)) == [], "what nobody watches any more goes down, too"


def test_a_taken_port_is_a_sentence_with_the_port_and_the_setting(own_home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        for option, setting in (("--port", "RAYMAAS_PORT"), ("--dashboard-port", "RAYMAAS_DASHBOARD_PORT")):
            refused = own_home.cli("up", option, str(port), check=False)
            assert refused.returncode == 1
            assert f"port {port}" in refused.stderr
            assert setting in refused.stderr
    assert not (own_home.run_dir / "cluster.json").exists()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [("memory://x", "memory"), ("s3://bucket/x", "s3"), ("ftp://host/x", "ftp")],
)
def test_a_store_that_cannot_be_used_is_refused_before_anything_starts(
    own_home: Home, url: str, sentence: str
) -> None:
    refused = own_home.cli("up", "--storage", url, check=False)

    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert not (own_home.run_dir / "cluster.json").exists()


def test_up_brings_back_a_killed_supervisor_and_adopts_what_runs(home: Home) -> None:
    before = home.table().processes
    os.kill(before["supervisor"].pid, signal.SIGKILL)
    wait_until(
        lambda: not home.status()["processes"]["supervisor"]["alive"], timeout_s=30, what="supervisor dead"
    )

    home.cli("up")

    after = home.table().processes
    assert after["supervisor"] != before["supervisor"]
    assert {n: p for n, p in after.items() if n != "supervisor"} == {
        n: p for n, p in before.items() if n != "supervisor"
    }


def test_a_loose_run_directory_is_refused(own_home: Home) -> None:
    own_home.run_dir.mkdir(parents=True)
    own_home.run_dir.chmod(0o755)

    refused = own_home.cli("up", check=False)

    assert refused.returncode == 1
    assert "chmod 700" in refused.stderr


def test_a_command_without_a_cluster_says_how_to_start_one(own_home: Home) -> None:
    for command in (["status"], ["env"], ["run", "jobs/train_digits.yaml"]):
        done = own_home.cli(*command, check=False)
        assert done.returncode == 1
        assert "raymaas up" in done.stderr
