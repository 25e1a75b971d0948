"""The registry from outside: a version's card, who may promote it, where it came from, and taking it elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from journey_home import Home, wait_until

from raymaas.wiring import open_registry

pytestmark = [pytest.mark.journey]

POLICY = "card: [licence, limits]\nmetrics: {accuracy: {at_least: 0.9999}}\n"


def test_a_policy_says_what_a_version_lacks_before_it_is_promoted(
    home: Home, digits: str, tmp_path: Path
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    home.cli("models", "policy", "set", "digits", "golden", str(file), RAYMAAS_URL=home.plan().url)

    refused = home.cli("alias", "set", "digits@golden", "1", check=False, RAYMAAS_URL=home.plan().url)
    assert refused.returncode == 1
    assert "accuracy" in refused.stderr
    assert "0.9999" in refused.stderr

    home.cli("models", "policy", "remove", "digits", "golden", RAYMAAS_URL=home.plan().url)
    home.cli("alias", "set", "digits@golden", "1", RAYMAAS_URL=home.plan().url)
    assert "CC-BY-4.0" in home.cli("models", "card", digits, RAYMAAS_URL=home.plan().url).stdout


def test_an_answer_leads_back_to_the_data(home: Home, digits: str, rows: np.ndarray) -> None:
    with home.client() as client:
        answer = client.model(digits).predict(rows[:3])

        def recorded() -> bool:
            asked = home.cli(
                "models", "lineage", digits, "--request-id", answer.request_id, "--json",
                check=False, RAYMAAS_URL=home.plan().url,
            )  # fmt: skip
            traced.update(json.loads(asked.stdout) if asked.returncode == 0 else {})
            return asked.returncode == 0

        traced: dict[str, object] = {}
        wait_until(recorded, timeout_s=30, what="the request is in the store")
        fingerprint = client.models.version(digits).lineage.data_fingerprint

    assert answer.request_id in json.dumps(traced)
    assert fingerprint in json.dumps(traced)
    down = home.cli("models", "lineage", "--data", fingerprint[:12], RAYMAAS_URL=home.plan().url)
    assert digits in down.stdout


def test_a_version_is_taken_to_another_store_and_back_from_a_folder(
    home: Home, digits: str, tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "digits-1", f"file://{tmp_path}/elsewhere"
    home.cli("models", "export", digits, str(folder))
    home.cli("models", "import", str(folder), "--storage", elsewhere)

    here, there = open_registry(home.plan().storage).versions, open_registry(elsewhere).versions
    original, copy = here.get("digits", 1), there.get("digits", 1)
    assert here.read_files(original) == there.read_files(copy)
    assert copy.lineage.imported is not None
    again = home.cli("models", "copy", digits, "--from", home.plan().storage, "--to", elsewhere)
    assert "digits@1" in again.stdout
    assert len(there.list("digits")) == 1


def test_a_collection_on_a_store_in_use_takes_nothing_that_is_needed(home: Home, digits: str) -> None:
    done = home.cli("gc", "--json")
    assert json.loads(done.stdout)["files"]["delete"] == 0
    versions = open_registry(home.plan().storage).versions
    assert versions.read_files(versions.get("digits", 1))
