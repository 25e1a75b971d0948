"""Support vector machines: a linear one, and one with a Gaussian kernel by random Fourier features.

C. Cortes, V. Vapnik, Support-Vector Networks (1995); several classes one against the rest. A. Rahimi, B. Recht,
Random Features for Large-Scale Kernel Machines (2007). What makes them support vector machines is how they are
trained: `training.loss: hinge` and `training.l2` = 1 / (c N) for the c of the textbooks and N training rows.
The outputs are margins; `probabilities` is their softmax and not calibrated.
Legend: B rows, D features, M random features, C classes.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from raymaas.models.base import FeaturesConfig
from raymaas.models.networks import Classifier


class LinearSVM(Classifier):
    """margins = W s x + b, with s the input scale."""

    Config: ClassVar[type[FeaturesConfig]] = FeaturesConfig

    def __init__(self, config: FeaturesConfig) -> None:
        super().__init__()
        self.input_scale = config.input_scale
        self.linear = _from_zero(nn.Linear(config.in_features, config.classes))

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        margins_BC: torch.Tensor = self.linear(x_BD.flatten(1) * self.input_scale)
        return margins_BC


class RBFSVMConfig(FeaturesConfig):
    """The kernel exp(-gamma |s x - s y|^2), and how finely it is approximated."""

    gamma: float = Field(
        gt=0, description="Of the kernel, after input_scale. 1 / (D var(x)) is a good start."
    )
    features: int = Field(
        2048, ge=1, description="Random features M; the kernel's error falls with their root."
    )


class RBFSVM(Classifier):
    """margins = V z(s x) + b, z(x) = sqrt(2/M) cos(W x + phase): the mean of z(x) . z(y) is the kernel.

    W ~ N(0, 2 gamma) and the phases, uniform in 0..2 pi, are drawn once and kept with the weights.
    """

    Config: ClassVar[type[RBFSVMConfig]] = RBFSVMConfig
    frequencies_MD: torch.Tensor
    phases_M: torch.Tensor

    def __init__(self, config: RBFSVMConfig) -> None:
        super().__init__()
        self.input_scale = config.input_scale
        frequencies_MD = torch.randn(config.features, config.in_features) * math.sqrt(2 * config.gamma)
        self.register_buffer("frequencies_MD", frequencies_MD)
        self.register_buffer("phases_M", torch.rand(config.features) * 2 * math.pi)
        self.linear = _from_zero(nn.Linear(config.features, config.classes))

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        angles_BM = torch.addmm(self.phases_M, x_BD.flatten(1) * self.input_scale, self.frequencies_MD.T)
        z_BM = math.sqrt(2 / len(self.phases_M)) * torch.cos(angles_BM)
        margins_BC: torch.Tensor = self.linear(z_BM)
        return margins_BC


def _from_zero(linear: nn.Linear) -> nn.Linear:
    """The symmetric start of a convex problem: no seed is needed to reproduce its solution."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
