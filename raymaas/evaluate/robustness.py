"""Robustness: the same rows disturbed, a little and more, to see how much of a figure is left.

Images and other rows with a shape get noise, brightness and shifts by whole pixels; tables get noise and missing
values. All by a seeded generator. Legend: N rows, D values of a row, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

_NOISE = (0.1, 0.25, 0.5)
_BRIGHTNESS = (0.5, 0.75, 1.25)
_SHIFTS = (1, 2, 4)
_MISSING = (0.1, 0.25, 0.5)

NOISE = "Gaussian noise, in standard deviations"
BRIGHTNESS = "brightness, times"
SHIFT = "shift, in pixels"
MISSING = "share of the values missing"
FILLED = "share of the values replaced by their column's mean"


@dataclass(frozen=True, eq=False)
class Disturbed:
    """What is asked when one thing is done to all rows; `severity` in the unit that `disturbance` names."""

    disturbance: str
    severity: float
    inputs: Mapping[str, np.ndarray]


def disturbed(
    inputs: Mapping[str, np.ndarray], *, nullable: frozenset[str] = frozenset(), seed: int = 0
) -> Iterator[Disturbed]:
    """`inputs`, [N, ...] each by name, with each disturbance at each severity. Text and times are left alone.

    Images stay within their range of values. A value can only be missing in an input that is `nullable`; in others
    the mean of its column is put in its place.
    """
    numbers = {name: values for name, values in inputs.items() if values.dtype.kind == "f"}

    def each(change: Callable[[np.ndarray], np.ndarray], names: frozenset[str]) -> dict[str, np.ndarray]:
        return {name: change(values) if name in names else values for name, values in inputs.items()}

    images = frozenset(name for name, values in numbers.items() if values.ndim > 2)
    tables = frozenset(numbers) - images
    for share in _NOISE if numbers else ():
        yield Disturbed(NOISE, share, each(partial(noisy, share=share, seed=seed), images | tables))
    for factor in _BRIGHTNESS if images else ():
        yield Disturbed(BRIGHTNESS, factor, each(partial(brighter, factor=factor), images))
    for pixels in _SHIFTS if images else ():
        yield Disturbed(SHIFT, pixels, each(partial(shifted, pixels=pixels, seed=seed), images))
    for disturbance, names, fill in (
        (MISSING, tables & nullable, np.nan),
        (FILLED, tables - nullable, None),
    ):
        for share in _MISSING if names else ():
            yield Disturbed(
                disturbance,
                share,
                each(partial(gaps, share=share, fill=fill, seed=seed), names),
            )


def noisy(x_ND: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """With noise of `share` of the standard deviation: of all values of an image, of each column of a table."""
    image = x_ND.ndim > 2
    spread = np.nanstd(x_ND) if image else np.nanstd(x_ND, axis=0)
    added_ND = x_ND + share * spread * np.random.default_rng(seed).standard_normal(x_ND.shape)
    return _within(x_ND, added_ND) if image else added_ND.astype(np.float32)


def brighter(x_ND: np.ndarray, factor: float) -> np.ndarray:
    """Each value times `factor`, within the range that they had."""
    return _within(x_ND, x_ND * factor)


def gaps(x_ND: np.ndarray, share: float, *, fill: float | None, seed: int) -> np.ndarray:
    """With about that share of the values replaced by `fill`, or by the mean of their column."""
    chosen_ND = np.random.default_rng(seed).random(x_ND.shape) < share
    filled: np.ndarray = np.where(chosen_ND, np.nanmean(x_ND, axis=0) if fill is None else fill, x_ND)
    return filled.astype(np.float32)


def shifted(x_NHW: np.ndarray, pixels: int, *, seed: int) -> np.ndarray:
    """Each row moved by `pixels` to one of the four sides, drawn for each; what comes in is the least value.

    The last two dimensions are height and width; rows smaller than the shift come out empty.
    """
    side_N = np.random.default_rng(seed).integers(0, 4, len(x_NHW))
    moved_NHW = np.full_like(x_NHW, x_NHW.min())
    height, width = x_NHW.shape[-2:]
    for side, (down, right) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        (y_to, y_from), (x_to, x_from) = (_move(down * pixels, height), _move(right * pixels, width))
        rows = np.flatnonzero(side_N == side)
        moved_NHW[rows, ..., y_to, x_to] = x_NHW[rows, ..., y_from, x_from]
    return moved_NHW


def _within(x_ND: np.ndarray, changed_ND: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(changed_ND, x_ND.min(), x_ND.max()), dtype=np.float32)


def _move(by: int, size: int) -> tuple[slice, slice]:
    """Where the values of one dimension go, and where they come from."""
    by = max(-size, min(size, by))
    to, source = slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size + min(-by, 0))
    return to, source
