"""The multilayer perceptron: linear maps with rectifiers and dropout between them.

D. E. Rumelhart, G. E. Hinton, R. J. Williams, Learning representations by back-propagating errors (1986);
rectifiers and their initialisation after He et al. (2015), dropout after Srivastava et al. (2014).
Legend: B rows, D features, H hidden units (of the layer at hand), C classes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import nn

from raymaas.models.base import FeaturesConfig


class MLPConfig(FeaturesConfig):
    """Widths and regularisation."""

    hidden: tuple[PositiveInt, ...] = Field(
        (128,), min_length=1, description="Units of each hidden layer, input side first."
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of hidden units silenced in each training step."
    )


class MLP(nn.Module):
    """h0 = s x; h(i+1) = dropout(relu(W h(i) + b)); logits = W h + b."""

    Config: ClassVar[type[MLPConfig]] = MLPConfig

    def __init__(self, config: MLPConfig) -> None:
        super().__init__()
        self.input_scale = config.input_scale
        widths = (config.in_features, *config.hidden)
        self.hidden = nn.ModuleList(nn.Linear(m, n) for m, n in pairwise(widths))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(widths[-1], config.classes)
        for layer in (*self.hidden, self.head):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        h_BH = x_BD.flatten(1) * self.input_scale
        for layer in self.hidden:
            h_BH = self.dropout(torch.relu(layer(h_BH)))
        logits_BC: torch.Tensor = self.head(h_BH)
        return logits_BC
