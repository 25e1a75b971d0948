"""Penalties on the weights: l1 * sum |w| + l2 / 2 * sum w^2.

They depend on no row, so they are added to the gradient once per step, after it was averaged over the workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from raymaas.specs.jobs import Training


@dataclass(frozen=True, eq=False)
class Penalty:
    """Over `weights`: the trained parameters with two dimensions or more, so neither biases nor norms' scales."""

    l1: float
    l2: float
    weights: tuple[nn.Parameter, ...]

    @classmethod
    def of(cls, training: Training, network: nn.Module) -> Self:
        penalised = tuple(p for p in network.parameters() if p.requires_grad and p.dim() >= 2)
        return cls(l1=training.l1, l2=training.l2, weights=penalised if training.l1 or training.l2 else ())

    @torch.no_grad()
    def value(self) -> float:
        """The penalty itself, summed in float64."""
        return sum(
            self.l1 * float(weight.double().abs().sum()) + self.l2 / 2 * float(weight.double().square().sum())
            for weight in self.weights
        )

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add the penalty's gradient to that of each weight; of |w| at 0 it is 0."""
        for weight in self.weights:
            if weight.grad is None:
                continue
            if self.l1:
                weight.grad.add_(weight.sign(), alpha=self.l1)
            if self.l2:
                weight.grad.add_(weight, alpha=self.l2)
