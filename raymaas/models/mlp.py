"""The multilayer perceptron: linear maps with rectifiers and dropout between them.

D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning representations by back-propagating errors (1986);
rectifiers and their initialisation after He et al. (2015), dropout after Srivastava et al. (2014).
Legend: B rows, D features, H hidden units (of the layer at hand), C classes.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import nn

from raymaas.models.base import FeaturesConfig, ScaledConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.chance import Dropout
from raymaas.models.networks import Classifier, Regressor
from raymaas.models.widths import Setting, Width, into, out_of
from raymaas.specs.base import Spec
from raymaas.specs.tasks import Task


class _Layers(Spec):
    """Widths and regularisation."""

    hidden: tuple[PositiveInt, ...] = Field(
        (128,), min_length=1, description="Units of each hidden layer, input side first."
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of hidden units silenced in each training step."
    )

    def narrowable(self) -> tuple[Width, ...]:
        after = [*(f"hidden.{place}" for place in range(1, len(self.hidden))), "head"]
        return tuple(
            Width(units, (Setting(("hidden", place)),), (*out_of(f"hidden.{place}"), into(after[place])))
            for place, units in enumerate(self.hidden)
        )


class MLPConfig(_Layers, FeaturesConfig):
    """A classifier's settings."""


class MLPRegressorConfig(_Layers, ScaledConfig):
    """A regressor's settings. Targets far from 0 or 1 are learned faster when their mean and scale are given."""

    task: ClassVar[Task] = "regression"

    in_features: int = Field(ge=1, description="Values in a row. Absent: taken from the data.")
    target_mean: float = Field(0.0, description="Added to what the network gives: about the targets' mean.")
    target_scale: float = Field(
        1.0, gt=0, description="Multiplied with what the network gives: about the targets' deviation."
    )


class _Perceptron(Chained):
    """h0 = s x; h(i+1) = dropout(relu(W h(i) + b)); out = W h + b."""

    def __init__(self, config: MLPConfig | MLPRegressorConfig, *, outputs: int) -> None:
        super().__init__()
        self.input_scale = config.input_scale
        widths = (config.in_features, *config.hidden)
        self.hidden = nn.ModuleList(nn.Linear(m, n) for m, n in pairwise(widths))
        self.dropouts = nn.ModuleList(Dropout(config.dropout) for _ in config.hidden)
        self.head = nn.Linear(widths[-1], outputs)
        for layer in (*self.hidden, self.head):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def chain(self) -> tuple[Link, ...]:
        layers = zip(self.hidden, self.dropouts, strict=True)
        hidden = (Link(partial(_layer, layer, dropout), layer) for layer, dropout in layers)
        return Link(self._scaled), *hidden, Link(self.head, self.head)

    def _scaled(self, x_BD: torch.Tensor) -> torch.Tensor:
        return x_BD.flatten(1) * self.input_scale


def _layer(layer: nn.Module, dropout: nn.Module, h_BH: torch.Tensor) -> torch.Tensor:
    out_BH: torch.Tensor = dropout(torch.relu(layer(h_BH)))
    return out_BH


class MLP(_Perceptron, Classifier):
    """What comes out are logits."""

    Config: ClassVar[type[MLPConfig]] = MLPConfig

    def __init__(self, config: MLPConfig) -> None:
        super().__init__(config, outputs=config.classes)


class MLPRegressor(_Perceptron, Regressor):
    """What comes out is one number, of mean and scale as the config says."""

    Config: ClassVar[type[MLPRegressorConfig]] = MLPRegressorConfig

    def __init__(self, config: MLPRegressorConfig) -> None:
        super().__init__(config, outputs=1)
        self.target_mean, self.target_scale = config.target_mean, config.target_scale

    def chain(self) -> tuple[Link, ...]:
        return *super().chain(), Link(self._target)

    def _target(self, out_B1: torch.Tensor) -> torch.Tensor:
        return self.target_mean + self.target_scale * out_B1[:, 0]
