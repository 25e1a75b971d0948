"""Standardizing: numbers with mean 0 and variance 1 over the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from raymaas.data.transforms.base import OverColumns, Step
from raymaas.data.transforms.frame import Frame, is_numbers
from raymaas.errors import InvalidInput
from raymaas.specs.base import Spec

_ROWS = 4096  # at a time in float64: bounds memory, changes no result


class Moments(Spec):
    """Of each value in a row, flat in the order of C."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Both as float64 [D]."""
        return np.array(self.mean), np.array(self.deviation)


class Standardized(Step):
    """(x - mean) / deviation, in float64 before it becomes float32; what is missing stays so."""

    columns: Mapping[str, Moments]

    def apply(self, frame: Frame) -> Frame:
        return frame.with_columns(
            {name: _scaled(frame.columns[name], moments) for name, moments in self.columns.items()}
        )


class Standardize(OverColumns):
    """Subtracts the mean of the training rows and divides by their standard deviation.

    A value that is the same in all of them is only centred. The deviation is that of the population, as
    scikit-learn's StandardScaler has it.
    """

    def fit(self, frame: Frame) -> Standardized:
        names = frame.choose(self.columns, among=is_numbers, what="numbers")
        return Standardized(columns={name: _moments(name, frame.columns[name]) for name in names})


def _moments(name: str, values: np.ndarray) -> Moments:
    """By two passes over the rows that are there: the short formula loses what a large mean hides."""
    flat_ND = values.reshape(len(values), -1)
    present_ND = ~np.isnan(flat_ND)
    count_D = present_ND.sum(axis=0)
    if not count_D.all():
        raise InvalidInput(
            f"column {name!r} has no value in any training row; leave it out of features, or impute a constant"
        )
    mean_D = np.sum(flat_ND, axis=0, dtype=np.float64, where=present_ND) / count_D
    squares_D = np.zeros_like(mean_D)
    for start in range(0, len(flat_ND), _ROWS):
        rows = slice(start, start + _ROWS)
        squares_D += np.sum((flat_ND[rows] - mean_D) ** 2, axis=0, where=present_ND[rows])
    deviation_D = np.sqrt(squares_D / count_D)
    # Exact for a constant: the sum of float32 in float64 is.
    deviation_D[deviation_D == 0] = 1.0
    return Moments(mean=tuple(mean_D.tolist()), deviation=tuple(deviation_D.tolist()))


def _scaled(values: np.ndarray, moments: Moments) -> np.ndarray:
    mean_D, deviation_D = moments.arrays
    flat_ND = values.reshape(len(values), -1)
    scaled_ND = np.empty(flat_ND.shape, np.float32)
    for start in range(0, len(flat_ND), _ROWS):
        rows = slice(start, start + _ROWS)
        scaled_ND[rows] = (flat_ND[rows] - mean_D) / deviation_D
    return scaled_ND.reshape(values.shape)
