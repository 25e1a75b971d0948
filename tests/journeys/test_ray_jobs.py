"""`ray job submit` does what `raymaas train` does: on our own head, and on one that was there before."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from journey_home import BIN, ROOT, Home, everything_of, names, wait_until

from raymaas.cluster.ports import free_ports
from raymaas.cluster.processes import end, identify, members
from raymaas.wiring import open_registry

pytestmark = [pytest.mark.journey]

SUBMIT = ["job", "submit", "--working-dir", ".", "--", "raymaas", "run", "jobs/train_digits.yaml"]
QUICK = ["--set", "training.epochs=3", "--set", "scaling.workers=1"]


def submit(environment: dict[str, str], *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "ray"), *SUBMIT, *overrides],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_a_submitted_job_registers_a_version_and_shows_its_progress(home: Home, digits: str) -> None:
    plan, environment = home.plan(), home.shell_environment()
    before = {m.version for m in open_registry(plan.storage).versions.list("digits")}

    done = submit(environment, *QUICK)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "epoch 3/3" in done.stdout
    assert "stored model.safetensors, 203760 bytes" in done.stdout
    registry = open_registry(plan.storage)
    new = {m.version for m in registry.versions.list("digits")} - before
    assert len(new) == 1
    assert f"registered digits@{new.pop()}" in done.stdout
    headers = {"Authorization": f"Bearer {Path(plan.token_file or '').read_text()}"}
    jobs = httpx.get(f"{plan.dashboard_url}/api/jobs/", headers=headers, trust_env=False, timeout=60).json()
    assert any("raymaas run jobs/train_digits.yaml" in job["entrypoint"] for job in jobs)
    train_runs = httpx.get(
        f"{plan.dashboard_url}/api/train/v2/runs/v1", headers=headers, trust_env=False, timeout=60
    )
    assert registry.runs.list(model="digits")[0].run_id in train_runs.text


def test_a_job_without_the_token_is_refused(home: Home) -> None:
    environment = home.shell_environment()
    wrong = home.path / "wrong-token"
    wrong.write_text(secrets.token_hex(32))

    refused = submit(environment | {"RAY_AUTH_TOKEN_PATH": str(wrong)})

    assert refused.returncode != 0
    assert httpx.get(f"{home.plan().dashboard_url}/api/jobs/", trust_env=False, timeout=60).status_code in (
        401,
        403,
    )


@pytest.fixture
def plain_head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A head somebody started with `ray start --head` and a token; gives the environment to reach it."""
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    gcs, dashboard, client, agent = free_ports(4)
    environment = Home(tmp_path / "unused").environment | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    short = Path("/tmp") / f"rmt-{os.getpid()}"
    command = [
        str(BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2",
        f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}",
        f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0",
        f"--temp-dir={short}",
    ]  # fmt: skip
    head = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    leader = identify(head.pid)
    assert leader is not None
    headers = {"Authorization": f"Bearer {token.read_text()}"}

    def answers() -> bool:
        try:
            url = f"http://127.0.0.1:{dashboard}/api/version"
            return httpx.get(url, headers=headers, trust_env=False, timeout=60).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, timeout_s=60, what="the plain head answers")
        address = subprocess.run(
            [sys.executable, "-c", FIND_ADDRESS, str(gcs)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        yield environment | {"PLAIN_ADDRESS": address}
    finally:
        os.kill(head.pid, signal.SIGTERM)
        end(members([leader]), grace_s=5)
        head.wait()
        subprocess.run(["rm", "-rf", str(short)], check=False)


FIND_ADDRESS = """
import sys, ray
print(f"{ray.util.get_node_ip_address()}:{sys.argv[1]}")
"""


def test_a_head_that_was_there_before_is_joined_used_and_left_as_it_was(
    tmp_path: Path, plain_head: dict[str, str], rows: np.ndarray
) -> None:
    home = Home(tmp_path / "home")
    address = plain_head["PLAIN_ADDRESS"]
    auth = {k: v for k, v in plain_head.items() if k.startswith("RAY_AUTH")}
    try:
        home.cli("up", "--address", address, **auth)
        plan, table = home.plan(), home.table()
        assert plan.mode == "joined"
        assert "head" not in table.processes

        done = submit(plain_head, *QUICK)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "registered digits@1" in done.stdout

        home.cli("deploy", "digits@1", RAYMAAS_URL=plan.url)
        with home.client() as client:
            assert client.model("digits").predict(rows[:2]).model_version == 1
    finally:
        home.cli("down", check=False, **auth)
    assert names(everything_of(plan, table)) == []
    # The head goes on, without any application of ours.
    headers = {"Authorization": f"Bearer {Path(auth['RAY_AUTH_TOKEN_PATH']).read_text()}"}
    url = plain_head["RAY_API_SERVER_ADDRESS"]
    left = httpx.get(f"{url}/api/serve/applications/", headers=headers, trust_env=False, timeout=60).json()
    assert left["applications"] == {}
