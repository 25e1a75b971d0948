"""Two versions by outcomes of different requests: against known figures, and however often one looks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from raymaas.evaluate.online import apart, are_shares, outcome, rows_needed


def shares(hits: int, rows: int) -> np.ndarray:
    return np.array([1.0] * hits + [0.0] * (rows - hits))


def test_the_interval_of_two_shares_is_newcombes() -> None:
    # Newcombe (1998), table II, method 10: 56/70 against 48/80.
    found = apart(shares(48, 80), shares(56, 70), confidence=0.95).difference
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    # And 10/10 against 0/10.
    found = apart(shares(0, 10), shares(10, 10), confidence=0.95).difference
    assert (found.low, found.high) == pytest.approx((0.6075, 1.0), abs=5e-5)


def test_the_p_value_of_two_shares_is_the_pooled_score_tests() -> None:
    table = np.array([[48, 32], [56, 14]])
    known = scipy.stats.chi2_contingency(table, correction=False).pvalue
    assert apart(shares(48, 80), shares(56, 70), confidence=0.95).p_value == pytest.approx(known, rel=1e-9)


@pytest.mark.parametrize(("rows", "more"), [(12, 15), (40, 200), (60, 25)])
def test_means_are_told_apart_as_welch_does(rows: int, more: int) -> None:
    draw = np.random.default_rng(rows)
    first, second = draw.normal(0, 1, rows), draw.normal(0.5, 3, more)
    found = apart(first, second, confidence=0.9)
    known = scipy.stats.ttest_ind(second, first, equal_var=False)
    # Our degrees of freedom are rounded down.
    assert found.p_value == pytest.approx(known.pvalue, rel=0.1)
    low, high = known.confidence_interval(0.9)
    assert found.difference.low == pytest.approx(low, abs=0.02 * (high - low))
    assert found.difference.high == pytest.approx(high, abs=0.02 * (high - low))
    assert found.difference.low <= low
    assert found.difference.high >= high


def test_outcomes_that_never_vary_are_told_apart_or_equal() -> None:
    sevens, eights = np.full(10, 7.0), np.full(10, 8.0)
    found = apart(sevens, eights, confidence=0.95)
    assert found.p_value < 1e-4
    assert found.difference.low < found.difference.value == 1 < found.difference.high
    assert found.anytime.low < 1 < found.anytime.high
    assert apart(sevens, sevens, confidence=0.95).p_value == 1
    assert apart(shares(10, 10), shares(10, 10), confidence=0.95).p_value == 1


def test_an_outcome_of_shares_has_wilsons_interval_and_others_the_normal_one() -> None:
    assert outcome(shares(3, 4), confidence=0.95).method == "wilson"
    assert outcome(np.array([0.5, 2.0]), confidence=0.95).method == "normal"
    assert are_shares(shares(1, 2))
    assert not are_shares(np.array([0.5]))


def test_how_many_rows_a_difference_takes() -> None:
    # Fleiss, without continuity correction and with unpooled variances: 0.6 against 0.8 takes 79 each.
    assert rows_needed(shares(60, 100), shares(80, 100), confidence=0.95) == 79
    assert rows_needed(shares(5, 10), shares(5, 10), confidence=0.95) is None


def looked_at_again_and_again(share: float, *, seed: int, rows: int = 3000) -> tuple[bool, bool]:
    """Whether two equal versions ever look different: by the interval of one look, and by the other."""
    draw = np.random.default_rng(seed)
    first, second = ((draw.random(rows) < share).astype(float) for _ in range(2))
    ever_once = ever_anytime = False
    for seen in range(30, rows + 1, 30):
        found = apart(first[:seen], second[:seen], confidence=0.95)
        ever_once |= not found.difference.low <= 0 <= found.difference.high
        ever_anytime |= not found.anytime.low <= 0 <= found.anytime.high
    return ever_once, ever_anytime


def test_equal_versions_are_rarely_called_different_however_often_one_looks() -> None:
    found = [looked_at_again_and_again(share, seed=seed) for seed in range(60) for share in (0.1, 0.7)]
    once, anytime = (sum(alarms) / len(found) for alarms in zip(*found, strict=True))
    assert anytime <= 0.05
    assert once > 0.15  # What it is for: looking a hundred times at the other goes wrong this often.


def test_a_difference_is_found_by_the_interval_that_may_be_looked_at_often() -> None:
    draw = np.random.default_rng(5)
    first, second = ((draw.random(2000) < share).astype(float) for share in (0.8, 0.9))
    found = apart(first, second, confidence=0.95)
    assert found.anytime.low > 0
    assert found.anytime.low < found.difference.low
    assert math.isfinite(found.p_value)
