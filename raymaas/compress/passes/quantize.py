"""Quantization-aware training: weights become a few shared values, and learn to live with it.

Forward passes see the rounded weights; gradients go straight through (`raymaas.compress.grids`), or to the values
themselves (`raymaas.compress.clusters`). Biases are rounded to the nearest, each layer's on a grid of one scale.

A scale for each channel follows the weights more closely, and takes two bytes. A pruned 784-300-100-10 at 3 bits errs
as often with either (1.69 % of MNIST's test rows), in 9,578 bytes with 410 scales and 8,629 with three: take `tensor`
where layers have few weights. A rate is worth more than pruning further: 0.2 took the second to 8,052 bytes at 1.66 %,
and 5 bits for biases that to 7,889 at 1.65 %. A step of training with a rate takes 1.8 times one without.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

import torch
from pydantic import Field

from raymaas.bundle.rmz.tensors import Coded
from raymaas.compress.clusters import Clusters
from raymaas.compress.distill import Steps, fine_tune, usual_epochs
from raymaas.compress.grids import CheapGrid, GridName, grid_for
from raymaas.compress.subject import Subject
from raymaas.compress.weights import Constraint, Weight
from raymaas.specs.base import Spec

_USUAL_EPOCHS = 8


class QuantizeConfig(Spec):
    """How coarse."""

    bits: int = Field(ge=2, le=8, description="Bits of a level; of a codebook, 2^bits values.")
    epochs: int | None = Field(
        default=None,
        ge=0,
        description="Epochs of training with rounded weights. Absent: 8, and more on few rows.",
    )
    learning_rate: float | None = Field(
        default=None, gt=0, description="In place of fine_tuning.learning_rate, in this pass."
    )
    grid: GridName | Literal["codebook"] = Field(
        "symmetric",
        description="Levels around zero; or uniform, over all there is from the least weight to the greatest; or a "
        "codebook of any values, found by k-means and trained.",
    )
    scales: Literal["tensor", "channel"] = Field(
        "channel",
        description="One scale for a layer, or one for each of its outputs. A codebook is always of a layer.",
    )
    bias_bits: int = Field(8, ge=2, le=8, description="Bits of a layer's biases, on a grid of one scale.")
    rate: float = Field(
        0.0,
        ge=0,
        description="What a bit of the coded file is worth, as the square of a rounding error in steps of the grid: "
        "weights go to frequent levels, zero above all, where the error is not much greater. 0 rounds to the nearest.",
    )


class Rounded(Constraint, Protocol):
    """A constraint to values that a file can keep."""

    def renew(self) -> None:
        """An epoch begins; what was estimated of weights may be estimated anew."""
        ...

    def kept(self, parameter: torch.Tensor) -> Coded: ...


class Quantize:
    """Afterwards weights of two dimensions or more and biases of layers are settled: no later pass may touch them.

    Others, such as those of norms, are few and stay as they are.
    """

    Config: ClassVar[type[QuantizeConfig]] = QuantizeConfig

    def __init__(self, config: QuantizeConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        rounded = {name: made for name, weight in subject.weights.items() if (made := self._rounded(weight))}
        for name, constraint in rounded.items():
            subject.weights[name].constrain(constraint)

        def renew(epoch: int) -> None:
            for name, constraint in rounded.items():
                constraint.renew()
                subject.weights[name].settle()

        fine_tune(
            subject,
            epochs=usual_epochs(subject, self._config.epochs, usual=_USUAL_EPOCHS),
            learning_rate=self._config.learning_rate,
            steps=Steps(before_epoch=renew),
        )
        for name, constraint in rounded.items():
            subject.coded[name] = constraint.kept(subject.weights[name].parameter.detach())

    def _rounded(self, weight: Weight) -> Rounded | None:
        """None for what stays as it is."""
        config, parameter = self._config, weight.parameter.detach()
        if weight.parameter.dim() < 2:
            if not weight.is_bias:
                return None
            return grid_for(parameter, "symmetric", bits=config.bias_bits, per_channel=False)
        if config.grid == "codebook":
            return Clusters(bits=config.bits, rate=config.rate)
        per_channel = self._has_channels(weight)
        grid = grid_for(parameter, config.grid, bits=config.bits, per_channel=per_channel)
        return CheapGrid(grid, rate=config.rate) if config.rate else grid

    def _has_channels(self, weight: Weight) -> bool:
        """An embedding has a row for each token: so many scales would take more than they bring."""
        matrices = ("linear", "convolution", "recurrent")
        return self._config.scales == "channel" and weight.kind in matrices
