"""Classification: figures agree with scikit-learn, intervals hold them, and odd rows are scored and not crashed on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from raymaas.evaluate.classification import brief, score
from raymaas.evaluate.roc import roc_auc

ROWS = 700


def softmax(z_NC: np.ndarray) -> np.ndarray:
    e_NC = np.exp(z_NC - z_NC.max(axis=1, keepdims=True))
    return (e_NC / e_NC.sum(axis=1, keepdims=True)).astype(np.float32)


def drawn(classes: int, *, rows: int = ROWS, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Answers that are often right, on a coarse grid so that there are ties, and labels of which some are rare."""
    draw = np.random.default_rng(3)
    y_N = draw.choice(classes, rows, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    z_NC = draw.normal(size=(rows, classes))
    z_NC[np.arange(rows), y_N] += skill
    return softmax(np.round(z_NC, 1)), y_N


def labels(classes: int) -> tuple[str, ...]:
    return tuple(f"class {c}" for c in range(classes))


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_figures_are_scikit_learns_and_lie_in_their_intervals(classes: int) -> None:
    p_NC, y_N = drawn(classes)
    found = score(p_NC, y_N, labels=labels(classes))
    exact_NC = p_NC.astype(np.float64) / p_NC.astype(np.float64).sum(axis=1, keepdims=True)
    answer_N = p_NC.argmax(axis=1)
    precision, recall, f1, _ = precision_recall_fscore_support(y_N, answer_N, average="macro")
    columns = [1] if classes == 2 else range(classes)
    area = np.mean([roc_auc_score(y_N == c, p_NC[:, c]) for c in columns])
    theirs = {
        "accuracy": accuracy_score(y_N, answer_N),
        "log_loss": log_loss(y_N, exact_NC),
        "roc_auc": area,
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }
    for name, value in theirs.items():
        assert found.metrics[name].value == pytest.approx(value, rel=1e-9), name
    for name, metric in found.metrics.items():
        assert metric.low < metric.value < metric.high, name
        once = found.weighted[name](np.ones((1, ROWS), dtype=np.float32))
        assert once[0] == pytest.approx(metric.value), name
    assert set(found.metrics) == {*theirs, "calibration_error"}
    assert found.per_row["correct"].tolist() == (answer_N == y_N).astype(int).tolist()
    assert found.per_row["log_loss"].mean() == pytest.approx(theirs["log_loss"])


def test_every_metric_of_repeated_rows_is_that_of_weighted_ones() -> None:
    p_NC, y_N = drawn(3, rows=80)
    times_N = np.random.default_rng(1).integers(0, 4, 80)
    repeated = np.repeat(np.arange(80), times_N)
    found = score(p_NC, y_N, labels=labels(3))
    again = score(p_NC[repeated], y_N[repeated], labels=labels(3))
    for name, metric in again.metrics.items():
        weighted = found.weighted[name](times_N[None].astype(np.float32))
        assert weighted[0] == pytest.approx(metric.value, rel=1e-6), name


def test_each_class_has_scikit_learns_figures_and_the_confusion_matrix_is_its_own() -> None:
    p_NC, y_N = drawn(4)
    found = score(p_NC, y_N, labels=labels(4))
    answer_N = p_NC.argmax(axis=1)
    theirs = np.array(precision_recall_fscore_support(y_N, answer_N)).T
    for figures, (precision, recall, f1, rows) in zip(found.classes, theirs, strict=True):
        assert figures.rows == rows
        values = (figures.precision.value, figures.recall.value, figures.f1.value)
        assert values == pytest.approx((precision, recall, f1))
        assert figures.f1.low < f1 < figures.f1.high
        assert (figures.precision.method, figures.f1.method) == ("wilson", "bca")
    np.testing.assert_array_equal(found.confusion, confusion_matrix(y_N, answer_N))
    assert [figures.label for figures in found.classes] == list(labels(4))


def test_the_reliability_table_is_scikit_learns_and_the_calibration_error_follows_from_it() -> None:
    p_NC, y_N = drawn(3)
    found = score(p_NC, y_N, labels=labels(3))
    confidence_N = p_NC.astype(np.float64).max(axis=1)
    right_N = p_NC.argmax(axis=1) == y_N
    accuracy_B, probability_B = calibration_curve(right_N, confidence_N, n_bins=15)
    np.testing.assert_allclose([b.accuracy for b in found.reliability], accuracy_B)
    np.testing.assert_allclose([b.probability for b in found.reliability], probability_B, rtol=1e-6)
    assert sum(b.rows for b in found.reliability) == ROWS
    by_hand = sum(b.rows * abs(b.accuracy - b.probability) for b in found.reliability) / ROWS
    assert found.metrics["calibration_error"].value == pytest.approx(by_hand)
    assert all(b.above < b.probability <= b.up_to for b in found.reliability)


def test_delongs_interval_is_the_one_computed_from_all_pairs() -> None:
    p_NC, y_N = drawn(2, rows=60)
    own, others = p_NC[y_N == 1, 1].astype(float), p_NC[y_N == 0, 1].astype(float)
    wins = (own[:, None] > others).astype(float) + 0.5 * (own[:, None] == others)
    variance = wins.mean(axis=1).var(ddof=1) / len(own) + wins.mean(axis=0).var(ddof=1) / len(others)
    found = roc_auc(p_NC.astype(float), y_N, confidence=0.95)
    assert found is not None
    area = wins.mean()
    logit = np.log(area / (1 - area)) + np.array([-1, 1]) * 1.959964 * np.sqrt(variance) / (area * (1 - area))
    assert found.value == pytest.approx(area)
    assert (found.low, found.high) == pytest.approx(tuple(1 / (1 + np.exp(-logit))), rel=1e-6)


def test_an_area_of_one_is_not_certain() -> None:
    p_N = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9, 0.95])
    found = roc_auc(np.stack([1 - p_N, p_N], axis=1), np.array([0, 0, 0, 1, 1, 1, 1]), confidence=0.95)
    assert found is not None
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(3 / (3 + 1.959964**2)), "Wilson's lower end of 3 of 3"


def test_rows_of_one_class_have_no_area_and_a_class_without_rows_is_left_out_of_the_means() -> None:
    p_NC, y_N = drawn(3)
    only = score(p_NC[y_N == 2], y_N[y_N == 2], labels=labels(3))
    assert "roc_auc" not in only.metrics
    assert "roc_auc" not in only.weighted
    two = (y_N != 0) & (p_NC.argmax(axis=1) != 0)
    without = score(p_NC[two], y_N[two], labels=labels(3))
    theirs = precision_recall_fscore_support(y_N[two], p_NC[two].argmax(axis=1), average="macro")
    assert without.metrics["f1"].value == pytest.approx(theirs[2])
    assert without.classes[0].rows == 0
    assert (without.classes[0].recall.low, without.classes[0].recall.high) == (0, 1)


def test_a_single_row_is_scored() -> None:
    found = score(np.float32([[0.2, 0.8]]), np.array([1]), labels=("no", "yes"))
    assert found.metrics["accuracy"].value == found.metrics["f1"].value == 1
    assert found.metrics["accuracy"].low == pytest.approx(1 / (1 + 1.959964**2))


def test_a_certain_mistake_costs_much_but_not_infinity() -> None:
    found = score(np.tile(np.float32([1, 0]), (4, 1)), np.array([0, 0, 0, 1]), labels=("a", "b"))
    assert found.per_row["correct"].tolist() == [1, 1, 1, 0]
    assert 5 < found.metrics["log_loss"].value < 15
    assert found.baselines == {"the most frequent class": {"accuracy": 0.75}}


def test_of_very_many_classes_none_is_listed() -> None:
    p_NC, y_N = drawn(101, rows=300, skill=5)
    found = score(p_NC, y_N, labels=labels(101))
    assert (found.classes, found.confusion) == ((), ())
    assert found.metrics["f1"].value > 0.5
    assert len(found.reliability) > 1


def test_brief_figures_are_the_same_without_those_of_the_bootstrap() -> None:
    p_NC, y_N = drawn(3)
    few = brief(p_NC, y_N)
    assert set(few) == {"accuracy", "log_loss", "roc_auc"}
    whole = score(p_NC, y_N, labels=labels(3)).metrics
    assert all(whole[name] == metric for name, metric in few.items())


def test_the_macro_f1_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    answer_probabilities = np.array([[0.8, 0.15, 0.05], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])
    shares = np.array([0.5, 0.3, 0.2])
    joint = shares[:, None] * answer_probabilities
    truth = (2 * np.diag(joint) / (joint.sum(axis=0) + joint.sum(axis=1))).mean()
    draw, covered = np.random.default_rng(0), []
    for _ in range(150):
        cell_N = draw.choice(9, 250, p=joint.ravel())
        found = score(np.eye(3)[cell_N % 3], cell_N // 3, labels=labels(3)).metrics["f1"]
        covered.append(found.low <= truth <= found.high)
    assert 0.89 < np.mean(covered) < 0.99
