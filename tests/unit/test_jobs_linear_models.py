"""The linear models' job files give what scikit-learn gives on the same rows, standardized the same way."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from raymaas.client.jobfile import read_job
from raymaas.data.dataset import prepare
from raymaas.data.split import Parts, split
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.models import own
from raymaas.specs.jobs import TrainJob
from raymaas.store import MemoryStore
from raymaas.train.loop import fit
from raymaas.train.world import World

FOLDER = Path(__file__).parents[2] / "jobs"


def carried_out(name: str) -> tuple[Parts, Parts, np.ndarray, np.ndarray]:
    """The rows as clients send them and as the network takes them, and its weights and biases."""
    job = read_job(FOLDER / f"{name}.yaml")
    assert isinstance(job, TrainJob)
    dataset = prepare(MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC)), job.data)
    raw = split(dataset, job.split)
    transforms = fit_transforms(job.transforms, raw.train, dataset.card)
    rows = transforms.ready(raw)
    architecture = own.resolve(job.architecture, transforms.facts(dataset.card))
    fitted = fit(partial(own.build, architecture), job.training, parts=rows, world=World.single())
    weights = {key: value.numpy().astype(np.float64) for key, value in fitted.best_weights.items()}
    return raw, rows, weights["linear.weight"], weights["linear.bias"]


def test_logistic_regression_finds_the_coefficients_of_scikit_learns_pipeline():
    raw, _, weight_CD, bias_C = carried_out("train_breast_cancer_logistic")
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=1, tol=1e-10, max_iter=10_000))
    theirs.fit(raw.train.x_ND.astype(np.float64), raw.train.y_N)
    np.testing.assert_allclose(weight_CD[1] - weight_CD[0], theirs[-1].coef_[0], atol=1e-3)
    np.testing.assert_allclose(bias_C[1] - bias_C[0], theirs[-1].intercept_[0], atol=1e-3)


def test_the_linear_svm_reaches_the_objective_of_scikit_learn():
    _, rows, weight_CD, bias_C = carried_out("train_breast_cancer_linear_svm")
    x_ND, sign_N = rows.train.x_ND.astype(np.float64), 2 * rows.train.y_N - 1

    def objective(weight_D: np.ndarray, bias: float) -> float:
        return float(weight_D @ weight_D / 2 + np.maximum(0, 1 - sign_N * (x_ND @ weight_D + bias)).sum())

    theirs = SVC(kernel="linear", C=1, tol=1e-8).fit(x_ND, sign_N)
    best = objective(theirs.coef_[0], theirs.intercept_[0])
    assert best * (1 - 1e-6) <= objective(weight_CD[1], bias_C[1]) <= best * 1.001
    answers_N = rows.test.x_ND @ (weight_CD[1] - weight_CD[0]) + bias_C[1] - bias_C[0] > 0
    np.testing.assert_array_equal(answers_N, theirs.predict(rows.test.x_ND) > 0)
