"""The report of a training: what is on its page and which pictures come with it, for each kind of task."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_training import fit_here, trained, without_graphs

from raymaas.jobs import reporting
from raymaas.registry.runs import Runs
from raymaas.store import LocalStore

IMAGES = {"use": "npz", "config": {"path": "PATH"}}
TARGETLESS = {"use": "npz", "config": {"path": "PATH", "target": "none"}}
SPLIT = {"stratify": False}
JOBS: dict[str, dict[str, Any]] = {
    "classification": {"data": IMAGES, "architecture": {"use": "mlp", "config": {"hidden": [4]}}},
    "regression": {
        "data": {"use": "diabetes"},
        "split": SPLIT,
        "architecture": {"use": "mlp_regressor", "config": {"hidden": [4]}},
    },
    "density": {
        "data": TARGETLESS,
        "split": SPLIT,
        "architecture": {"use": "vae", "config": {"hidden": [4], "latent": 2}},
    },
    "adversarial": {
        "data": TARGETLESS,
        "split": SPLIT,
        "architecture": {
            "use": "gan",
            "config": {"generator": [4], "discriminator": [4], "latent": 2},
        },
        "training": {"epochs": 2, "keep": "last"},
    },
}
PICTURES = {
    "classification": {"learning", "confusion", "reliability", "examples"},
    "regression": {"learning", "residuals"},
    "density": {"learning", "reconstructions", "samples"},
    "adversarial": {"learning", "samples"},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    store = LocalStore(tmp_path / "store")
    fit_here(monkeypatch, store)
    without_graphs(monkeypatch)
    return store


@pytest.fixture
def images(tmp_path: Path) -> str:
    """Rows of 8 x 8 pixels from 0 to 1: one class is bright on the left, the other on the right."""
    chance = np.random.default_rng(0)
    y_N = np.arange(80) % 2
    x_N = chance.random((80, 8, 8)).astype(np.float32) * 0.3
    x_N[y_N == 0, :, :4] += 0.6
    x_N[y_N == 1, :, 4:] += 0.6
    path = tmp_path / "images.npz"
    np.savez(path, x=x_N, y=np.array(["left", "right"])[y_N])
    return str(path)


def files_of(store: LocalStore, job: dict[str, Any], images: str) -> dict[str, bytes]:
    """The files that a run of `job` left, by name below report/."""
    fields = {"model": "tiny", "training": {"epochs": 2}} | job
    if "path" in fields["data"].get("config", {}):
        fields["data"] = fields["data"] | {"config": fields["data"]["config"] | {"path": images}}
    version = trained(store, fields)
    artifacts = Runs(store).artifacts(version.run_id)
    return {file.name.removeprefix("report/"): artifacts.read(file.name) for file in artifacts.list()}


@pytest.mark.parametrize("task", JOBS)
def test_every_task_has_a_page_with_its_own_pictures(store: LocalStore, images: str, task: str):
    files = files_of(store, JOBS[task], images)
    page = files.pop("report.md").decode()
    assert set(files) == {f"{name}.png" for name in PICTURES[task]}
    assert all(data.startswith(b"\x89PNG") for data in files.values())
    for name in files:
        assert f"]({name})" in page
    assert page.startswith("# tiny@1\n")
    assert f"| task | {task} |" in page
    assert "## How well it does" in page
    assert "a gap of" in page


def test_the_page_of_a_classifier_names_its_classes_and_its_mistakes(store: LocalStore, images: str):
    constant = {"training": {"epochs": 1, "learning_rate": 1e-9}}
    page = files_of(store, JOBS["classification"] | constant, images)["report.md"].decode()
    assert "| left |" in page
    assert "Most frequent mistakes: " in page
    assert "taken for" in page


def test_a_report_that_cannot_be_made_costs_no_version(
    store: LocalStore, images: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: Any, **__: Any) -> bytes:
        raise ValueError("no ink")

    monkeypatch.setattr(reporting, "learning_png", broken)
    said: list[str] = []
    fields = {"model": "tiny", "training": {"epochs": 1}, "data": {"use": "digits"}}
    with caplog.at_level(logging.CRITICAL):
        version = trained(store, fields | {"architecture": {"use": "logistic"}}, said=said)
    assert version.version == 1
    assert "the report could not be made: no ink" in said
