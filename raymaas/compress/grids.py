"""Grids: the few evenly spaced numbers that weights are rounded to, one grid for a tensor or one for each channel.

A weight is scale (level - zero point), its level an integer of b bits (B. Jacob et al., Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018, equation 1). Zero is on every grid, so pruned
weights stay pruned.

    symmetric   levels -(2^(b-1) - 1) to 2^(b-1) - 1 around zero, clipped where that costs least
    uniform     all 2^b levels, from the least weight to the greatest: round((w - min) / (max - min) (2^b - 1)), from 0

Erratum of the second as it is often copied: divided by b as well, it uses a b-th of its levels.
Legend: R channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

GridName = Literal["symmetric", "uniform"]

_HALF = torch.finfo(torch.float16)
_CLIPS = torch.linspace(0.3, 1.0, 29)


@dataclass(frozen=True, eq=False)
class Grid:
    """Where weights may lie; a constraint of `compress.weights`. A weight beyond the ends has no gradient.

    `scale` is float32 of shape [] or [R]. `zero_point` is of the same shape, a whole number.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    low: int
    high: int

    def value(self, weight: torch.Tensor) -> torch.Tensor:
        """The nearest numbers on the grid."""
        return (self._levels(weight) - _beside(self.zero_point, weight)) * _beside(self.scale, weight)

    def gradient(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Straight through (Y. Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013)."""
        level = weight / _beside(self.scale, weight) + _beside(self.zero_point, weight)
        within: torch.Tensor = (level >= self.low - 0.5) & (level <= self.high + 0.5)
        return gradient * within

    def levels(self, weight: torch.Tensor) -> np.ndarray:
        """int8, of the shape of `weight`."""
        return self._levels(weight).to(torch.int8).numpy()

    def kept_scale(self) -> np.ndarray:
        """The scale as a file keeps it: at half precision where that is the very same number."""
        halved = self.scale.half()
        return (halved if torch.equal(halved.float(), self.scale) else self.scale).numpy()

    def _levels(self, weight: torch.Tensor) -> torch.Tensor:
        level = (weight / _beside(self.scale, weight)).round() + _beside(self.zero_point, weight)
        return level.clamp(self.low, self.high)


def grid_for(weight: torch.Tensor, name: GridName, *, bits: int, per_channel: bool) -> Grid:
    """The grid of that kind for `weight` as it is now."""
    rows = weight.flatten(start_dim=1) if per_channel else weight.reshape(1, -1)
    make = _symmetric if name == "symmetric" else _uniform
    grid = make(rows, bits)
    return grid if per_channel else Grid(grid.scale[0], grid.zero_point[0], grid.low, grid.high)


def _symmetric(rows: torch.Tensor, bits: int) -> Grid:
    """The scale of each row whose rounding is closest in squares.

    Clipping a few large weights leaves finer levels for the many small ones.
    """
    top = 2 ** (bits - 1) - 1
    largest_R = rows.abs().amax(dim=1)
    candidates_KR = _half(_CLIPS[:, None] * largest_R / top)
    errors_KR = torch.stack(
        [
            ((rows / s_R[:, None]).round().clamp(-top, top) * s_R[:, None] - rows).square().sum(dim=1)
            for s_R in candidates_KR
        ]
    )
    scale_R = candidates_KR.gather(0, errors_KR.argmin(dim=0)[None])[0]
    return Grid(scale_R, torch.zeros_like(scale_R), -top, top)


def _uniform(rows: torch.Tensor, bits: int) -> Grid:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    least_R, greatest_R = rows.amin(dim=1).clamp(max=0), rows.amax(dim=1).clamp(min=0)
    scale_R = _half((greatest_R - least_R) / (high - low))
    return Grid(scale_R, (low - least_R / scale_R).round().clamp(low, high), low, high)


def _half(scale: torch.Tensor) -> torch.Tensor:
    """Half-precision numbers, if they can hold all of them as precisely as any; 1 where there is nothing but zeros.

    That is what a file keeps: training sees the very numbers that serving will.
    """
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    normal = (scale >= _HALF.tiny) & (scale <= _HALF.max)
    return scale.half().float() if bool(normal.all()) else scale


def _beside(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return values if values.ndim == 0 else values.view(-1, *[1] * (weight.ndim - 1))
