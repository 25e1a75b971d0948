"""A run's log names overfitting when its fit shows it, and says nothing of it otherwise."""

from dataclasses import replace
from pathlib import Path

import pytest
from local_training import fit_here, trained, without_graphs

from raymaas.jobs import train as training
from raymaas.specs.jobs import TrainJob
from raymaas.store import LocalStore
from raymaas.train.checkpoint import Checkpoint, EpochReport, Progress

JOB = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": {"use": "logistic", "config": {"input_scale": 0.0625}},
    "training": {"epochs": 6, "batch_size": 256},
}


def progress(validation: list[float]) -> Progress:
    reports = [
        EpochReport(epoch=n, train_loss=1 / n, validation_loss=loss, figures={"accuracy": 0.5}, seconds=1)
        for n, loss in enumerate(validation, start=1)
    ]
    return Progress(history=tuple(reports), best_epoch=1)


@pytest.mark.parametrize(
    ("validation", "warnings"), [([1, 2, 3, 4, 5, 6, 7], 1), ([7, 6, 5, 4, 3, 2, 1], 0)], ids=["over", "well"]
)
def test_the_log_names_overfitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation, warnings):
    store = LocalStore(tmp_path)

    fit_here(monkeypatch, store)
    without_graphs(monkeypatch)
    fit = training.train_distributed

    def with_progress(job: TrainJob, **rest: object) -> Checkpoint:
        return replace(fit(job, **rest), progress=progress(validation))

    monkeypatch.setattr(training, "train_distributed", with_progress)
    said: list[str] = []
    trained(store, JOB, said=said)
    assert sum(line.startswith("overfitting: after epoch 1") for line in said) == warnings
