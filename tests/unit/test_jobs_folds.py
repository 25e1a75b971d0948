"""Cross-validation, fold by fold and without Ray: who is held out, what is fitted on what, what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_examples import DIGITS, table

from raymaas.data.dataset import Dataset, prepare
from raymaas.data.split import split
from raymaas.errors import InvalidInput
from raymaas.jobs.folds import FoldTraining, begin
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.jobs import TrainJob
from raymaas.store import LocalStore


def job_of(fields: dict[str, Any]) -> TrainJob:
    return TrainJob.parse(fields, source="job")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def held_out(job: TrainJob, dataset: Dataset, *, repeat: int = 1, count: int = 4) -> list[np.ndarray]:
    numbers = range(1, count + 1)
    return [begin(job, dataset, count=count, repeat=repeat, number=n).parts.test.id_N for n in numbers]


def test_folds_hold_each_row_once_but_the_jobs_test_rows_never(store: LocalStore) -> None:
    job = job_of(DIGITS)
    dataset = prepare(store, job.data)
    test_N = split(dataset, job.split).test.id_N
    made = held_out(job, dataset)
    assert sorted([*np.concatenate(made).tolist(), *test_N.tolist()]) == sorted(dataset.rows.id_N.tolist())
    again = held_out(job, dataset)
    other = held_out(job, dataset, repeat=2)
    assert all((a == b).all() for a, b in zip(made, again, strict=True))
    assert any(set(a) != set(b) for a, b in zip(made, other, strict=True))
    shares = [np.bincount(dataset.rows.y_N[np.isin(dataset.rows.id_N, ids)]) / len(ids) for ids in made]
    assert np.ptp(shares, axis=0).max() < 0.01, "equal shares of the classes"


def test_rows_for_training_validation_and_scoring_are_apart(store: LocalStore) -> None:
    dataset = prepare(store, job_of(DIGITS).data)
    parts = begin(job_of(DIGITS), dataset, count=5, repeat=1, number=2).parts
    ids = [set(rows.id_N.tolist()) for rows in (parts.train, parts.validation, parts.test)]
    rows = sum(len(part) for part in ids)
    assert len(set().union(*ids)) == rows
    assert len(ids[2]) / rows == pytest.approx(0.2, abs=0.01)
    assert len(ids[1]) / rows == pytest.approx(0.15, abs=0.02)


def test_groups_stay_together_and_transforms_are_fitted_without_the_fold(
    store: LocalStore, tmp_path: Path
) -> None:
    job = job_of(table(tmp_path / "people.csv") | {"split": {"group": "patient"}})
    dataset = prepare(store, job.data)
    begun = [begin(job, dataset, count=4, repeat=1, number=n).parts for n in (1, 2, 3, 4)]
    for parts in begun:
        groups = [set(rows.kept["patient"]) for rows in (parts.train, parts.validation, parts.test)]
        assert len(set().union(*groups)) == sum(len(group) for group in groups)
        # Standardized by the training rows themselves: theirs alone have mean 0 and deviation 1.
        np.testing.assert_allclose(parts.train.x_ND[:, 1].mean(), 0, atol=1e-5)
        np.testing.assert_allclose(parts.train.x_ND[:, 1].std(), 1, atol=1e-3)
        assert abs(parts.test.x_ND[:, 1].mean()) > 1e-4


def test_a_fold_is_trained_with_a_seed_of_its_own_and_scored_on_rows_it_did_not_see(
    store: LocalStore,
) -> None:
    job = job_of(DIGITS)
    dataset = prepare(store, job.data)
    train = FoldTraining(job, 4, store.url, dataset.card.name, dataset.card.fingerprint)
    figures = train({"repeat": 1, "fold": 1})
    assert figures == train({"repeat": 1, "fold": 1})
    assert {"accuracy", "log_loss", "f1", "roc_auc", "calibration_error"} <= set(figures)
    assert 0.85 < figures["accuracy"] < 1
    assert figures != train({"repeat": 2, "fold": 1})


def test_folds_that_would_train_on_later_rows_are_refused(store: LocalStore, tmp_path: Path) -> None:
    fields = table(tmp_path / "people.csv")
    job = job_of(fields | {"split": {"time": "patient"}})
    with pytest.raises(InvalidInput, match=r"leave split\.time \('patient'\) out, or evaluate by test rows"):
        begin(job, prepare(store, job.data), count=4, repeat=1, number=1)


def test_folds_begin_with_fresh_weights(store: LocalStore) -> None:
    job = job_of(DIGITS | {"init_from": "digits@1"})
    with pytest.raises(InvalidInput, match="digits@1 may have learned from rows that a fold holds out"):
        begin(job, prepare(store, job.data), count=4, repeat=1, number=1)


def test_a_limit_that_no_fold_would_keep_is_refused(store: LocalStore) -> None:
    job = job_of(DIGITS | {"budget": {"hours": 1}})
    with pytest.raises(InvalidInput, match="no fold is stopped by a budget; leave it out"):
        begin(job, prepare(store, job.data), count=4, repeat=1, number=1)


def test_a_job_that_is_no_training_or_of_another_model_is_refused() -> None:
    folds = {"by": "folds", "job": {"kind": "compress"}}
    with pytest.raises(InvalidInput, match="trained by a train job, not by a 'compress' job"):
        EvaluateJob.parse({"model": "digits", "how": folds}, source="job")
    with pytest.raises(InvalidInput, match="how measures 'digits', but model says 'wine'"):
        EvaluateJob.parse({"model": "wine", "how": {"by": "data", "version": "digits@1"}}, source="job")
    with pytest.raises(InvalidInput, match="'digits@x y' is not a reference"):
        EvaluateJob.parse({"model": "digits", "how": {"by": "data", "version": "digits@x y"}}, source="job")
