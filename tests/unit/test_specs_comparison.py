"""Runs beside each other: what differs in their jobs, and which epoch of each counts."""

from __future__ import annotations

from raymaas.specs.comparison import best_epoch, differences
from raymaas.specs.kinds import parse_job
from raymaas.specs.runs import EpochMetrics


def job(**changes: object) -> object:
    fields = {
        "model": "digits",
        "data": {"use": "digits"},
        "architecture": {"use": "mlp", "config": {"hidden": [8]}},
    }
    return parse_job(fields | changes, source="job")


def epoch(number: int, **metrics: float) -> EpochMetrics:
    return EpochMetrics(run_id="run-a", epoch=number, metrics=metrics)


def test_only_fields_that_differ_are_named_with_the_value_of_each():
    jobs = [
        job(),
        job(architecture={"use": "mlp", "config": {"hidden": [16], "dropout": 0.2}}),
        job(training={"epochs": 3}),
    ]
    assert differences(jobs) == [
        {"architecture.config.hidden": [8], "training.epochs": 20, "architecture.config.dropout": None},
        {"architecture.config.hidden": [16], "training.epochs": 20, "architecture.config.dropout": 0.2},
        {"architecture.config.hidden": [8], "training.epochs": 3, "architecture.config.dropout": None},
    ]


def test_equal_jobs_differ_in_nothing():
    assert differences([job(), job()]) == [{}, {}]


def test_a_job_of_another_kind_differs_in_its_kind_too():
    compress = parse_job(
        {"kind": "compress", "model": "digits", "recipe": [{"use": "prune", "config": {"sparsity": 0.5}}]},
        source="job",
    )
    first, second = differences([job(), compress])
    assert (first["kind"], second["kind"]) == ("train", "compress")
    assert "model" not in first


def test_the_best_epoch_has_the_lowest_validation_loss_and_is_the_first_of_equals():
    epochs = [epoch(1, validation_loss=3), epoch(2, validation_loss=1), epoch(3, validation_loss=1), epoch(4)]
    found = best_epoch(epochs)
    assert found is not None
    assert found.epoch == 2
    assert best_epoch([epoch(1, loss=1.0)]) is None
