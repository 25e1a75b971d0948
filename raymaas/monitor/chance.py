"""How likely a difference is by chance: two-sample tests on counts, and the correction for doing many of them.

Both samples are counts in the same bins. Rows are taken to be independent: those that one caller sends together often
are not, and then seem to say more than they do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_RARE = 5


def kolmogorov_smirnov(first: Sequence[int], second: Sequence[int]) -> tuple[float, float]:
    """The greatest difference of the shares up to a bin's end, and its p-value. Bins are in order.

    It is the statistic of the samples with each number moved to the end of its bin, so at most that of the numbers
    themselves. The p-value is Kolmogorov's limit with Stephens' correction for few rows (1970), for numbers of which
    none comes twice; with bins it is greater than need be. 0 and 1 where a sample is empty.
    """
    n, m = sum(first), sum(second)
    if not n or not m:
        return 0.0, 1.0
    distance = float(np.abs(np.cumsum(first) / n - np.cumsum(second) / m).max())
    root = math.sqrt(n * m / (n + m))
    return distance, _kolmogorov((root + 0.12 + 0.11 / root) * distance)


def chi_square(first: Sequence[int], second: Sequence[int]) -> tuple[float, float]:
    """Pearson's statistic of homogeneity and its p-value. Bins are in no order.

    Bins of which fewer than 5 rows are expected in a sample are joined to one (Cochran 1954), and if that is one of
    them still, with the next smallest. 0 and 1 where one bin is left.
    """
    counts = np.array([first, second], dtype=np.float64)
    if not counts.sum(axis=1).all():
        return 0.0, 1.0
    table = _without_rare(counts)
    if table.shape[1] < 2:
        return 0.0, 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return statistic, _chi_square_beyond(statistic, table.shape[1] - 1)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """p-values for which, taking those up to q for real, at most the share q of them is not (in the mean).

    Benjamini and Hochberg (1995); it holds too for tests that tend to err together (Benjamini and Yekutieli 2001).
    """
    order = np.argsort(p_values)
    count = len(p_values)
    scaled = np.array(p_values)[order] * count / np.arange(1, count + 1)
    smallest_after = np.minimum.accumulate(scaled[::-1])[::-1]
    found = np.empty(count)
    found[order] = np.minimum(smallest_after, 1.0)
    return [float(p) for p in found]


def _without_rare(counts: np.ndarray) -> np.ndarray:
    totals = counts.sum(axis=0)
    smaller_share = counts.sum(axis=1).min() / counts.sum()
    ascending = counts[:, np.argsort(totals, kind="stable")]
    expected = ascending.sum(axis=0) * smaller_share
    joined = int((expected < _RARE).sum())
    if not joined:
        return ascending
    if expected[:joined].sum() < _RARE:
        joined += 1
    return np.column_stack([ascending[:, :joined].sum(axis=1), ascending[:, joined:]])


def _kolmogorov(x: float) -> float:
    """The chance of more than `x` in Kolmogorov's limit, by whichever of its two series ends sooner."""
    if x < 0.1:
        return 1.0
    if x < 1.0:
        squares = [(2 * k - 1) ** 2 for k in range(1, 6)]
        below: float = (
            math.sqrt(2 * math.pi) / x * sum(math.exp(-s * math.pi**2 / (8 * x * x)) for s in squares)
        )
        return min(1.0, max(0.0, 1.0 - below))
    terms = [(-1.0) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 6)]
    return min(1.0, max(0.0, 2 * sum(terms)))


def _chi_square_beyond(x: float, degrees: int) -> float:
    """The chance of more than `x`: a finite sum, since degrees are whole (Abramowitz and Stegun 26.4.4 and 26.4.5)."""
    half = x / 2
    if degrees % 2:
        beyond, power = math.erfc(math.sqrt(half)), 0.5
    else:
        beyond, power = math.exp(-half), 1.0
    while power < degrees / 2:
        # exp(-half) half^power / gamma(power + 1), as its logarithm: each factor alone may overflow.
        if half > 0:
            beyond += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
        power += 1
    return min(1.0, beyond)
