"""Robustness: the same rows disturbed, a little and more, to see how much of a figure is left.

For images and other rows with a shape: noise, brightness and shifts by whole pixels; for tables: noise and missing
values. All by a seeded generator. Legend: N rows, D values of a row, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_NOISE = (0.1, 0.25, 0.5)
_BRIGHTNESS = (0.5, 0.75, 1.25)
_SHIFTS = (1, 2, 4)
_MISSING = (0.1, 0.25, 0.5)


@dataclass(frozen=True, eq=False)
class Disturbed:
    """Rows with one thing done to them; `severity` in the unit that `disturbance` names."""

    disturbance: str
    severity: float
    x_ND: np.ndarray


def disturbed(x_ND: np.ndarray, *, seed: int = 0) -> Iterator[Disturbed]:
    """`x_ND` float32 [N, *shape] with each disturbance at each severity; images stay within their range of values."""
    image = x_ND.ndim > 2
    low, high = (float(x_ND.min()), float(x_ND.max())) if image else (-np.inf, np.inf)

    def kept(changed_ND: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(changed_ND, low, high), dtype=np.float32)

    spread_D = x_ND.std() if image else x_ND.std(axis=0)
    noise_ND = np.random.default_rng(seed).standard_normal(x_ND.shape) * spread_D
    for share in _NOISE:
        yield Disturbed("Gaussian noise, in standard deviations", share, kept(x_ND + share * noise_ND))
    if image:
        for factor in _BRIGHTNESS:
            yield Disturbed("brightness, times", factor, kept(x_ND * factor))
        for pixels in _SHIFTS:
            yield Disturbed("shift, in pixels", pixels, shifted(x_ND, pixels, fill=low, seed=seed))
    else:
        chance_ND, mean_D = np.random.default_rng(seed).random(x_ND.shape), x_ND.mean(axis=0)
        for share in _MISSING:
            gaps_ND = np.where(chance_ND < share, mean_D, x_ND)
            yield Disturbed("share of values replaced by their column's mean", share, kept(gaps_ND))


def shifted(x_NHW: np.ndarray, pixels: int, *, fill: float, seed: int) -> np.ndarray:
    """Each row moved by `pixels` to one of the four sides, drawn for each; what comes in is `fill`.

    The last two dimensions are height and width; rows smaller than the shift come out empty.
    """
    side_N = np.random.default_rng(seed).integers(0, 4, len(x_NHW))
    moved_NHW = np.full_like(x_NHW, fill)
    height, width = x_NHW.shape[-2:]
    for side, (down, right) in enumerate(((1, 0), (-1, 0), (0, 1), (0, -1))):
        (y_to, y_from), (x_to, x_from) = (_move(down * pixels, height), _move(right * pixels, width))
        rows = np.flatnonzero(side_N == side)
        moved_NHW[rows, ..., y_to, x_to] = x_NHW[rows, ..., y_from, x_from]
    return moved_NHW


def _move(by: int, size: int) -> tuple[slice, slice]:
    """Where the values of one dimension go, and where they come from."""
    by = max(-size, min(size, by))
    to, source = slice(max(by, 0), size + min(by, 0)), slice(max(-by, 0), size + min(-by, 0))
    return to, source
