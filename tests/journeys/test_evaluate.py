"""Evaluating on a cluster: a version on its rows, a recipe by folds, two versions beside each other."""

from __future__ import annotations

import json

import pytest
from journey_home import Home

from raymaas.wiring import open_registry

pytestmark = [pytest.mark.journey]


def test_a_version_is_evaluated_and_a_training_cross_validated_through_the_control_plane(
    home: Home, digits: str
) -> None:
    url = home.plan().url

    measured = home.cli("evaluate", digits, "--slice", "class", "--json", RAYMAAS_URL=url)
    report = json.loads(measured.stdout)
    published = open_registry(home.plan().storage).versions.get("digits", 1).evaluation
    assert report["found"]["evaluation"] == published.model_dump(mode="json")
    assert len(report["found"]["slices"]) == 10
    assert digits in home.cli("runs", "show", report["run_id"], RAYMAAS_URL=url).stdout

    folds = home.cli(
        "evaluate", "jobs/evaluate_digits.yaml", "--json",
        "--set", "how.folds=2", "--set", "how.job.training.epochs=2",
        RAYMAAS_URL=url,
    )  # fmt: skip
    found = json.loads(folds.stdout)["found"]
    assert (found["folds"], found["rows"]) == (2, 1437)
    assert 0.5 < found["metrics"]["accuracy"]["value"] < 1
    assert "fold 2" in folds.stderr
    assert (
        open_registry(home.plan().storage).versions.newest("digits").run_id
        != json.loads(folds.stdout)["run_id"]
    )


def test_a_version_is_no_better_than_itself(home: Home, digits: str) -> None:
    compared = home.cli("models", "compare", digits, digits, RAYMAAS_URL=home.plan().url)
    assert "cannot be told apart" in compared.stdout
    assert "McNemar: exact p 1, mid-p 1" in compared.stdout
