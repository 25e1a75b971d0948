"""The bootstrap: how metrics vary when the rows are drawn again, and the intervals that follow from it.

A resample is told to a metric as how often each row counts in it (see `raymaas.evaluate.scored`), so a thousand
resamples are a few products of matrices. Legend: N rows, R resamples, G groups, K metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from raymaas.evaluate.intervals import two_sided_z
from raymaas.evaluate.scored import Weighted
from raymaas.specs.evaluation import Metric

RESAMPLES = 1000
_GROUPS = 200  # of rows, for the jackknife: leaving out each of 10,000 rows would cost ten bootstraps
_WEIGHTS_AT_ONCE = 4_000_000  # bounds memory to some 32 MB


@dataclass(frozen=True, eq=False)
class Resampled:
    """One metric on all rows, on R resamples of them, and without each of G groups of them."""

    value: float
    drawn_R: np.ndarray
    left_out_G: np.ndarray

    def bca(self, *, confidence: float) -> Metric:
        """The bias-corrected and accelerated interval (B. Efron, Better Bootstrap Confidence Intervals, 1987).

        Of a metric that is not defined on most resamples nothing more is known than its value.
        """
        drawn_R = self.drawn_R[np.isfinite(self.drawn_R)]
        if len(drawn_R) < len(self.drawn_R) / 2 or np.ptp(drawn_R) == 0:
            return self._metric(self.value, self.value, confidence, "bca")
        normal, z = NormalDist(), two_sided_z(confidence)
        below = ((drawn_R < self.value).sum() + (drawn_R <= self.value).sum()) / 2 / len(drawn_R)
        least = 0.5 / len(drawn_R)
        bias = normal.inv_cdf(float(np.clip(below, least, 1 - least)))
        speed = _acceleration(self.left_out_G)
        levels = [normal.cdf(bias + (bias + end) / (1 - speed * (bias + end))) for end in (-z, z)]
        low, high = np.quantile(drawn_R, levels)
        return self._metric(float(low), float(high), confidence, "bca")

    def of_distances(self, *, confidence: float) -> Metric:
        """An interval for a sum of absolute differences, which noise only ever makes larger.

        Where the true differences are 0, all of the value is noise, and resamples, with the noise of the rows and
        as much of their own, are sqrt(2) times as large. So what they are larger by is sqrt(2) - 1 of what noise may
        have added: that is taken off, and the normal interval's half, for the lower end. The upper end is the
        percentile one. Not below 0; it holds the value.
        """
        drawn_R = self.drawn_R[np.isfinite(self.drawn_R)]
        noise = max(0.0, float(drawn_R.mean()) - self.value) / (math.sqrt(2) - 1)
        low = self.value - noise - two_sided_z(confidence) * float(drawn_R.std())
        high = float(np.quantile(drawn_R, (1 + confidence) / 2))
        return self._metric(max(0.0, low), max(self.value, high), confidence, "bootstrap less its noise")

    def _metric(self, low: float, high: float, confidence: float, method: str) -> Metric:
        return Metric(value=self.value, low=low, high=high, confidence=confidence, method=method)


def resample(
    metrics: Callable[[np.ndarray], np.ndarray], rows: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> list[Resampled]:
    """Each of K metrics over the same resamples of the same rows, so that two of them are paired.

    `metrics` takes weights as a `Weighted` does and gives [R, K]. The same `seed` gives the same resamples.
    """
    draw = np.random.default_rng(seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN is what a metric says that is not defined
        value_K = metrics(np.ones((1, rows), dtype=np.float32))[0]
        drawn_RK = np.concatenate([metrics(w_RN) for w_RN in _resamples(draw, rows, resamples)])
        left_out_GK = np.concatenate([metrics(w_GN) for w_GN in _without_groups(draw, rows)])
    return [
        Resampled(value=float(value), drawn_R=drawn_R, left_out_G=left_out_G)
        for value, drawn_R, left_out_G in zip(value_K, drawn_RK.T, left_out_GK.T, strict=True)
    ]


def side_by_side(*metrics: Weighted) -> Callable[[np.ndarray], np.ndarray]:
    """Several metrics as one that gives [R, K]."""
    return lambda w_RN: np.stack([metric(w_RN) for metric in metrics], axis=1)


def _resamples(draw: np.random.Generator, rows: int, resamples: int) -> Iterator[np.ndarray]:
    at_once = max(1, _WEIGHTS_AT_ONCE // rows)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        cells_RN = draw.integers(0, rows, (size, rows)) + np.arange(size)[:, None] * rows
        counts = np.bincount(cells_RN.ravel(), minlength=size * rows)
        yield counts.reshape(size, rows).astype(np.float32)


def _without_groups(draw: np.random.Generator, rows: int) -> Iterator[np.ndarray]:
    group_N = draw.permutation(rows) % min(_GROUPS, rows)
    groups, at_once = int(group_N.max()) + 1, max(1, _WEIGHTS_AT_ONCE // rows)
    for start in range(0, groups, at_once):
        left_out_G = np.arange(start, min(start + at_once, groups))
        yield (group_N[None] != left_out_G[:, None]).astype(np.float32)


def _acceleration(left_out_G: np.ndarray) -> float:
    """Efron's a: a sixth of the skewness of the metric's sum of influences.

    Of groups it estimates the same as of single rows: second and third moments of sums both add up.
    """
    left_out_G = left_out_G[np.isfinite(left_out_G)]
    if len(left_out_G) < 2:
        return 0.0
    influence_G = left_out_G.mean() - left_out_G
    spread = float((influence_G**2).sum())
    return float((influence_G**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
