"""The bootstrap agrees with scipy's, says the same for the same seed, and covers the truth as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from raymaas.evaluate.bootstrap import resample, side_by_side
from raymaas.evaluate.scored import Weighted, mean_of


def spread_of(values_N: np.ndarray) -> Weighted:
    """The standard deviation, whose bootstrap is biased and skewed."""

    def weighted(w_RN: np.ndarray) -> np.ndarray:
        first_R, second_R = (w_RN @ np.stack([values_N, values_N**2], axis=1) / len(values_N)).T
        return np.sqrt(np.maximum(second_R - first_R**2, 0))

    return weighted


def test_bca_is_scipys_but_for_what_is_drawn() -> None:
    values_N = np.random.default_rng(4).exponential(1.0, 60)
    (ours,) = resample(side_by_side(spread_of(values_N)), 60, resamples=20_000)
    found = ours.bca(confidence=0.9)
    theirs = bootstrap(
        (values_N,), np.std, confidence_level=0.9, n_resamples=20_000, vectorized=True, rng=5
    ).confidence_interval
    assert found.value == pytest.approx(values_N.std())
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    plain = np.quantile(ours.drawn_R, [0.05, 0.95])
    assert abs(plain[1] - found.high) > 0.05, "the percentile interval would not have passed"


def test_leaving_out_groups_of_rows_tells_as_much_of_the_skewness_as_leaving_out_single_ones() -> None:
    values_N = np.random.default_rng(4).exponential(1.0, 4000)
    (grouped,) = resample(side_by_side(mean_of(values_N)), 4000, resamples=50)
    influence_N = values_N - values_N.mean()
    exact = (influence_N**3).sum() / (6 * (influence_N**2).sum() ** 1.5)
    left = grouped.left_out_G.mean() - grouped.left_out_G
    assert (left**3).sum() / (6 * (left**2).sum() ** 1.5) == pytest.approx(exact, abs=0.01)


def test_the_same_seed_gives_the_same_interval_and_metrics_share_their_resamples() -> None:
    values_N = np.random.default_rng(0).normal(size=300)
    metrics = side_by_side(mean_of(values_N), mean_of(2 * values_N + 1))
    one, two = resample(metrics, 300, seed=3)
    again, _ = resample(metrics, 300, seed=3)
    other, _ = resample(metrics, 300, seed=4)
    np.testing.assert_array_equal(one.drawn_R, again.drawn_R)
    assert (one.drawn_R != other.drawn_R).any()
    np.testing.assert_allclose(two.drawn_R, 2 * one.drawn_R + 1)


def test_many_rows_are_drawn_in_blocks_and_all_resamples_are_there() -> None:
    seen: list[int] = []

    def count(w_RN: np.ndarray) -> np.ndarray:
        seen.append(len(w_RN))
        assert (w_RN.sum(axis=1) <= 1_000_000).all()
        return w_RN[:, :1].astype(np.float64)

    (one,) = resample(count, 1_000_000, resamples=6)
    assert len(one.drawn_R) == 6
    assert max(seen) <= 4


def test_a_metric_that_never_changes_has_no_width() -> None:
    (one,) = resample(side_by_side(mean_of(np.ones(50))), 50)
    found = one.bca(confidence=0.95)
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_resamples_without_the_metric_are_passed_over() -> None:
    def sometimes(w_RN: np.ndarray) -> np.ndarray:
        return np.where(w_RN[:, 0] == 0, np.nan, w_RN[:, 1].astype(np.float64))[:, None]

    (one,) = resample(sometimes, 40)
    found = one.bca(confidence=0.9)
    assert np.isfinite([found.low, found.high]).all()
    assert found.high >= 2


@pytest.mark.parametrize("truth", [0.01, 0.03])
def test_the_interval_of_a_sum_of_absolute_differences_covers_a_truth_that_others_miss(truth: float) -> None:
    """Twelve bins with the same true gap: noise of the rows adds to it, and that of resamples once more."""
    rows, bins, draw, ours, theirs = 600, 12, np.random.default_rng(2), [], []
    for _ in range(60):
        gap_NB = np.zeros((rows, bins))
        gap_NB[np.arange(rows), np.arange(rows) % bins] = truth + 0.2 * draw.normal(size=rows)
        (one,) = resample(
            lambda w_RN, gap_NB=gap_NB: np.abs(w_RN @ gap_NB).sum(axis=1)[:, None] / rows, rows, resamples=400
        )
        found, plain = one.of_distances(confidence=0.95), one.bca(confidence=0.95)
        assert 0 <= found.low <= found.value <= found.high
        ours.append(found.low <= truth <= found.high)
        theirs.append(plain.low <= truth <= plain.high)
    assert np.mean(ours) > 0.93
    assert np.mean(theirs) < 0.85
