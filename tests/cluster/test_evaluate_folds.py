"""Folds as Ray tasks: recorded as trials, not repeated by a second driver, and with the reason of those that fail."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from marks import CLUSTER
from own_network import forget, submitted, write_package

from raymaas.errors import RunFailed
from raymaas.jobs.evaluate import evaluate, told
from raymaas.jobs.parts import JobParts
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.reports import FoldsFigures
from raymaas.specs.runs import RunSpec
from raymaas.specs.search import Broken, Finished, Point, Trial
from raymaas.store import LocalStore
from raymaas.sweep.tasks import TaskLimits, carry_out_each

pytestmark = [*CLUSTER, pytest.mark.usefixtures("ray_cluster")]

LIMITS = TaskLimits(concurrent=2, threads=1, cpus=0.5)
DIGITS = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": {"use": "logistic", "config": {"input_scale": 0.0625}},
    "training": {"epochs": 3, "learning_rate": 0.01, "keep": "last"},
}


def asked(store: LocalStore, run_id: str, *, model: str = "digits", **how: Any) -> EvaluateJob:
    """The job of a new run of 3 folds."""
    job = EvaluateJob.parse(
        {"model": model, "how": {"by": "folds", "job": DIGITS, "folds": 3, **how}}, source="job"
    )
    Runs(store).create(RunSpec(run_id=run_id, job=job, who="me", created_at=store.now()))
    return job


def parts(store: LocalStore, run_id: str, ended: list[Trial]) -> JobParts:
    return JobParts(
        store=store,
        versions=Versions(store),
        runs=Runs(store),
        run_id=run_id,
        say=lambda sentence: None,
        on_trial=ended.append,
    )


def test_a_job_is_cross_validated_and_a_second_driver_repeats_no_fold(store: LocalStore) -> None:
    ended: list[Trial] = []
    job = asked(store, "three")
    found = evaluate(job, parts(store, "three", ended)).found
    assert isinstance(found, FoldsFigures)
    assert sorted(str(trial.point) for trial in ended) == [f"{{'repeat': 1, 'fold': {n}}}" for n in (1, 2, 3)]
    assert {trial.trial for trial in Runs(store).trials("three")} == {trial.trial for trial in ended}
    accuracies = [trial.metrics["accuracy"] for trial in ended]
    metric = found.metrics["accuracy"]
    assert metric.value == pytest.approx(sum(accuracies) / 3)
    assert 0.85 < metric.low < metric.value < metric.high
    assert metric.method == "corrected t"
    assert told(found).startswith(f"mean over 3 folds: accuracy {metric.value:.4f} (")
    assert found.deviations["accuracy"] > 0
    assert found.rows == 1797 - 360
    before = len(ended)
    assert evaluate(job, parts(store, "three", ended)).found == found
    assert len(ended) == before


def test_folds_of_a_network_of_ones_own_bring_its_code_to_their_tasks(
    store: LocalStore, tmp_path: Path
) -> None:
    own = submitted(store, write_package(tmp_path), training={"epochs": 1})
    job = asked(store, "own", model="mine", job=own, folds=2)
    try:
        found = evaluate(job, parts(store, "own", [])).found
    finally:
        forget()
    assert isinstance(found, FoldsFigures)
    assert 0 < found.metrics["accuracy"].value < 1


def test_a_point_that_fails_is_recorded_with_its_reason_and_the_others_go_on(
    store: LocalStore, tmp_path: Path
) -> None:
    asked(store, "odd")
    points: list[Point] = [{"number": number} for number in (1, 2, 3, 4, 5)]
    book, tried = Runs(store), tmp_path / "tried"

    def function(point: Point) -> Mapping[str, float]:
        """Figures for odd numbers; 2 is an error, and the process of 4 dies as often as it is tried."""
        number = int(str(point["number"]))
        with tried.open("a") as file:
            file.write(f"{number}\n")
        if number == 2:
            raise ValueError("two is even")
        if number == 4:
            os._exit(1)
        return {"number": float(number)}

    first = carry_out_each(function, points[:2], limits=LIMITS, run_id="odd", book=book)
    trials = carry_out_each(function, points, limits=LIMITS, run_id="odd", book=book)
    assert trials[:2] == first
    assert [trial.point for trial in trials] == points, "in the order they were asked"
    errors = {t.point["number"]: t.outcome.error for t in trials if isinstance(t.outcome, Broken)}
    assert errors[2] == "ValueError: two is even"
    assert "its process died; see Ray's logs" in errors[4]
    figures = [t.outcome.metrics for t in trials if isinstance(t.outcome, Finished)]
    assert figures == [{"number": 1.0}, {"number": 3.0}, {"number": 5.0}]
    assert sorted(tried.read_text().split()) == ["1", "2", "3", "4", "4", "5"]


def test_a_fold_that_fails_fails_the_run_and_is_named(store: LocalStore) -> None:
    job = asked(store, "broken", job=DIGITS | {"training": {"class_weights": [1, 2]}})
    with pytest.raises(RunFailed, match=r"fold \d failed: .*class_weights"):
        evaluate(job, parts(store, "broken", []))
