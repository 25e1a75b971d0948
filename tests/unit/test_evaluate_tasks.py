"""Regression, language, density and adversarial figures: scikit-learn's and gzip's, and answers that are not scored."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Mapping

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

from raymaas.errors import RunFailed
from raymaas.evaluate import adversarial, density, language, regression
from raymaas.evaluate.answers import answers


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    y_N = draw.normal(150, 70, 300).astype(np.float32)
    return (y_N + draw.normal(0, 50, 300)).astype(np.float32), y_N


def test_regression_figures_are_scikit_learns_and_lie_in_their_intervals(
    numbers: tuple[np.ndarray, np.ndarray],
) -> None:
    prediction_N, y_N = numbers
    found = regression.score(prediction_N, y_N, constant=140.0)
    theirs = {
        "mse": mean_squared_error(y_N, prediction_N),
        "rmse": root_mean_squared_error(y_N, prediction_N),
        "mae": mean_absolute_error(y_N, prediction_N),
        "r2": r2_score(y_N, prediction_N),
    }
    assert set(found.metrics) == set(theirs)
    for name, value in theirs.items():
        metric = found.metrics[name]
        assert metric.value == pytest.approx(value, rel=1e-5), name
        assert metric.low < metric.value < metric.high, name
        once = found.weighted[name](np.ones((1, 300), dtype=np.float32))
        assert once[0] == pytest.approx(metric.value, rel=1e-5)
    assert (found.metrics["mse"].method, found.metrics["r2"].method) == ("normal", "bca")


def test_the_mean_predictor_stands_beside_a_regression(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    prediction_N, y_N = numbers
    dummy = DummyRegressor(strategy="constant", constant=140.0).fit(y_N[:, None], y_N)
    baseline = regression.score(prediction_N, y_N, constant=140.0).baselines["the mean of the training rows"]
    assert baseline["rmse"] == pytest.approx(root_mean_squared_error(y_N, dummy.predict(y_N[:, None])))
    assert baseline["r2"] == pytest.approx(dummy.score(y_N[:, None], y_N), abs=1e-6)
    assert baseline["mae"] == pytest.approx(np.abs(y_N - 140).mean())


def test_rows_with_one_and_the_same_truth_explain_no_variance() -> None:
    found = regression.score(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0]), constant=2.0)
    assert set(found.metrics) == {"mse", "rmse", "mae"}
    assert found.baselines == {"the mean of the training rows": {"mse": 0, "rmse": 0, "mae": 0}}


def test_a_brief_regression_has_the_same_rmse(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    few = regression.brief(*numbers)
    assert set(few) == {"rmse"}
    ours, theirs = few["rmse"], regression.score(*numbers).metrics["rmse"]
    assert (ours.value, ours.low, ours.high) == pytest.approx(
        (theirs.value, theirs.low, theirs.high), rel=0.05
    )


def test_bits_per_byte_stand_beside_what_compressors_need_for_the_same_bytes() -> None:
    text = b"the quick brown fox jumps over the lazy dog. " * 40
    x_NT = np.frombuffer(text, np.uint8).reshape(3, -1).astype(np.float32)
    found = language.score(np.array([2.0, 3.0, 1.0]), [x_NT[:1], x_NT[1:]])
    assert found.metrics["bits_per_byte"].value == pytest.approx(2)
    gzipped, xzipped = (figures["bits_per_byte"] for figures in found.baselines.values())
    assert gzipped == 8 * len(gzip.compress(text, 9)) / len(text)
    assert xzipped == 8 * len(lzma.compress(text, preset=9)) / len(text)


def test_binary_rows_are_drawn_with_the_chance_that_a_value_is_and_alike_each_time() -> None:
    x_ND = np.broadcast_to(np.float32([0, 64, 255]), (4000, 3))
    drawn_ND = density.binarised(x_ND, scale=1 / 255, draw=density.draws())
    assert set(np.unique(np.round(drawn_ND, 3))) == {0, 255}
    assert (drawn_ND > 0).mean(axis=0) == pytest.approx([0, 64 / 255, 1], abs=0.02)
    draw = density.draws()
    blocks = [density.binarised(some_ND, scale=1 / 255, draw=draw) for some_ND in (x_ND[:1000], x_ND[1000:])]
    np.testing.assert_array_equal(drawn_ND, np.concatenate(blocks))


def test_elbo_is_the_mean_in_nats() -> None:
    elbo_N = np.random.default_rng(0).normal(-100, 10, 400)
    found = density.score(elbo_N).metrics["elbo"]
    assert found.value == pytest.approx(elbo_N.mean())
    assert found.high - found.low == pytest.approx(2 * 1.959964 * elbo_N.std(ddof=1) / 20)


def test_a_discriminator_is_scored_on_how_many_real_rows_it_takes_for_real() -> None:
    found = adversarial.score(np.array([0.9, 0.6, 0.5, 0.1])).metrics
    assert found["accuracy_on_data"].value == 0.5
    assert found["real"].value == pytest.approx(0.525)


def test_the_model_sees_bounded_batches_in_order() -> None:
    x_ND, seen = np.random.default_rng(0).normal(size=(700, 3)), []

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(inputs["x"])
        return {"sum": inputs["x"].sum(axis=1), "more": inputs["x"]}

    found = answers(run, {"x": x_ND}, row_N=np.arange(700), output="sum")
    np.testing.assert_array_equal(found, x_ND.sum(axis=1))
    assert max(len(x_BD) for x_BD in seen) <= 256
    np.testing.assert_array_equal(np.concatenate(seen), x_ND)


def test_answers_that_cannot_be_scored_are_refused_naming_the_row() -> None:
    x_ND, row_N = np.ones((5, 2)), np.arange(100, 105)

    def broken(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        out = inputs["x"].copy()
        out[3, 1] = np.nan
        return {"p": out}

    with pytest.raises(RunFailed, match="answer for row 103 is not a number"):
        answers(broken, {"x": x_ND}, row_N=row_N, output="p")
    with pytest.raises(RunFailed, match="answers no 'elbo'; it answers p"):
        answers(broken, {"x": x_ND}, row_N=row_N, output="elbo")
    with pytest.raises(RunFailed, match="4 answers for 5 rows"):
        answers(lambda inputs: {"p": inputs["x"][1:]}, {"x": x_ND}, row_N=row_N, output="p")
