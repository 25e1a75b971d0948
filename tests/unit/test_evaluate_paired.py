"""The paired difference: published values, the score test turned round by brute force, its coverage, its rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.errors import InvalidInput
from raymaas.evaluate.paired import RowOutcomes, paired_difference, tango_interval


def outcomes(rows: list[int], correct: list[int]) -> RowOutcomes:
    return RowOutcomes(np.array(rows, dtype=np.int64), np.array(correct, dtype=np.uint8))


def test_a_published_interval() -> None:
    # Airway hyper-responsiveness before and after transplantation, (1, 1, 7, 12) in Fagerland, Lydersen,
    # Laake, Recommended tests and confidence intervals for paired binomial proportions (2014), table V.
    low, high = tango_interval(1, 7, 21, confidence=0.95)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(("gained", "lost", "rows"), [(3, 4, 360), (0, 5, 40), (12, 2, 50), (9, 9, 20)])
def test_the_ends_are_where_the_score_test_just_rejects(gained: int, lost: int, rows: int) -> None:
    """The test's variance is taken from the likelihood, maximised over a fine grid instead of solved."""
    z = NormalDist().inv_cdf(0.975)
    for end, sign in zip(tango_interval(gained, lost, rows, confidence=0.95), (1, -1), strict=True):
        shares = np.linspace(max(0.0, -end), (1 - end) / 2, 2_000_001)[1:-1]
        gains, rest = shares + end, 1 - 2 * shares - end
        likelihood = gained * np.log(gains) + lost * np.log(shares) + (rows - gained - lost) * np.log(rest)
        variance = rows * (2 * shares[np.argmax(likelihood)] + end * (1 - end))
        assert (gained - lost - rows * end) / math.sqrt(variance) == pytest.approx(sign * z, abs=1e-3)


def test_versions_that_agree_everywhere_are_told_apart_to_what_the_rows_resolve() -> None:
    z2 = NormalDist().inv_cdf(0.975) ** 2
    assert tango_interval(0, 0, 360, confidence=0.95) == pytest.approx((-z2 / (360 + z2), z2 / (360 + z2)))


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60), st.floats(0.5, 0.999))
@settings(max_examples=200)
def test_it_holds_what_was_found_mirrors_and_grows_with_the_confidence(
    rows: int, gained: int, lost: int, confidence: float
) -> None:
    gained = min(gained, rows)
    lost = min(lost, rows - gained)
    low, high = tango_interval(gained, lost, rows, confidence=confidence)
    assert -1 <= low <= (gained - lost) / rows <= high <= 1
    assert tango_interval(lost, gained, rows, confidence=confidence) == pytest.approx((-high, -low))
    wider_low, wider_high = tango_interval(gained, lost, rows, confidence=(1 + confidence) / 2)
    assert wider_low <= low + 1e-12
    assert high - 1e-12 <= wider_high


@pytest.mark.parametrize(("p_gain", "p_loss"), [(0.05, 0.05), (0.1, 0.02), (0.02, 0.1), (0.3, 0.2)])
def test_it_covers_the_truth_as_often_as_it_says(p_gain: float, p_loss: float) -> None:
    """Over all outcomes of 60 rows, each with its probability: no simulation."""
    rows, covered = 60, 0.0
    for gained, lost in product(range(rows + 1), repeat=2):
        if gained + lost > rows:
            continue
        ways = math.comb(rows, gained) * math.comb(rows - gained, lost)
        chance = ways * p_gain**gained * p_loss**lost * (1 - p_gain - p_loss) ** (rows - gained - lost)
        if chance > 1e-9:
            low, high = tango_interval(gained, lost, rows, confidence=0.95)
            covered += chance * (low <= p_gain - p_loss <= high)
    assert 0.93 < covered < 0.985


def test_rows_are_paired_by_name_and_not_by_place() -> None:
    candidate = outcomes([3, 1, 2, 4], [1, 1, 0, 1])
    current = outcomes([1, 2, 3, 4], [0, 1, 1, 0])
    found = paired_difference(candidate, current, confidence=0.9)
    assert (found.value, found.confidence, found.method) == (0.25, 0.9, "tango")
    assert (found.low, found.high) == tango_interval(2, 1, 4, confidence=0.9)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: outcomes([1, 2, 4], [1, 1, 1]), "with 2 in common"),
        (lambda: outcomes([1, 2], [1, 1]), "of the same rows: 3 and 2"),
        (lambda: outcomes([], []), "with 0 in common"),
    ],
)
def test_other_rows_are_refused(other: Callable[[], RowOutcomes], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        paired_difference(outcomes([1, 2, 3], [1, 0, 1]), other(), confidence=0.95)


def test_a_row_that_counts_twice_is_refused() -> None:
    twice = outcomes([1, 1, 2], [1, 0, 1])
    with pytest.raises(InvalidInput, match="a row twice"):
        paired_difference(twice, twice, confidence=0.95)
