"""Spread: mean, deviation and range of values that come block by block; what is missing does not count.

T. Chan, G. Golub, R. LeVeque, Algorithms for Computing the Sample Variance (1983), on joining two blocks.
Legend: N rows, D columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Spread:
    """Of one input over all rows: of an image all its values together, of a table each column by itself."""

    image: bool
    mean: np.ndarray
    """float64, one value for an image, else of the shape of a row."""
    deviation: np.ndarray
    """Likewise; the population's."""
    least: float
    greatest: float


def spreads(blocks: Iterable[Mapping[str, np.ndarray]]) -> dict[str, Spread]:
    """The spread of each input that holds numbers, by its name; values [N, ...] in each block."""
    found: dict[str, _Moments] = {}
    for block in blocks:
        for name, values in block.items():
            if values.dtype.kind == "f":
                ours = _Moments.of(values)
                found[name] = found[name].with_others(ours) if name in found else ours
    return {name: moments.spread() for name, moments in found.items()}


@dataclass(frozen=True, eq=False)
class _Moments:
    """How many values there are, their mean, and the sum of their squared distances from it."""

    image: bool
    count_D: np.ndarray
    mean_D: np.ndarray
    squares_D: np.ndarray
    least: float
    greatest: float

    @classmethod
    def of(cls, values: np.ndarray) -> _Moments:
        image = values.ndim > 2
        x_ND = (values.reshape(-1) if image else values).astype(np.float64)
        present_ND = ~np.isnan(x_ND)
        count_D = present_ND.sum(axis=0, dtype=np.float64)
        mean_D = _quotient(np.where(present_ND, x_ND, 0).sum(axis=0), count_D)
        squares_D = (np.where(present_ND, x_ND - mean_D, 0) ** 2).sum(axis=0)
        present = x_ND[present_ND]
        least, greatest = (float(present.min()), float(present.max())) if len(present) else (np.inf, -np.inf)
        return cls(image, count_D, mean_D, squares_D, least, greatest)

    def with_others(self, others: _Moments) -> _Moments:
        count_D = self.count_D + others.count_D
        apart_D = np.where(self.count_D * others.count_D > 0, others.mean_D - self.mean_D, 0)
        sums_D = sum(np.where(part.count_D > 0, part.count_D * part.mean_D, 0) for part in (self, others))
        between_D = apart_D**2 * _quotient(self.count_D * others.count_D, count_D, empty=0)
        return _Moments(
            self.image,
            count_D,
            _quotient(np.asarray(sums_D), count_D),
            self.squares_D + others.squares_D + between_D,
            min(self.least, others.least),
            max(self.greatest, others.greatest),
        )

    def spread(self) -> Spread:
        deviation_D = np.sqrt(_quotient(self.squares_D, self.count_D))
        return Spread(self.image, self.mean_D, deviation_D, self.least, self.greatest)


def _quotient(sums_D: np.ndarray, count_D: np.ndarray, *, empty: float = np.nan) -> np.ndarray:
    """Of nothing it is `empty`."""
    quotient_D = np.full(np.shape(count_D), empty, dtype=np.float64)
    np.divide(sums_D, count_D, out=quotient_D, where=np.asarray(count_D) > 0)
    return quotient_D
