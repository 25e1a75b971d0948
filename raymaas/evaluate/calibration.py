"""Calibration: whether a classifier is right as often as its probabilities say.

Rows are binned by the probability of the class that was answered; the expected calibration error is the mean over the
rows of how far a bin's share of right answers is from its mean probability (C. Guo et al., On Calibration of Modern
Neural Networks, 2017). Legend: N rows, B bins, R resamples.
"""

from __future__ import annotations

import numpy as np

from raymaas.evaluate.scored import Weighted
from raymaas.specs.evaluation import ReliabilityBin

BINS = 15


def reliability(confidence_N: np.ndarray, correct_N: np.ndarray) -> tuple[ReliabilityBin, ...]:
    """The bins that have rows, of equal width from 0 to 1; each holds its upper end."""
    bin_N = _bin_of(confidence_N)
    return tuple(
        ReliabilityBin(
            above=b / BINS,
            up_to=(b + 1) / BINS,
            rows=int((bin_N == b).sum()),
            probability=float(confidence_N[bin_N == b].mean()),
            accuracy=float(correct_N[bin_N == b].mean()),
        )
        for b in np.unique(bin_N).tolist()
    )


def weighted_calibration_error(confidence_N: np.ndarray, correct_N: np.ndarray) -> Weighted:
    """The expected calibration error as a function of the rows' weights."""
    gap_N = correct_N.astype(np.float64) - confidence_N
    gap_NB = np.zeros((len(gap_N), BINS))
    gap_NB[np.arange(len(gap_N)), _bin_of(confidence_N)] = gap_N

    def weighted(w_RN: np.ndarray) -> np.ndarray:
        error_R: np.ndarray = np.abs(w_RN @ gap_NB).sum(axis=1) / w_RN.sum(axis=1)
        return error_R

    return weighted


def _bin_of(confidence_N: np.ndarray) -> np.ndarray:
    bins: np.ndarray = np.clip(np.ceil(confidence_N * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return bins
