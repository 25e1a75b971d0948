"""What scoring a version's answers gives, whatever its task: metrics, and all that comparing two versions needs.

Legend: N rows, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from raymaas.specs.evaluation import ClassFigures, Metric, ReliabilityBin

Weighted = Callable[[np.ndarray], np.ndarray]
"""A metric as a function of how often each row counts: weights float32 [R, N] to values float64 [R].

With weights of 1 it is the metric itself, with whole numbers that of a resample; NaN where it is not defined.
"""


@dataclass(frozen=True, eq=False)
class Scored:
    """The figures of one version on some rows."""

    metrics: Mapping[str, Metric]
    weighted: Mapping[str, Weighted]
    """The same metrics, each to be computed again for other weights of the rows."""
    per_row: Mapping[str, np.ndarray]
    """[N] by the metric of which it is the mean: what is kept, so that versions can be compared later."""
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    baselines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def mean_of(values_N: np.ndarray) -> Weighted:
    """The mean of values as a function of the rows' weights."""
    values_N = values_N.astype(np.float64)

    def weighted(w_RN: np.ndarray) -> np.ndarray:
        mean_R: np.ndarray = (w_RN @ values_N) / w_RN.sum(axis=1)
        return mean_R

    return weighted
