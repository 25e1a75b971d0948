"""Robustness: the same rows disturbed, a little and more, to see how much of a figure is left.

Images and other rows with a shape get noise, brightness and shifts by whole pixels; tables get noise and missing
values. All by a seeded generator, block after block of the rows: how they are cut into blocks changes nothing.
Legend: N rows, D values of a row, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from raymaas.evaluate.spread import Spread

_NOISE = (0.1, 0.25, 0.5)
_BRIGHTNESS = (0.5, 0.75, 1.25)
_SHIFTS = (1, 2, 4)
_MISSING = (0.1, 0.25, 0.5)

NOISE = "Gaussian noise, in standard deviations"
BRIGHTNESS = "brightness, times"
SHIFT = "shift, in pixels"
MISSING = "share of the values missing"
FILLED = "share of the values replaced by their column's mean"

Inputs = Mapping[str, np.ndarray]
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""(values [N, ...] of one input, what is drawn from) -> other values."""


@dataclass(frozen=True, eq=False)
class Disturbance:
    """One thing that is done to all rows; `severity` in the unit that `disturbance` names."""

    disturbance: str
    severity: float
    changes: Mapping[str, Change]
    """By the input's name; other inputs are left alone."""
    seed: int = 0

    def begin(self) -> Callable[[Inputs], Inputs]:
        """What disturbs one block of rows after the other, from the first on."""
        draws = {name: np.random.default_rng(self.seed) for name in self.changes}

        def disturbed(inputs: Inputs) -> Inputs:
            changed = {name: change(inputs[name], draws[name]) for name, change in self.changes.items()}
            return {**inputs, **changed}

        return disturbed


def disturbances(
    spreads: Mapping[str, Spread], *, nullable: frozenset[str] = frozenset(), seed: int = 0
) -> Iterator[Disturbance]:
    """Each disturbance at each severity, of rows whose inputs of numbers are spread like that.

    Text and times are left alone. Images stay within their range of values. A value can only be missing in an input
    that is `nullable`; in others the mean of its column is put in its place.
    """
    images = {name: spread for name, spread in spreads.items() if spread.image}
    tables = {name: spread for name, spread in spreads.items() if not spread.image}

    def each(
        disturbance: str,
        severities: tuple[float, ...],
        change: Callable[..., np.ndarray],
        of: Mapping[str, Spread],
    ) -> Iterator[Disturbance]:
        for severity in severities if of else ():
            changes = {name: partial(change, severity, spread) for name, spread in of.items()}
            yield Disturbance(disturbance, severity, changes, seed)

    yield from each(NOISE, _NOISE, _noisy, spreads)
    yield from each(BRIGHTNESS, _BRIGHTNESS, _brighter, images)
    yield from each(SHIFT, _SHIFTS, _shifted, images)
    yield from each(MISSING, _MISSING, _missing, {n: s for n, s in tables.items() if n in nullable})
    yield from each(FILLED, _MISSING, _filled, {n: s for n, s in tables.items() if n not in nullable})


def _noisy(share: float, spread: Spread, x_ND: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """With noise of `share` of the standard deviation: of all values of an image, of each column of a table."""
    added_ND = x_ND + share * spread.deviation * draw.standard_normal(x_ND.shape)
    return _within(spread, added_ND) if spread.image else added_ND.astype(np.float32)


def _brighter(factor: float, spread: Spread, x_ND: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Each value times `factor`, within the range that they had."""
    return _within(spread, x_ND * factor)


def _missing(share: float, spread: Spread, x_ND: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Without about that share of the values."""
    return np.where(draw.random(x_ND.shape) < share, np.float32(np.nan), x_ND)


def _filled(share: float, spread: Spread, x_ND: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """With about that share of the values replaced by the mean of their column."""
    return np.where(draw.random(x_ND.shape) < share, spread.mean.astype(np.float32), x_ND)


def _shifted(pixels: float, spread: Spread, x_NHW: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return shifted(x_NHW, int(pixels), fill=spread.least, draw=draw)


def shifted(x_NHW: np.ndarray, pixels: int, *, fill: float, draw: np.random.Generator) -> np.ndarray:
    """Each row moved by `pixels` to one of the four sides, drawn for each; what comes in is `fill`.

    The last two dimensions are height and width; rows smaller than the shift come out empty.
    """
    side_N = draw.integers(0, 4, len(x_NHW))
    moved_NHW = np.full_like(x_NHW, fill)
    height, width = x_NHW.shape[-2:]
    for side, (down, right) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        (y_to, y_from), (x_to, x_from) = (_move(down * pixels, height), _move(right * pixels, width))
        rows = np.flatnonzero(side_N == side)
        moved_NHW[rows, ..., y_to, x_to] = x_NHW[rows, ..., y_from, x_from]
    return moved_NHW


def _within(spread: Spread, changed_ND: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(changed_ND, spread.least, spread.greatest), dtype=np.float32)


def _move(by: int, size: int) -> tuple[slice, slice]:
    """Where the values of one dimension go, and where they come from."""
    by = max(-size, min(size, by))
    to, source = slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size + min(-by, 0))
    return to, source
