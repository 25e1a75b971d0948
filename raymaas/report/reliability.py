"""The reliability diagram: whether answers given with a probability of 0.8 are right in 8 of 10 cases.

M. DeGroot, S. Fienberg, The Comparison and Evaluation of Forecasters (1983).
"""

from __future__ import annotations

from collections.abc import Sequence

from raymaas.report.canvas import BAD, FAINT, GOOD, TRAINING, dress, figure, png
from raymaas.specs.evaluation import ReliabilityBin


def reliability_png(bins: Sequence[ReliabilityBin]) -> bytes:
    """Above, accuracy by bin against the mean probability in it; below, how many rows each bin has."""
    drawn = figure(4.8, 5.6)
    above, below = drawn.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    left = [one.above for one in bins]
    width = [one.up_to - one.above for one in bins]
    accuracy, probability = [one.accuracy for one in bins], [one.probability for one in bins]
    above.plot([0, 1], [0, 1], color="0.4", linestyle=":", label="perfectly calibrated")
    above.bar(left, accuracy, width, align="edge", color=TRAINING, alpha=0.5, edgecolor="w", label="accuracy")
    above.plot(probability, probability, "o", markersize=4, color="0.2", label="mean probability")
    for colour, label, sure in ((BAD, "too sure by", True), (GOOD, "too modest by", False)):
        off = [one for one in bins if (one.probability > one.accuracy) == sure]
        ends = [one.accuracy for one in off], [one.probability for one in off]
        above.vlines([one.probability for one in off], *ends, color=colour, linewidth=2, label=label)
    dress(above, title="Reliability", x="", y="share of answers that were right")
    above.set(xlim=(0, 1), ylim=(0, 1.02))
    below.bar(left, [one.rows for one in bins], width, align="edge", color=FAINT, edgecolor="w")
    dress(below, title="", x="probability of the class that was answered", y="rows")
    if max(one.rows for one in bins) > 100 * min(one.rows for one in bins):
        below.set_yscale("log")
    drawn.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=2)
    return png(drawn)
