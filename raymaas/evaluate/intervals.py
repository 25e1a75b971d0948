"""Intervals with a formula: of a proportion, of a mean, and Student's quantile."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from raymaas.specs.evaluation import Metric

CONFIDENCE = 0.95
_HALVINGS = 60  # an interval of length 1 down to the last bit of a float


def two_sided_z(confidence: float) -> float:
    """The quantile of the normal distribution that leaves half of the rest on either side."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson_interval(successes: int, trials: int, *, confidence: float) -> tuple[float, float]:
    """Where a proportion lies (Wilson 1927; Brown, Cai, DasGupta 2001). Within 0..1, also for 0 and all.

    Of no trials nothing is known: 0 to 1.
    """
    if trials == 0:
        return 0.0, 1.0
    z = two_sided_z(confidence)
    share, scale = successes / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # At the ends the interval reaches the share itself; rounding must not leave it a hair short.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def proportion(successes: int, trials: int, *, confidence: float) -> Metric:
    """A share with Wilson's interval; 0 of none, as scikit-learn has it, and then anything from 0 to 1."""
    low, high = wilson_interval(successes, trials, confidence=confidence)
    value = successes / trials if trials else 0.0
    return Metric(value=value, low=low, high=high, confidence=confidence, method="wilson")


def mean(values_N: np.ndarray, *, confidence: float, least: float = -math.inf) -> Metric:
    """The mean with its normal interval, no end of which is below `least`. A single value has no width."""
    values_N = values_N.astype(np.float64)
    value, rows = float(values_N.mean()), len(values_N)
    spread = float(values_N.std(ddof=1)) if rows > 1 else 0.0
    half = two_sided_z(confidence) * spread / math.sqrt(rows)
    return Metric(
        value=value, low=max(least, value - half), high=value + half, confidence=confidence, method="normal"
    )


def student_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t with `degrees` >= 1 degrees of freedom, for a probability of 0.5 to below 1."""
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < probability:
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def student_cdf(t: float, degrees: int) -> float:
    """The chance to stay below `t` >= 0, by the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = cosine if odd else 1.0, 0.0
    for k in range(odd, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    within = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return 0.5 + within / 2
