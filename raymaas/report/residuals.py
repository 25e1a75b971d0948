"""The residual plot: what a regression is off by, over what it predicts."""

from __future__ import annotations

import numpy as np

from raymaas.report.canvas import FAINT, TRAINING, VALIDATION, dress, figure, png

_MANY = 500  # rows; with more, dots are drawn fainter


def residuals_png(predicted_N: np.ndarray, target_N: np.ndarray) -> bytes:
    """Left, target over prediction; right, target minus prediction over prediction, with a histogram."""
    drawn = figure(9.6, 4.0)
    left, right, beside = drawn.subplots(1, 3, width_ratios=(4, 4, 1))
    residual_N = target_N - predicted_N
    alpha = 0.7 if len(target_N) <= _MANY else 0.25
    ends = [min(predicted_N.min(), target_N.min()), max(predicted_N.max(), target_N.max())]
    left.plot(ends, ends, color="0.4", linestyle=":", label="exact")
    left.scatter(predicted_N, target_N, s=12, alpha=alpha, color=TRAINING, linewidths=0)
    dress(left, title="Predictions", x="predicted", y="true value")
    left.legend(frameon=False, fontsize="small")
    right.axhline(0, color="0.4", linestyle=":")
    right.axhline(
        float(residual_N.mean()), color=VALIDATION, linewidth=1, label=f"mean {residual_N.mean():.3g}"
    )
    right.scatter(predicted_N, residual_N, s=12, alpha=alpha, color=TRAINING, linewidths=0)
    dress(right, title="Residuals", x="predicted", y="true value − predicted")
    right.legend(frameon=False, fontsize="small")
    beside.hist(residual_N, bins=30, orientation="horizontal", color=FAINT)
    beside.sharey(right)
    dress(beside, title="", x="rows", y="")
    beside.tick_params(labelleft=False)
    return png(drawn)
