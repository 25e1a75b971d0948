"""A run's log names overfitting when its fit shows it, and says nothing of it otherwise."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from raymaas.data.dataset import prepare
from raymaas.data.split import split
from raymaas.data.transforms.fitted import Fitted
from raymaas.jobs import train as training
from raymaas.jobs.parts import JobParts
from raymaas.models import catalogue
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import TrainJob
from raymaas.store import LocalStore
from raymaas.train.checkpoint import Checkpoint, EpochReport, Progress
from raymaas.train.loop import fit
from raymaas.train.world import World

JOB = TrainJob.parse(
    {
        "model": "digits",
        "data": {"use": "digits"},
        "architecture": {"use": "logistic", "config": {"input_scale": 0.0625}},
        "training": {"epochs": 6, "batch_size": 256},
    },
    source="job",
)


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

    def fit_here(job: TrainJob, *, transforms: Fitted, **_: object) -> Checkpoint:
        dataset = prepare(store, job.data)
        found = catalogue.resolve(job.architecture, transforms.facts(dataset.card))
        network, rows = partial(catalogue.build, found), split(dataset, job.split)
        return replace(
            fit(network, job.training, parts=rows, world=World.single()), progress=progress(validation)
        )

    monkeypatch.setattr(training, "train_distributed", fit_here)
    said: list[str] = []
    parts = JobParts(
        store=store,
        versions=Versions(store),
        runs=Runs(store),
        run_id="t",
        say=said.append,
        on_trial=lambda trial: None,
    )
    training.train(JOB, parts)
    assert sum(line.startswith("overfitting: after epoch 1") for line in said) == warnings
