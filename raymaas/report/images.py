"""Grids of images: rows of pixels, each with a line of text above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raymaas.report.canvas import BAD, figure, png

_LEAST_SIDE = 4  # pixels; what is smaller shows nothing
_CELL_IN = 0.85
LINE_CHARACTERS = 13


@dataclass(frozen=True, eq=False)
class Tile:
    """An image, [height, width] or [channels, height, width], and what stands above it; `marked` stands in red.

    A line has room for `LINE_CHARACTERS`.
    """

    pixels: np.ndarray
    text: str = ""
    marked: bool = False


def is_image(shape: Sequence[int]) -> bool:
    """Whether rows of that shape can be shown: [height, width], or that of 1 or 3 channels."""
    plain = len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))
    return plain and min(shape[-2:]) >= _LEAST_SIDE


def grid_png(tiles: Sequence[Tile], *, columns: int, title: str) -> bytes:
    """The tiles row by row. All images are drawn from the least to the greatest value that any of them has."""
    rows = -(-len(tiles) // columns)
    lines = max(tile.text.count("\n") + 1 for tile in tiles)
    drawn = figure(max(3.0, _CELL_IN * columns), 0.5 + (_CELL_IN + 0.1 + 0.13 * lines) * rows)
    drawn.suptitle(title, fontsize="medium")
    cells = drawn.subplots(rows, columns, squeeze=False).ravel()
    low, high = (float(end([end(tile.pixels) for tile in tiles])) for end in (np.min, np.max))
    for axes in cells:
        axes.set_axis_off()
    for axes, tile in zip(cells, tiles, strict=False):
        axes.imshow(_picture(tile.pixels, low, high), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(tile.text, fontsize=7, color=BAD if tile.marked else "k", pad=2)
    return png(drawn)


def _picture(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values from 0 to 1, [height, width] or [height, width, 3]."""
    scaled = (pixels.astype(np.float32) - low) / max(high - low, 1e-12)
    if scaled.ndim == 2:
        return scaled
    return scaled[0] if len(scaled) == 1 else np.moveaxis(scaled, 0, -1)
