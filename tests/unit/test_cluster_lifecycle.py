"""What `up` and settings refuse before anything starts."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from raymaas.cli.local import up_options
from raymaas.cluster import lifecycle
from raymaas.cluster.plan import PROCESSES_FILE, ClusterPlan, ProcessTable
from raymaas.errors import InvalidInput, Refused, Unavailable
from raymaas.registry.keys import Keys
from raymaas.settings import load_settings
from raymaas.specs.keys import Grant
from raymaas.store import open_store


def make_plan(run_dir: Path, *, host: str = "127.0.0.1") -> ClusterPlan:
    return ClusterPlan(
        cluster_id="c",
        mode="joined",
        run_dir=str(run_dir),
        storage="file:///s",
        host=host,
        port=8080,
        ray_address="127.0.0.1:1",
        dashboard_url="http://127.0.0.1:2",
        control_host=host,
        control_port=8080,
        serve_port=4,
        edge_secret_file="s",
    )


def test_two_ups_at_once_are_refused_in_one_run_directory(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o700)
    options = lifecycle.UpOptions(run_dir=str(run_dir), storage="file:///nowhere", port=0, dashboard_port=0)

    with (run_dir / lifecycle.LOCK_FILE).open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Refused, match="another `raymaas up` or `down` is at work"):
            lifecycle.up(options, environment={}, progress=lambda _: None)

    assert not (run_dir / "cluster.json").exists()


def test_down_without_a_cluster_touches_nothing(tmp_path: Path) -> None:
    assert lifecycle.down(tmp_path / "none", progress=lambda _: None) is None
    assert not (tmp_path / "none").exists()


def test_settings_come_from_the_command_line_then_the_environment_then_the_file(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("port: 1\ndashboard_port: 1\ncpus: 1\n")
    environment = {"RAYMAAS_HOME": str(tmp_path), "RAYMAAS_PORT": "2", "RAYMAAS_DASHBOARD_PORT": "2"}

    settings = load_settings(environment, port=3, storage=None)

    assert (settings.port, settings.dashboard_port, settings.cpus) == (3, 2, 1)
    assert settings.storage == f"file://{tmp_path}/store"
    assert settings.run_dir == tmp_path / "run"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("RAYMAAS_HOST", "everywhere", "host"),
        ("RAYMAAS_PORT", "many", "port"),
        ("RAYMAAS_PORT", "70000", "65535"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, variable: str, value: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        load_settings({"RAYMAAS_HOME": str(tmp_path), variable: value})


@pytest.mark.parametrize(("what", "field"), [("edge", "host"), ("controller", "control_host")])
def test_what_others_can_reach_needs_a_key_in_the_store_first(tmp_path: Path, what: str, field: str) -> None:
    def options(address: str) -> Any:
        return up_options(load_settings({"RAYMAAS_HOME": str(tmp_path), f"RAYMAAS_{field.upper()}": address}))

    refusal = rf"the {what} is to listen .* no API keys; create the first: raymaas keys create .* --storage 'file://"
    with pytest.raises(Refused, match=refusal):
        options("0.0.0.0")
    assert getattr(options("::1"), field) == "::1"

    store = open_store(load_settings({"RAYMAAS_HOME": str(tmp_path)}).storage)
    Keys(store).create(Grant(name="ops", scopes=("admin",)), who="me")
    assert getattr(options("0.0.0.0"), field) == "0.0.0.0"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("models/digits/state/999999999998.json", "not an entry of a log"),
        ("models/digits/state/999999999/998.json", "carries no digest"),
        ("keys/999999999/998.json", "carries no digest"),
    ],
)
def test_a_store_that_the_controller_cannot_read_is_refused_with_the_reason(
    tmp_path: Path, key: str, reason: str
) -> None:
    settings = load_settings({"RAYMAAS_HOME": str(tmp_path)})
    open_store(settings.storage).create(key, b"{}")

    with pytest.raises(
        Refused, match=rf"{tmp_path}/store cannot be served .*{key} .*{reason}.* --storage URL"
    ):
        up_options(settings)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::1", "http://[::1]:8080"),
        ("::", "http://[::1]:8080"),
        ("10.0.0.7", "http://10.0.0.7:8080"),
    ],
)
def test_this_machine_reaches_what_listens_anywhere(tmp_path: Path, host: str, url: str) -> None:
    plan = make_plan(tmp_path, host=host)
    assert plan.url == plan.control_url == url


def test_an_api_key_among_the_settings_is_not_shown(tmp_path: Path) -> None:
    settings = load_settings({"RAYMAAS_HOME": str(tmp_path), "RAYMAAS_API_KEY": "rmk_0123abcd_CANARY"})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "rmk_0123abcd_CANARY"
    assert "CANARY" not in f"{settings!r} {settings.model_dump_json()}"


def test_an_edge_that_does_not_come_up_is_told_with_what_the_controller_says(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/edge-agent.log").write_text("waiting for a table\n")
    (tmp_path / "logs/controller.log").write_text("the store cannot be read\n")
    (tmp_path / PROCESSES_FILE).write_bytes(ProcessTable(restarts={"edge-agent": 3}).seal())

    with pytest.raises(Unavailable, match="edge did not come up") as told:
        lifecycle._wait_ready(make_plan(tmp_path), progress=lambda _: None, timeout_s=5)

    assert f"{tmp_path}/logs/edge-agent.log ends with:\nwaiting for a table" in str(told.value)
    assert f"{tmp_path}/logs/controller.log ends with:\nthe store cannot be read" in str(told.value)
