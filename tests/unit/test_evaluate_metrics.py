"""Evaluation: figures agree with scikit-learn and with printed tables, and bad answers are not scored."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from raymaas.data.rows import Rows
from raymaas.errors import RunFailed
from raymaas.evaluate.metrics import evaluate, wilson_interval


def softmax(logits_NC: np.ndarray) -> np.ndarray:
    e_NC = np.exp(logits_NC)
    return (e_NC / e_NC.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rows() -> Rows:
    generator = np.random.default_rng(3)
    x_ND = generator.normal(size=(700, 3)).astype(np.float32)
    return Rows(x_ND=x_ND, y_N=generator.integers(0, 3, 700), id_N=np.arange(1000, 1700))


def test_figures_are_scikit_learns_and_lie_in_their_intervals(rows):
    metrics, correct_N = evaluate(softmax, rows, classes=3)
    p_NC = softmax(rows.x_ND).astype(np.float64)
    assert metrics["accuracy"].value == accuracy_score(rows.y_N, p_NC.argmax(axis=1))
    assert metrics["log_loss"].value == pytest.approx(
        log_loss(rows.y_N, p_NC / p_NC.sum(axis=1, keepdims=True)), rel=1e-9
    )
    assert correct_N.dtype == np.uint8
    assert correct_N.tolist() == (p_NC.argmax(axis=1) == rows.y_N).astype(int).tolist()
    for metric in metrics.values():
        assert metric.low < metric.value < metric.high


def test_the_model_sees_bounded_batches_in_order(rows):
    seen = []

    def predict(x_BD: np.ndarray) -> np.ndarray:
        seen.append(x_BD)
        return softmax(x_BD)

    evaluate(predict, rows, classes=3)
    assert max(len(x_BD) for x_BD in seen) <= 256
    np.testing.assert_array_equal(np.concatenate(seen), rows.x_ND)


def test_wilson_interval_is_the_printed_one():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20.
    assert wilson_interval(81, 263, confidence=0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148, confidence=0.95) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20, confidence=0.95) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_wilson_interval_never_leaves_zero_to_one():
    for trials in (1, 20, 360, 10_000):
        assert wilson_interval(0, trials, confidence=0.95)[0] == 0
        assert wilson_interval(trials, trials, confidence=0.95)[1] == 1


def test_an_interval_for_the_log_loss_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    p = 0.8
    truth = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    covered = 0
    for _ in range(400):
        y_N = (generator.random(200) > p).astype(np.int64)
        rows = Rows(x_ND=np.zeros((200, 1), np.float32), y_N=y_N, id_N=np.arange(200))
        metrics, _ = evaluate(lambda x_BD: np.tile(np.float32([p, 1 - p]), (len(x_BD), 1)), rows, classes=2)
        covered += metrics["log_loss"].low <= truth <= metrics["log_loss"].high
    assert 0.91 < covered / 400 < 0.985


def test_a_certain_mistake_costs_much_but_not_infinity():
    rows = Rows(x_ND=np.zeros((4, 1), np.float32), y_N=np.array([0, 0, 0, 1]), id_N=np.arange(4))
    metrics, correct_N = evaluate(lambda x_BD: np.tile(np.float32([1, 0]), (len(x_BD), 1)), rows, classes=2)
    assert correct_N.tolist() == [1, 1, 1, 0]
    assert 5 < metrics["log_loss"].value < 15


def test_an_answer_that_is_no_number_is_not_scored(rows):
    def predict(x_BD: np.ndarray) -> np.ndarray:
        p_BC = softmax(x_BD)
        p_BC[1, 0] = np.nan
        return p_BC

    with pytest.raises(RunFailed, match="answer for row 1001 is not a number"):
        evaluate(predict, rows, classes=3)
    with pytest.raises(RunFailed, match=r"answered shape \(700, 3\) where \(700, 4\) was expected"):
        evaluate(softmax, rows, classes=4)
