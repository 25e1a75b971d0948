"""What `up` and settings refuse before anything starts."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from raymaas.cluster import lifecycle
from raymaas.errors import InvalidInput, Refused
from raymaas.settings import load_settings


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
        ("RAYMAAS_HOST", "0.0.0.0", "no API keys yet"),
        ("RAYMAAS_PORT", "many", "port"),
        ("RAYMAAS_PORT", "70000", "65535"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, variable: str, value: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        load_settings({"RAYMAAS_HOME": str(tmp_path), variable: value})
