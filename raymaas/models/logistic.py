"""Multinomial logistic regression: one linear map, softmax outside. The baseline every network has to beat.

D. R. Cox, The Regression Analysis of Binary Sequences (1958). Legend: B rows, D features, C classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from raymaas.models.base import FeaturesConfig
from raymaas.models.networks import Classifier


class LogisticRegression(Classifier):
    """logits = W s x + b, with s the input scale."""

    Config: ClassVar[type[FeaturesConfig]] = FeaturesConfig

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.input_scale = config.input_scale
        self.linear = nn.Linear(config.in_features, config.classes)
        # Zero is the symmetric start, and the loss is convex: no seed is needed to reproduce it.
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        logits_BC: torch.Tensor = self.linear(x_BD.flatten(1) * self.input_scale)
        return logits_BC
