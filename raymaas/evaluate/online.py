"""Two versions by the outcomes of different requests: which is better, and whether that may be said by now.

Outcomes of requests that were divided by chance are independent samples. Legend: N, M rows of the two.

Sources. Shares: R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in
Medicine 17 (1998), 873-890, method 10, and the pooled score test. Means: Welch's t (1947). Intervals that hold at every
look at once: I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, Time-uniform central limit theory and
asymptotic confidence sequences, Annals of Statistics 52 (2024), of each mean with half of alpha.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from raymaas.evaluate.intervals import mean, proportion, student_cdf, student_quantile
from raymaas.specs.evaluation import Metric

LEAST_ROWS = 30
"""Of each version: below it, limits that hold for many rows are not asked."""
_POWER = 0.8
_MOST_DEGREES = 10_000  # Student's t is as good as normal, and takes time in proportion
_TUNED_TO = 500  # rows at which an anytime interval is tightest


@dataclass(frozen=True)
class Apart:
    """How far the second is from the first."""

    difference: Metric
    anytime: Metric
    p_value: float


def are_shares(values_N: np.ndarray) -> bool:
    """Whether each value is 0 or 1."""
    return bool(np.isin(values_N, (0.0, 1.0)).all())


def outcome(values_N: np.ndarray, *, confidence: float) -> Metric:
    """The mean of one version's outcomes, of which there is one at least; Wilson's interval where they are shares."""
    if are_shares(values_N):
        return proportion(int(values_N.sum()), len(values_N), confidence=confidence)
    return mean(values_N, confidence=confidence)


def apart(first_N: np.ndarray, second_M: np.ndarray, *, confidence: float) -> Apart:
    """The mean of the second minus that of the first. Each has two values at least."""
    value = float(second_M.mean() - first_N.mean())
    if are_shares(first_N) and are_shares(second_M):
        low, high, p_value = _shares_apart(first_N, second_M, confidence=confidence)
        method = "newcombe"
    else:
        low, high, p_value = _means_apart(first_N, second_M, confidence=confidence)
        method = "welch"
    difference = Metric(value=value, low=low, high=high, confidence=confidence, method=method)
    reach = sum(
        _anytime_half(values_N, confidence=confidence) for values_N in _with_one_more(first_N, second_M)
    )
    anytime = Metric(
        value=value,
        low=value - reach,
        high=value + reach,
        confidence=confidence,
        method="asymptotic confidence sequence",
    )
    return Apart(difference, anytime, p_value)


def rows_needed(first_N: np.ndarray, second_M: np.ndarray, *, confidence: float) -> int | None:
    """Rows of each version that one look needs to find the difference seen so far four times in five; None for none."""
    value = float(second_M.mean() - first_N.mean())
    if value == 0:
        return None
    normal = NormalDist()
    reach = normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(_POWER)
    return math.ceil(reach**2 * float(first_N.var() + second_M.var()) / value**2) or None


def _shares_apart(
    first_N: np.ndarray, second_M: np.ndarray, *, confidence: float
) -> tuple[float, float, float]:
    k, n, j, m = int(first_N.sum()), len(first_N), int(second_M.sum()), len(second_M)
    ours, theirs = proportion(j, m, confidence=confidence), proportion(k, n, confidence=confidence)
    value = ours.value - theirs.value
    below = math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    above = math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    pooled = (k + j) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    p_value = 2 * NormalDist().cdf(-abs(value) / spread) if spread else 1.0
    return value - below, value + above, p_value


def _means_apart(
    first_N: np.ndarray, second_M: np.ndarray, *, confidence: float
) -> tuple[float, float, float]:
    value = float(second_M.mean() - first_N.mean())
    if not (first_N.var() and second_M.var()):
        first_N, second_M = _with_one_more(first_N, second_M)
    n, m = len(first_N), len(second_M)
    shares = float(first_N.var(ddof=1)) / n, float(second_M.var(ddof=1)) / m
    spread = math.sqrt(sum(shares))
    if spread == 0:
        return value, value, 1.0 if value == 0 else 0.0
    # Welch and Satterthwaite's degrees of freedom, rounded down, which errs on the side of doubt.
    degrees = sum(shares) ** 2 / (shares[0] ** 2 / (n - 1) + shares[1] ** 2 / (m - 1))
    whole = max(1, math.floor(min(degrees, _MOST_DEGREES)))
    half = student_quantile((1 + confidence) / 2, whole) * spread
    p_value = 2 * (1 - student_cdf(abs(value) / spread, whole))
    return value - half, value + half, min(1.0, max(0.0, p_value))


def _with_one_more(first_N: np.ndarray, second_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each with the other's mean as one more value: while all are the same, their spread is not known to be 0."""
    if are_shares(first_N) and are_shares(second_M):
        return first_N, second_M
    return np.append(first_N, second_M.mean()), np.append(second_M, first_N.mean())


def _anytime_half(values_N: np.ndarray, *, confidence: float) -> float:
    """Half the width at N rows of the sequence that holds the mean at all N at once, with half of alpha."""
    n, alpha = len(values_N), (1 - confidence) / 2
    if are_shares(values_N):
        # One more of each: while all are the same, their spread is not known to be 0.
        share = (float(values_N.sum()) + 1) / (n + 2)
        deviation = math.sqrt(share * (1 - share))
    else:
        deviation = float(values_N.std(ddof=1))
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / _TUNED_TO
    grown = n * rho2 + 1
    return deviation * math.sqrt(2 * grown / (n * n * rho2) * math.log(math.sqrt(grown) / alpha))
