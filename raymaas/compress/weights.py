"""The weights under compression: what an optimizer moves, and what the network computes with.

Between the two stand constraints, such as a mask or a grid of levels. Modules are left as they are, so this is the
same for the weights of any layer: linear, convolutional, embedding, attention, recurrent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

Kind = Literal["linear", "convolution", "embedding", "recurrent", "other"]


class Constraint(Protocol):
    """A map of weights to weights, and what of a gradient goes back through it."""

    def value(self, weight: torch.Tensor) -> torch.Tensor: ...

    def gradient(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient of `weight`, given that of its value."""
        ...


class Weight:
    """One parameter of a network, by its name there.

    `moved` is what an optimizer moves: the parameter itself, until it is constrained. Then the parameter is the
    constraints' value of it, from one `settle` to the next.
    """

    def __init__(self, name: str, module: nn.Module, parameter: nn.Parameter) -> None:
        self.name, self.module, self.parameter = name, module, parameter
        self.moved = parameter
        self._constraints: list[Constraint] = []
        self._seen: list[torch.Tensor] = []

    @property
    def kind(self) -> Kind:
        """What kind of layer it is a matrix of; biases, norms and what stands alone are `other`."""
        if self.parameter.dim() < 2:
            return "other"
        match self.module:
            case nn.Linear():
                return "linear"
            case _ConvNd():
                return "convolution"
            case nn.Embedding():
                return "embedding"
            case nn.RNNBase():
                return "recurrent"
        return "other"

    @property
    def is_bias(self) -> bool:
        """Whether it is what a layer with a matrix adds."""
        part = self.name.rpartition(".")[2]
        layers = nn.Linear | _ConvNd | nn.RNNBase
        return part.startswith("bias") and isinstance(self.module, layers)

    @torch.no_grad()
    def constrain(self, constraint: Constraint) -> None:
        """From now on the network computes with `constraint`'s value of what it computed with before."""
        if not self._constraints:
            self.moved = nn.Parameter(self.parameter.detach().clone())
        self._constraints.append(constraint)
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Let the network compute with what `moved` stands for now."""
        if not self._constraints:
            return
        self._seen, value = [], self.moved.detach()
        for constraint in self._constraints:
            self._seen.append(value)
            value = constraint.value(value)
        self.parameter.copy_(value)

    @torch.no_grad()
    def pull(self) -> None:
        """Give `moved` the gradient of the parameter, as far as the constraints let it through."""
        if not self._constraints:
            return
        gradient = self.parameter.grad
        if gradient is not None:
            for constraint, weight in zip(reversed(self._constraints), reversed(self._seen), strict=True):
                gradient = constraint.gradient(weight, gradient)
        self.moved.grad = gradient


def weights_of(network: nn.Module) -> Iterator[Weight]:
    """All parameters in the network's order, each once, under the first of its names."""
    seen: set[nn.Parameter] = set()
    for prefix, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield Weight(f"{prefix}.{name}" if prefix else name, module, parameter)
