"""Regression: mean squared, root mean squared and mean absolute error, and the share of the variance explained.

Legend: N rows, R resamples.
"""

from __future__ import annotations

import numpy as np

from raymaas.evaluate.bootstrap import resample, side_by_side
from raymaas.evaluate.intervals import CONFIDENCE, mean
from raymaas.evaluate.scored import Scored, Weighted, mean_of
from raymaas.specs.evaluation import Metric


def score(
    prediction_N: np.ndarray,
    y_N: np.ndarray,
    *,
    constant: float | None = None,
    confidence: float = CONFIDENCE,
) -> Scored:
    """The figures of predictions where the truth was `y_N`, in its unit.

    `mse` and `mae` have the normal interval of a mean, `rmse` and `r2` a BCa bootstrap one. `r2` is
    1 - mse / variance of these rows, and left out where they are all equal. `constant` is the prediction of the
    baseline, the mean of the training rows; without it there is none.
    """
    y_N = y_N.astype(np.float64)
    error_N = prediction_N.astype(np.float64) - y_N
    squared_N, absolute_N = error_N**2, np.abs(error_N)
    squares = mean_of(squared_N)
    curved: dict[str, Weighted] = {"rmse": lambda w_RN: np.sqrt(squares(w_RN))}
    if np.ptp(y_N) > 0:
        curved["r2"] = _explained(squared_N, y_N)
    drawn = resample(side_by_side(*curved.values()), len(y_N))
    metrics = {
        "mse": mean(squared_N, confidence=confidence, least=0.0),
        "mae": mean(absolute_N, confidence=confidence, least=0.0),
        **{name: one.bca(confidence=confidence) for name, one in zip(curved, drawn, strict=True)},
    }
    return Scored(
        metrics,
        {"mse": squares, "mae": mean_of(absolute_N), **curved},
        {"mse": squared_N, "mae": absolute_N},
        baselines={} if constant is None else {"the mean of the training rows": _of(constant, y_N)},
    )


def brief(prediction_N: np.ndarray, y_N: np.ndarray, *, confidence: float = CONFIDENCE) -> dict[str, Metric]:
    """`rmse` alone, its interval the root of that of the mean square."""
    squared_N = (prediction_N.astype(np.float64) - y_N) ** 2
    mse = mean(squared_N, confidence=confidence, least=0.0)
    return {
        "rmse": mse.model_copy(update={end: getattr(mse, end) ** 0.5 for end in ("value", "low", "high")})
    }


def _explained(squared_N: np.ndarray, y_N: np.ndarray) -> Weighted:
    centred_N = y_N - y_N.mean()  # for precision: the variance is a difference of two sums
    columns_N3 = np.stack([squared_N, centred_N, centred_N**2], axis=1)

    def weighted(w_RN: np.ndarray) -> np.ndarray:
        squared_R, first_R, second_R = (w_RN @ columns_N3 / w_RN.sum(axis=1, keepdims=True)).T
        variance_R = second_R - first_R**2
        r2_R = np.full(len(w_RN), np.nan)
        np.divide(squared_R, variance_R, out=r2_R, where=variance_R > 1e-12 * centred_N.var())
        return 1 - r2_R

    return weighted


def _of(constant: float, y_N: np.ndarray) -> dict[str, float]:
    """The figures of predicting the same for every row."""
    mse = float(((y_N - constant) ** 2).mean())
    figures = {"mse": mse, "rmse": mse**0.5, "mae": float(np.abs(y_N - constant).mean())}
    variance = float(y_N.var())
    return figures | ({"r2": 1 - mse / variance} if variance > 0 else {})
