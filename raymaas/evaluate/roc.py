"""The area under the ROC curve: how often a row of a class scores above a row of the others; ties count half.

Of two classes it is that of the second one's score; of more, the mean over the classes, each against the rest.
Legend: N rows, C classes, R resamples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raymaas.evaluate.intervals import two_sided_z, wilson_interval
from raymaas.evaluate.scored import Weighted
from raymaas.specs.evaluation import Metric


def roc_auc(p_NC: np.ndarray, y_N: np.ndarray, *, confidence: float) -> Metric | None:
    """The area with DeLong's interval, on the logit scale so that it stays within 0..1.

    E. DeLong, D. DeLong, D. Clarke-Pearson, Comparing the Areas under Two or More Correlated Receiver Operating
    Characteristic Curves, Biometrics 44 (1988); for several classes what each row adds is summed over them first.
    An area of exactly 0 or 1 leaves that without width: then the disjoint pairs there are count as a proportion.
    A class with fewer than two rows of its own or of others is left out; None when none is left.
    """
    curves = [_Curve.of(p_NC[:, c], y_N == c) for c in _judged(p_NC, y_N)]
    if not curves:
        return None
    area = sum(curve.area for curve in curves) / len(curves)
    if 0 < area < 1:
        added_N = np.sum([curve.added_N for curve in curves], axis=0) / len(curves)
        half = two_sided_z(confidence) * math.sqrt(float((added_N**2).sum())) / (area * (1 - area))
        middle = math.log(area / (1 - area))
        low, high = (1 / (1 + math.exp(-min(middle + end, 700))) for end in (-half, half))
    else:
        ends = [
            wilson_interval(round(area) * curve.pairs, curve.pairs, confidence=confidence) for curve in curves
        ]
        low, high = (sum(end[i] for end in ends) / len(ends) for i in (0, 1))
    return Metric(value=area, low=low, high=high, confidence=confidence, method="delong")


def weighted_roc_auc(p_NC: np.ndarray, y_N: np.ndarray) -> Weighted:
    """The area as a function of the rows' weights, over the classes that `roc_auc` takes."""

    def weighted(w_RN: np.ndarray) -> np.ndarray:
        areas = [_weighted_area(p_NC[:, c], y_N == c, w_RN) for c in _judged(p_NC, y_N)]
        mean_R: np.ndarray = np.mean(areas, axis=0)
        return mean_R

    return weighted


def _judged(p_NC: np.ndarray, y_N: np.ndarray) -> list[int]:
    classes = p_NC.shape[1]
    counts_C = np.bincount(y_N, minlength=classes)
    columns = [1] if classes == 2 else range(classes)
    return [c for c in columns if 2 <= counts_C[c] <= len(y_N) - 2]


@dataclass(frozen=True, eq=False)
class _Curve:
    """One class against the rest: the area, what each row adds to its error, and how many disjoint pairs there are."""

    area: float
    added_N: np.ndarray
    pairs: int

    @classmethod
    def of(cls, score_N: np.ndarray, own_N: np.ndarray) -> _Curve:
        own, others = np.sort(score_N[own_N]), np.sort(score_N[~own_N])
        above_N = np.empty(len(score_N))
        above_N[own_N] = _share_below(score_N[own_N], others)
        above_N[~own_N] = 1 - _share_below(score_N[~own_N], own)
        area = float(above_N[own_N].mean())
        sizes_N = np.where(own_N, len(own), len(others))
        return cls(area, (above_N - area) / np.sqrt(sizes_N * (sizes_N - 1.0)), min(len(own), len(others)))


def _share_below(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """The share of `ordered` below each value, those that equal it counted half."""
    left, right = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    share: np.ndarray = (left + right) / 2 / len(ordered)
    return share


def _weighted_area(score_N: np.ndarray, own_N: np.ndarray, w_RN: np.ndarray) -> np.ndarray:
    """NaN where all weight is on one side."""
    own, others = np.flatnonzero(own_N), np.flatnonzero(~own_N)
    others = others[np.argsort(score_N[others], kind="stable")]
    up_to = np.zeros((len(w_RN), len(others) + 1))  # weight of the others below each place in their order
    np.cumsum(w_RN[:, others], axis=1, dtype=np.float64, out=up_to[:, 1:])
    left, right = (np.searchsorted(score_N[others], score_N[own], side=side) for side in ("left", "right"))
    own_RM = w_RN[:, own].astype(np.float64)
    wins_R = (own_RM * (up_to[:, left] + up_to[:, right])).sum(axis=1) / 2
    with np.errstate(invalid="ignore"):
        area_R: np.ndarray = wins_R / (own_RM.sum(axis=1) * up_to[:, -1])
    return area_R
