"""The main job, as `make quickstart` runs it without a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from journey_home import Home, names

from raymaas.cluster.processes import members
from raymaas.wiring import open_registry

pytestmark = [pytest.mark.journey]


def test_the_quickstart_ends_well_and_leaves_only_the_store(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    store = tmp_path / "a store"

    done = home.cli("quickstart", "--storage", str(store), timeout_s=280, RAYMAAS_MARK=str(tmp_path))

    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["model"] == "digits"
    assert list(facts["versions"]) == ["1"]
    assert facts["versions"]["1"]["accuracy"] >= 0.96
    assert facts["versions"]["1"]["parent"] is None
    assert facts["traffic"]["1"] > 300
    manifest = open_registry(facts["storage"]).versions.get("digits", 1)
    assert facts["versions"]["1"]["bytes"] == manifest.weights_bytes
    assert manifest.lineage.job["scaling"]["workers"] == 2
    assert "test accuracy" in done.stdout
    assert names(members([], marker=("RAYMAAS_MARK", str(tmp_path)))) == []
    assert not (home.run_dir / "cluster.json").exists()
