"""How much more often one version is right than another on the same rows, with a confidence interval.

Two accuracies alone do not say: their errors are shared, and only the rows on which exactly one of the two is
right tell them apart. Legend: N rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.evaluate.intervals import two_sided_z
from raymaas.specs.evaluation import Metric

_HALVINGS = 60  # an interval of length 1 down to the last bit of a float


@dataclass(frozen=True, eq=False)
class RowOutcomes:
    """Which rows a version was right on: `row_N` int64 names them, `correct_N` uint8 is 1 or 0."""

    row_N: np.ndarray
    correct_N: np.ndarray


def paired_difference(candidate: RowOutcomes, current: RowOutcomes, *, confidence: float) -> Metric:
    """The accuracy of `candidate` minus that of `current`, with Tango's interval.

    The rows may come in any order. Raises InvalidInput unless both have the same ones, each once.
    """
    order, order_of_current = (np.argsort(o.row_N, kind="stable") for o in (candidate, current))
    row_N = candidate.row_N[order]
    check_same_rows(row_N, current.row_N[order_of_current])
    ahead_N, behind_N = candidate.correct_N[order] != 0, current.correct_N[order_of_current] != 0
    gained, lost = int((ahead_N & ~behind_N).sum()), int((~ahead_N & behind_N).sum())
    low, high = tango_interval(gained, lost, len(row_N), confidence=confidence)
    return Metric(
        value=(gained - lost) / len(row_N), low=low, high=high, confidence=confidence, method="tango"
    )


def check_same_rows(row_N: np.ndarray, other_N: np.ndarray) -> None:
    """Raise InvalidInput unless both, in ascending order, name the same rows, each once, and at least one."""
    if not len(row_N) or not np.array_equal(row_N, other_N):
        common = len(np.intersect1d(row_N, other_N))
        raise InvalidInput(
            f"the evaluations are not of the same rows: {len(row_N)} and {len(other_N)}, with {common} in common"
        )
    if (np.diff(row_N) == 0).any():
        raise InvalidInput("the evaluations name a row twice")


def tango_interval(gained: int, lost: int, rows: int, *, confidence: float) -> tuple[float, float]:
    """Where (gained - lost) / rows lies, of which `gained` rows are right with the first only and `lost` with the
    second only: all differences that a score test does not reject.

    T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design, Statistics in Medicine 17 (1998), 891-908. Recommended by Fagerland, Lydersen and Laake (2014), also
    where few rows differ; without any that do, it is z^2 / (rows + z^2) to both sides.
    """
    z = two_sided_z(confidence)
    found = (gained - lost) / rows

    def score_exceeds(difference: float, bound: float) -> bool:
        # The share of lost rows that is most likely if `difference` is true, the larger root of a quadratic.
        b = (2 * rows - gained + lost) * difference - gained - lost
        c = -lost * difference * (1 - difference)
        likely_lost = (math.sqrt(max(0.0, b * b - 8 * rows * c)) - b) / (4 * rows)
        variance = rows * (2 * likely_lost + difference * (1 - difference))
        return gained - lost - rows * difference > bound * math.sqrt(max(0.0, variance))

    def crossing(low: float, high: float, bound: float) -> float:
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if score_exceeds(middle, bound) else (low, middle)
        return (low + high) / 2

    return crossing(-1.0, found, z), crossing(found, 1.0, -z)
