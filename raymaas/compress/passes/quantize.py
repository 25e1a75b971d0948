"""Quantization-aware training: weights become a few integer levels times a scale, and learn to live with it.

Forward passes see the rounded weights, gradients go straight through: see `raymaas.compress.grids`. Biases get 8 bits.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from raymaas.bundle.rmz.tensors import Quantized
from raymaas.compress.distill import fine_tune
from raymaas.compress.grids import GridName, grid_for
from raymaas.compress.subject import Subject
from raymaas.compress.weights import Weight
from raymaas.specs.base import Spec

_BIAS_BITS = 8


class QuantizeConfig(Spec):
    """How coarse."""

    bits: int = Field(ge=2, le=8, description="Bits of a level.")
    epochs: int = Field(16, ge=0, description="Epochs of training with rounded weights.")
    grid: GridName = Field(
        "symmetric",
        description="Levels around zero; or uniform, over all there is from the least weight to the greatest.",
    )
    scales: Literal["tensor", "channel"] = Field(
        "channel", description="One scale for a layer, or one for each of its outputs."
    )


class Quantize:
    """Afterwards weights of two dimensions or more and biases of layers are settled: no later pass may touch them.

    Others, such as those of norms, are few and stay as they are.
    """

    Config: ClassVar[type[QuantizeConfig]] = QuantizeConfig

    def __init__(self, config: QuantizeConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        grids = {
            name: grid_for(
                weight.parameter.detach(),
                self._config.grid,
                bits=bits,
                per_channel=self._has_channels(weight),
            )
            for name, weight in subject.weights.items()
            if (bits := self._bits(weight))
        }
        for name, grid in grids.items():
            subject.weights[name].constrain(grid)
        fine_tune(subject, epochs=self._config.epochs)
        for name, grid in grids.items():
            subject.coded[name] = Quantized(
                levels=grid.levels(subject.weights[name].parameter.detach()),
                scale=grid.kept_scale(),
                bits=(grid.high - grid.low).bit_length(),
                zero_point=grid.zero_point.to(torch.int8).numpy() if self._config.grid == "uniform" else None,
            )

    def _bits(self, weight: Weight) -> int | None:
        """None for what stays as it is."""
        if weight.parameter.dim() >= 2:
            return self._config.bits
        return _BIAS_BITS if weight.is_bias else None

    def _has_channels(self, weight: Weight) -> bool:
        """An embedding has a row for each token: so many scales would take more than they bring."""
        matrices = ("linear", "convolution", "recurrent")
        return self._config.scales == "channel" and weight.kind in matrices
