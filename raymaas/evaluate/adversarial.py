"""Adversarial: what a discriminator makes of real rows, and what a classifier finds among a generator's samples.

Legend: N rows, S samples, C classes, D values of a row.
"""

from __future__ import annotations

import math

import numpy as np

from raymaas.errors import RunFailed
from raymaas.evaluate.intervals import CONFIDENCE, mean, proportion, two_sided_z
from raymaas.evaluate.scored import Scored, mean_of
from raymaas.specs.evaluation import Metric


def score(real_N: np.ndarray, *, confidence: float = CONFIDENCE) -> Scored:
    """`accuracy_on_data`, the share of real rows that the discriminator holds for real, and its mean `real`.

    Neither says that samples are good: a discriminator that cannot tell them apart is at 0.5 for all. Samples are
    judged by a classifier, see `histogram_entropy`.
    """
    taken_N = real_N > 0.5
    return Scored(
        {
            "accuracy_on_data": proportion(int(taken_N.sum()), len(real_N), confidence=confidence),
            "real": mean(real_N, confidence=confidence),
        },
        {"accuracy_on_data": mean_of(taken_N), "real": mean_of(real_N)},
        {"real": real_N},
    )


def sample_error(ours_SD: np.ndarray, theirs_SD: np.ndarray) -> float:
    """How far a generator's rows are from another's of the same codes: the root mean square difference, in standard
    deviations of theirs.

    The deviation is that of each value from one row to another, so a generator that makes nothing but the mean of their
    rows is at 1. Raises RunFailed when their rows are all the same.
    """
    deviation = float(np.sqrt(theirs_SD.astype(np.float64).var(axis=0).mean()))
    if deviation == 0:
        raise RunFailed(
            "the parent makes the same row of every code, so nothing can be compared; train it again"
        )
    return float(np.sqrt(np.square(ours_SD.astype(np.float64) - theirs_SD).mean())) / deviation


def histogram_entropy(answer_S: np.ndarray, *, classes: int, confidence: float = CONFIDENCE) -> Metric:
    """The entropy of the classes that a judge found among samples, -sum(p ln p) in nats.

    ln(classes) when it found equally many of each. Of S samples it is too low by some (classes - 1) / (2 S) (G. Miller,
    Note on the Bias of Information Estimates, 1955). The interval is the normal one of its variance (G. Basharin, On a
    Statistical Estimate for the Entropy of a Sequence of Independent Random Variables, 1959).
    """
    counts_C = np.bincount(answer_S, minlength=classes)
    shares = counts_C[counts_C > 0] / len(answer_S)
    value = max(0.0, float(-(shares * np.log(shares)).sum()))
    variance = max(0.0, float((shares * np.log(shares) ** 2).sum()) - value**2)
    half = two_sided_z(confidence) * math.sqrt(variance / len(answer_S))
    low, high = max(0.0, value - half), max(value, min(math.log(classes), value + half))
    return Metric(value=value, low=low, high=high, confidence=confidence, method="normal")
