"""A residual multilayer perceptron: each block adds a correction to what it was given.

K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition (2015), without convolutions.
Legend: B rows, D features, H hidden units, C classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from raymaas.models.base import FeaturesConfig


class ResidualMLPConfig(FeaturesConfig):
    """Its size. A job sets these fields under `architecture.config`."""

    width: int = Field(default=64, ge=1, description="Hidden units, H.")
    blocks: int = Field(default=2, ge=1, description="Residual blocks.")


class ResidualMLP(nn.Module):
    """h0 = W s x; h(i+1) = h(i) + V relu(U h(i)); logits = R h."""

    Config: ClassVar[type[ResidualMLPConfig]] = ResidualMLPConfig

    def __init__(self, config: ResidualMLPConfig) -> None:
        super().__init__()
        self.input_scale = config.input_scale
        self.embed = nn.Linear(config.in_features, config.width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(config.width, config.width), nn.ReLU(), nn.Linear(config.width, config.width)
            )
            for _ in range(config.blocks)
        )
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        h_BH = self.embed(x_BD * self.input_scale)
        for block in self.blocks:
            h_BH = h_BH + block(h_BH)
        logits_BC: torch.Tensor = self.head(h_BH)
        return logits_BC
