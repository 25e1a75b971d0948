"""Intervals with a formula agree with printed tables and with scipy, and cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from raymaas.evaluate.intervals import mean, proportion, student_quantile, wilson_interval


def test_wilson_interval_is_the_printed_one() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81 of 263, 15 of 148, 0 of 20.
    assert wilson_interval(81, 263, confidence=0.95) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148, confidence=0.95) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20, confidence=0.95) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_wilson_interval_never_leaves_zero_to_one() -> None:
    for trials in (1, 20, 360, 10_000):
        assert wilson_interval(0, trials, confidence=0.95)[0] == 0
        assert wilson_interval(trials, trials, confidence=0.95)[1] == 1


def test_a_share_of_nothing_may_be_anything() -> None:
    found = proportion(0, 0, confidence=0.95)
    assert (found.value, found.low, found.high) == (0, 0, 1)


def test_an_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    found = [mean(draw.exponential(2.0, 200), confidence=0.9) for _ in range(500)]
    assert 0.86 < np.mean([metric.low <= 2.0 <= metric.high for metric in found]) < 0.94


def test_a_mean_does_not_reach_below_what_is_possible() -> None:
    assert mean(np.array([0.0, 0.0, 0.0, 0.1]), confidence=0.95, least=0.0).low == 0
    assert mean(np.array([0.0, 0.0, 0.0, 0.1]), confidence=0.95).low < 0


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 9, 24, 199])
def test_students_quantile_is_scipys(degrees: int) -> None:
    for probability in (0.5, 0.75, 0.975, 0.9995):
        assert student_quantile(probability, degrees) == pytest.approx(student.ppf(probability, degrees))
