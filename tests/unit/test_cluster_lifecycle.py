"""What `up` and settings refuse before anything starts."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from raymaas.cli.local import up_options
from raymaas.cluster import lifecycle
from raymaas.cluster.plan import ClusterPlan
from raymaas.errors import InvalidInput, Refused
from raymaas.registry.keys import Keys
from raymaas.settings import load_settings
from raymaas.specs.keys import Grant
from raymaas.store import open_store


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


def test_an_edge_that_others_can_reach_needs_a_key_in_the_store_first(tmp_path: Path) -> None:
    settings = load_settings({"RAYMAAS_HOME": str(tmp_path), "RAYMAAS_HOST": "0.0.0.0"})
    with pytest.raises(
        Refused, match=r"no API keys; create the first: raymaas keys create .* --storage 'file://"
    ):
        up_options(settings)
    assert up_options(load_settings({"RAYMAAS_HOME": str(tmp_path), "RAYMAAS_HOST": "::1"})).host == "::1"

    Keys(open_store(settings.storage)).create(Grant(name="ops", scopes=("admin",)), who="me")
    assert up_options(settings).host == "0.0.0.0"


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
def test_this_machine_reaches_an_edge_that_listens_anywhere(tmp_path: Path, host: str, url: str) -> None:
    plan = ClusterPlan(
        cluster_id="c",
        mode="joined",
        run_dir=str(tmp_path),
        storage="file:///s",
        host=host,
        port=8080,
        ray_address="127.0.0.1:1",
        dashboard_url="http://127.0.0.1:2",
        control_port=3,
        serve_port=4,
        edge_secret_file="s",
    )
    assert plan.url == url


def test_an_api_key_among_the_settings_is_not_shown(tmp_path: Path) -> None:
    settings = load_settings({"RAYMAAS_HOME": str(tmp_path), "RAYMAAS_API_KEY": "rmk_0123abcd_CANARY"})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "rmk_0123abcd_CANARY"
    assert "CANARY" not in f"{settings!r} {settings.model_dump_json()}"
