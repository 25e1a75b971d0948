"""EdgeSettings and the run directory: what they refuse, and that the secret is not shown."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from raymaas.errors import InvalidInput, Refused
from raymaas.serve.edge.config import EdgeSettings, config_digest, render
from raymaas.serve.edge.rundir import RunDir, read_file, replace_file
from raymaas.serve.edge.servers import Addresses

SECRET = "canary_0123456789abcdef"


def settings(**changes: object) -> EdgeSettings:
    return EdgeSettings.parse(
        {"port": 8080, "control": "127.0.0.1:8001", "secret": SECRET} | changes, source="edge settings"
    )


def test_the_secret_is_in_the_configuration_and_nowhere_one_might_print() -> None:
    assert SECRET in render(settings(), slots=1, servers_of=lambda slot: {})
    assert SECRET not in repr(settings())
    with pytest.raises(InvalidInput, match="secret") as refused:
        settings(secret=SecretStr("short secret with spaces"))
    assert "short secret" not in str(refused.value)


@pytest.mark.parametrize(
    "change", [{"bind_host": "localhost"}, {"control": "head:8001"}, {"port": 0}, {"max_header_bytes": 10**6}]
)
def test_settings_that_cannot_work_are_refused_by_name(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(change))):
        settings(**change)


def test_the_digest_tells_settings_and_slots_apart() -> None:
    same = config_digest(settings(), slots=4)
    assert same == config_digest(settings(), slots=4)
    assert len({same, config_digest(settings(), slots=8), config_digest(settings(port=8081), slots=4)}) == 3


def test_every_slot_starts_with_the_proxies_behind_its_replicas() -> None:
    addresses = Addresses(("10.0.0.1:8000", "[::1]:8000"), {1: ("10.0.0.2:4000",)})
    text = render(settings(), slots=3, servers_of=addresses.of_slot)
    assert text.count("server 10.0.0.1:8000 10.0.0.1:8000 backup\n") == 3
    assert text.count("server ::1:8000 [::1]:8000 backup\n") == 3
    assert text.count("server 10.0.0.2:4000 10.0.0.2:4000 check ") == 1
    assert text.index("backend slot01") < text.index("server 10.0.0.2:4000") < text.index("backend slot02")


def test_a_run_directory_too_deep_for_its_socket_is_refused_with_the_length(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"107 are allowed; choose a shorter run directory"):
        RunDir.prepare(tmp_path / ("d" * 100))


def test_the_run_directory_and_its_files_are_private(tmp_path: Path) -> None:
    run_dir = RunDir.prepare(tmp_path / "edge")
    replace_file(run_dir.map, b"one")
    replace_file(run_dir.map, b"two")
    assert stat.S_IMODE(run_dir.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(run_dir.map.stat().st_mode) == 0o600
    assert read_file(run_dir.map) == b"two"
    assert [path.name for path in run_dir.path.iterdir()] == ["routes.map"]


def test_a_run_directory_has_one_agent(tmp_path: Path) -> None:
    run_dir = RunDir.prepare(tmp_path / "edge")
    with (
        run_dir.exclusive(),
        pytest.raises(Refused, match=r"another edge agent \(pid \d+\)"),
        run_dir.exclusive(),
    ):
        pass
    with run_dir.exclusive():
        pass
