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

from raymaas.bundle.rmz.tensors import Quantized
from raymaas.compress.rounding import CheapRounding, cheap_rounding

GridName = Literal["symmetric", "uniform"]

_HALF = torch.finfo(torch.float16)
_CLIPS = torch.linspace(0.3, 1.0, 29)

_Levels = tuple[torch.Tensor, torch.Tensor, int, int]
"""Scale [R], zero point [R], least level, greatest."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where weights may lie; a constraint of `compress.weights`. A weight beyond the ends has no gradient.

    `scale` is float32 of shape [] or [R]. `zero_point` is of the same shape, a whole number.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor
    low: int
    high: int

    def renew(self) -> None:
        """Nearest is nearest, whatever weights there are."""

    def value(self, weight: torch.Tensor) -> torch.Tensor:
        """The nearest numbers on the grid."""
        scale = _beside(self.scale, weight)
        if self._around_zero:
            return (weight / scale).round_().clamp_(self.low, self.high).mul_(scale)
        return self.clipped(self.steps(weight).round()) * scale

    def gradient(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Straight through (Y. Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013)."""
        scale = _beside(self.scale, weight)
        if self._around_zero:
            return gradient * (weight.abs() <= scale * (self.high + 0.5))
        level = weight / scale + _beside(self.zero_point, weight)
        within: torch.Tensor = (level >= self.low - 0.5) & (level <= self.high + 0.5)
        return gradient * within

    def levels(self, weight: torch.Tensor) -> np.ndarray:
        """The nearest, int8, of the shape of `weight`."""
        steps = self.clipped(self.steps(weight).round())
        return (steps + _beside(self.zero_point, weight)).to(torch.int8).numpy()

    def kept(self, parameter: torch.Tensor) -> Quantized:
        """`parameter`, which lies on the grid, as a file keeps it."""
        return Quantized(
            levels=self.levels(parameter),
            scale=self.kept_scale(),
            bits=(self.high - self.low).bit_length(),
            zero_point=self.zero_point.to(torch.int8).numpy() if self.zero_point.any() else None,
        )

    def kept_scale(self) -> np.ndarray:
        """The scale as a file keeps it: at half precision where that is the very same number."""
        halved = self.scale.half()
        return (halved if torch.equal(halved.float(), self.scale) else self.scale).numpy()

    @property
    def _around_zero(self) -> bool:
        """Then zero points are 0, and every step of a training is spared some passes over the weights."""
        return self.low == -self.high

    def steps(self, weight: torch.Tensor) -> torch.Tensor:
        """How many steps from zero, not rounded."""
        return weight / _beside(self.scale, weight)

    def clipped(self, steps: torch.Tensor) -> torch.Tensor:
        """No further from zero than the levels reach."""
        zero_point = _beside(self.zero_point, steps)
        return (steps + zero_point).clamp(self.low, self.high) - zero_point


class CheapGrid:
    """A grid on which weights go to the level that costs least in error and bits together; a constraint likewise.

    `rate` is what a bit is worth, in units of a squared step of the weight's own grid. Bits are those of steps from
    zero, in the tensor as a whole: estimated when it first sees weights, and anew after each `renew`.
    """

    def __init__(self, grid: Grid, *, rate: float) -> None:
        self._grid, self._rate = grid, rate
        self._least = grid.low - int(grid.zero_point.max())
        most = grid.high - int(grid.zero_point.min())
        self._values_K = torch.arange(self._least, most + 1, dtype=torch.float32)
        self._rounding: CheapRounding | None = None
        self._due = True

    def renew(self) -> None:
        """Let bits be estimated anew of the weights that are seen next."""
        self._due = True

    def value(self, weight: torch.Tensor) -> torch.Tensor:
        """The numbers on the grid that weights go to; a weight of zero stays."""
        steps = self._grid.steps(weight)
        if self._rounding is None or self._due:
            places = (self._grid.clipped(steps.round()) - self._least).to(torch.int64)
            self._rounding = cheap_rounding(steps, self._values_K, places, rate=self._rate)
            self._due = False
        rounded = torch.where(steps == 0, 0.0, self._rounding.places(steps) + self._least)
        return self._grid.clipped(rounded) * _beside(self._grid.scale, weight)

    def gradient(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return self._grid.gradient(weight, gradient)

    def kept(self, parameter: torch.Tensor) -> Quantized:
        """As the grid keeps it."""
        return self._grid.kept(parameter)


def grid_for(weight: torch.Tensor, name: GridName, *, bits: int, per_channel: bool) -> Grid:
    """The grid of that kind for `weight` as it is now."""
    rows = weight.flatten(start_dim=1) if per_channel else weight.reshape(1, -1)
    make = _symmetric if name == "symmetric" else _uniform
    scale_R, zero_point_R, low, high = make(rows, bits)
    if per_channel:
        return Grid(scale_R, zero_point_R, low, high)
    return Grid(scale_R[0], zero_point_R[0], low, high)


def _symmetric(rows: torch.Tensor, bits: int) -> _Levels:
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
    return scale_R, torch.zeros_like(scale_R), -top, top


def _uniform(rows: torch.Tensor, bits: int) -> _Levels:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    least_R, greatest_R = rows.amin(dim=1).clamp(max=0), rows.amax(dim=1).clamp(min=0)
    scale_R = _half((greatest_R - least_R) / (high - low))
    return scale_R, (low - least_R / scale_R).round().clamp(low, high), low, high


def _half(scale: torch.Tensor) -> torch.Tensor:
    """Half-precision numbers, if they can hold all of them as precisely as any; 1 where there is nothing but zeros.

    That is what a file keeps: training sees the very numbers that serving will.
    """
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    normal = (scale >= _HALF.tiny) & (scale <= _HALF.max)
    return scale.half().float() if bool(normal.all()) else scale


def _beside(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return values if values.ndim == 0 else values.view(-1, *[1] * (weight.ndim - 1))
