"""Metrics of a classifier on held-out rows, each with a confidence interval, and which rows it got right.

Per-row correctness is kept because comparing two versions on the same rows is a paired test, which the two
accuracies alone do not allow. Legend: N rows, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from raymaas.data.rows import Rows
from raymaas.errors import RunFailed
from raymaas.specs.evaluation import Metric

Predict = Callable[[np.ndarray], np.ndarray]
"""Features [B, D] to class probabilities [B, C]."""

_BATCH_ROWS = 256  # rows per call of `predict`: bounds memory, changes no figure
_LEAST_CHANCE = float(np.finfo(np.float64).eps)  # one certain mistake must not make the mean infinite


def evaluate(
    predict: Predict, rows: Rows, *, classes: int, confidence: float = 0.95
) -> tuple[dict[str, Metric], np.ndarray]:
    """Metrics by name, and uint8 [N] that is 1 where the most probable class is the label.

    `accuracy` has a Wilson interval; `log_loss` (natural logarithm, the mean over rows) the normal one of a
    mean. Raises RunFailed when the model's answers are not N rows of C finite numbers.
    """
    starts = range(0, len(rows), _BATCH_ROWS)
    p_NC = np.concatenate([predict(rows.x_ND[start : start + _BATCH_ROWS]) for start in starts])
    if p_NC.shape != (len(rows), classes):
        raise RunFailed(f"the model answered shape {p_NC.shape} where ({len(rows)}, {classes}) was expected")
    wrong = np.flatnonzero(~np.isfinite(p_NC).all(axis=1))
    if len(wrong):
        raise RunFailed(f"the model's answer for row {rows.id_N[wrong[0]]} is not a number; train it again")
    correct_N = (p_NC.argmax(axis=1) == rows.y_N).astype(np.uint8)
    low, high = wilson_interval(int(correct_N.sum()), len(rows), confidence=confidence)
    metrics = {
        "accuracy": Metric(
            value=float(correct_N.mean()), low=low, high=high, confidence=confidence, method="wilson"
        ),
        "log_loss": _log_loss(p_NC, rows.y_N, confidence=confidence),
    }
    return metrics, correct_N


def wilson_interval(successes: int, trials: int, *, confidence: float) -> tuple[float, float]:
    """Where a proportion lies (Wilson 1927; Brown, Cai, DasGupta 2001). Within 0..1, also for 0 and all."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = successes / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # At the ends the interval reaches the share itself; rounding must not leave it a hair short.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def _log_loss(p_NC: np.ndarray, y_N: np.ndarray, *, confidence: float) -> Metric:
    p_NC = p_NC.astype(np.float64)
    chance_N = p_NC[np.arange(len(y_N)), y_N] / p_NC.sum(axis=1)
    loss_N = -np.log(np.maximum(chance_N, _LEAST_CHANCE))
    mean, spread = float(loss_N.mean()), float(loss_N.std(ddof=1)) if len(loss_N) > 1 else 0.0
    half = NormalDist().inv_cdf((1 + confidence) / 2) * spread / math.sqrt(len(loss_N))
    return Metric(
        value=mean, low=max(0.0, mean - half), high=mean + half, confidence=confidence, method="normal"
    )
