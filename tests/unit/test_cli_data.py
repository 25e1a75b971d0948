"""`raymaas data`: what it lists, and that preparing a job's data needs no cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raymaas.cli.main import main
from raymaas.data.catalogue import SOURCES
from raymaas.data.dataset import open_dataset
from raymaas.data.transforms.catalogue import TRANSFORMS
from raymaas.store import open_store

JOB = """
kind: train
model: people
data:
  use: csv
  config: {path: PATH, label: kind, name: people, part: fold}
split: {test: given, validation: 0.2}
architecture: {use: logistic}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYMAAS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAYMAAS_STORAGE", raising=False)
    return tmp_path


@pytest.fixture
def job(home: Path) -> Path:
    lines = [f"{row},{'ab'[row % 2]},{'test' if row < 5 else 'train'}" for row in range(30)]
    (home / "people.csv").write_text("\n".join(["age,kind,fold", *lines]))
    path = home / "job.yaml"
    path.write_text(JOB.replace("PATH", str(home / "people.csv")))
    return path


def status_of(*arguments: str) -> int:
    """The exit status of one command."""
    try:
        main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_every_source_and_transform_is_listed_with_its_line(capsys):
    assert status_of("data", "list") == 0
    shown = capsys.readouterr().out
    assert all(f"\n{name} " in shown for name in (*SOURCES, *TRANSFORMS))
    assert status_of("data", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["csv"]["kind"] == "importer"


def test_a_source_is_shown_with_its_settings(capsys):
    assert status_of("data", "show", "csv") == 0
    shown = capsys.readouterr().out
    assert "A CSV file with a header line" in shown
    assert "label" in shown
    assert "needed" in shown
    assert status_of("data", "show", "impute") == 0
    assert "One of mean, median, most_frequent, constant." in " ".join(capsys.readouterr().out.split())
    assert status_of("data", "show", "cvs") == 1
    assert "did you mean 'csv'" in capsys.readouterr().err


def test_a_jobs_data_is_put_into_the_store_and_its_parts_are_told(home, job, capsys):
    assert status_of("data", "prepare", str(job), "--json") == 0
    card = json.loads(capsys.readouterr().out)
    assert card["split"] == {"train": 19, "validation": 6, "test": 5}
    stored = open_dataset(open_store(str(home / "home/store")), "people", card["fingerprint"])
    assert stored.card.rows == 30
    assert status_of("data", "prepare", str(job)) == 0
    assert "19 train, 6 validation, 5 test" in capsys.readouterr().out


def test_a_set_is_prepared_by_its_name(home, capsys):
    assert status_of("data", "prepare", "iris") == 0
    assert "setosa, versicolor, virginica" in capsys.readouterr().out


def test_a_jobs_transforms_are_tried_on_its_rows(home, job, capsys):
    lines = [f"{row or ''},{'ab'[row % 2]},{'test' if row < 5 else 'train'}" for row in range(30)]
    (home / "people.csv").write_text("\n".join(["age,kind,fold", *lines]))
    assert status_of("data", "prepare", str(job)) == 1
    assert "column 'age' has nothing in row 0" in capsys.readouterr().err
    job.write_text(job.read_text() + "transforms: [{use: impute}]\n")
    assert status_of("data", "prepare", str(job)) == 0
    shown = capsys.readouterr().out
    assert "age (number)" in shown
    assert "this job's input  [1]" in shown


def test_bad_data_is_one_sentence(home, job, capsys):
    (home / "people.csv").write_text("age,kind,fold\n3,a,train\nx,b,test\n")
    assert status_of("data", "prepare", str(job)) == 1
    assert "column 'age' of" in (said := capsys.readouterr().err)
    assert "has 'x' in row 1, which is no number" in said
