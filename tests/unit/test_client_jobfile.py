"""Job files: what they may say, and where a mistake is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from raymaas.client.jobfile import read_job
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import TrainJob

GOOD = """\
kind: train
model: digits
data: {use: digits}
architecture:
  use: mlp
  config: {hidden: [8]}
training:
  epochs: 5
"""


def job_file(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def test_a_file_a_mapping_and_a_document_are_the_same_job(tmp_path: Path) -> None:
    from_file = read_job(job_file(tmp_path, GOOD))
    mapping = {
        "model": "digits",
        "data": {"use": "digits"},
        "architecture": {"use": "mlp", "config": {"hidden": [8]}},
        "training": {"epochs": 5},
    }
    assert from_file == read_job(mapping) == read_job(from_file) == read_job(str(tmp_path / "job.yaml"))
    assert isinstance(from_file, TrainJob)


def test_settings_override_fields_deep_and_new(tmp_path: Path) -> None:
    settings = (
        "training.epochs=3",
        "training.early_stopping.patience=2",
        "architecture.config.hidden=[16, 4]",
    )
    job = read_job(job_file(tmp_path, GOOD), settings=settings)
    assert job.training.epochs == 3
    assert job.training.early_stopping is not None
    assert (job.training.early_stopping.patience, job.architecture.config["hidden"]) == (2, [16, 4])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            GOOD.replace("epochs: 5", "epocs: 5"),
            "line 8: training.epocs: unknown field; did you mean 'epochs'?",
        ),
        (GOOD.replace("epochs: 5", "epochs: none"), "line 8: training.epochs: "),
        (GOOD.replace("  use: mlp\n", ""), "line 4: architecture.use: required field is missing"),
        (GOOD + "model: other\n", "job.yaml, line 9: model is given twice"),
        (GOOD.replace("{use: digits}", "{use: digits"), "job.yaml, line 4: not YAML"),
        (GOOD + "\tbatch_size: 3\n", "job.yaml, line 9: not YAML"),
        ("- a\n- b\n", "a job is a mapping"),
        ("", "a job is a mapping"),
        (GOOD.replace("kind: train", "kind: trian"), "kind 'trian' is unknown"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_job(job_file(tmp_path, text))
    assert said in str(raised.value)
    assert "job.yaml" in str(raised.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.epochs", "not of the form training.epochs=3"),
        ("training..epochs=3", "not of the form training.epochs=3"),
        ("training.epochs=[", "is not a YAML value"),
        ("model.name=x", "no mapping"),
        ("training.epochs=-1", "--set training.epochs: training.epochs: input should be greater"),
        ("training.epocs=1", "--set training.epocs: training.epocs: unknown field"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_job(job_file(tmp_path, GOOD), settings=[setting])
    assert said in str(raised.value)


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.yaml does not exist"):
        read_job(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"bytes\.yaml cannot be read"):
        read_job(tmp_path / "bytes.yaml")


def test_an_anchor_that_contains_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="anchor contains itself"):
        read_job(job_file(tmp_path, "model: &a [*a]\n"))
