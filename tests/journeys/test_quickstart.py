"""The main job, as `make quickstart` runs it without a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from journey_home import Home, names
from s3_server import S3Server

from raymaas.bundle.probes import PROBES
from raymaas.cluster.processes import members
from raymaas.wiring import open_registry

pytestmark = [pytest.mark.journey]


# Every other journey has a folder for its store.
@pytest.fixture(params=[pytest.param("folder", marks=pytest.mark.soak), "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "a store")
    server: S3Server = request.getfixturevalue("s3")
    return server.url(request.getfixturevalue("s3_prefix"))


def test_the_quickstart_ends_well_and_leaves_only_the_store(tmp_path: Path, storage: str) -> None:
    home = Home(tmp_path / "home")

    done = home.cli("quickstart", "--storage", storage, timeout_s=500, RAYMAAS_MARK=str(tmp_path))

    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["model"] == "digits"
    assert list(facts["versions"]) == ["1", "2"]
    dense, small = facts["versions"]["1"], facts["versions"]["2"]
    assert dense["accuracy"] >= 0.96
    assert (dense["parent"], small["parent"]) == (None, 1)
    assert small["bytes"] * 8 <= dense["bytes"]
    assert sum(facts["traffic"].values()) == 600
    assert 20 <= facts["traffic"]["2"] <= 100
    registry = open_registry(facts["storage"])
    for version, said in ((1, dense), (2, small)):
        manifest = registry.versions.get("digits", version)
        assert said["bytes"] == manifest.weights_bytes == manifest.files[manifest.weights_file].bytes
    assert registry.versions.get("digits", 1).lineage.job["scaling"]["workers"] == 2
    actions = [state.change.action for state in registry.states.history("digits")]
    assert actions == ["rollback", "promote", "traffic", "deploy", "deploy"]
    assert "accuracy" in done.stdout
    assert "none failed" in done.stdout
    assert names(members([], marker=("RAYMAAS_MARK", str(tmp_path)))) == []
    assert not (home.run_dir / "cluster.json").exists()
    assert not (home.path / "store").exists()
    cached = {path.name for path in (home.path / "cache").glob("*")}
    served = {registry.versions.get("digits", v).files[PROBES].sha256 for v in (1, 2)}
    assert cached >= served if storage.startswith("s3:") else not cached
