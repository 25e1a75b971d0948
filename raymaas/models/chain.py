"""Chains: networks that are one link after another, so that they can be cut in two.

Legend: B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import torch
from torch import nn

from raymaas.errors import InvalidInput
from raymaas.models.attention import Block
from raymaas.models.networks import Network

_TRAINED = 4  # a trained weight is kept with its gradient and, by Adam, two more numbers


class Link:
    """A function of what the link before gave, [B, ...] to [B, ...], float32, and all it has weights in.

    No other link has weights there.
    """

    def __init__(
        self, run: Callable[[torch.Tensor], torch.Tensor], *weighted: nn.Module | nn.Parameter
    ) -> None:
        self.run = run
        self.modules = tuple(part for part in weighted if isinstance(part, nn.Module))
        self._direct = tuple(part for part in weighted if isinstance(part, nn.Parameter))

    @property
    def is_one_module(self) -> bool:
        """Whether that is one module and nothing else."""
        return len(self.modules) == 1 and not self._direct

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        return (*self._direct, *(weight for module in self.modules for weight in module.parameters()))


class Chained(Network):
    """A network whose `forward` is its links, each given what the one before it gave."""

    def chain(self) -> tuple[Link, ...]:
        """The links, in order. Their weights are all the network has, and it has no buffers."""
        raise NotImplementedError

    def forward(self, x_B: torch.Tensor) -> torch.Tensor:
        for link in self.chain():
            x_B = link.run(x_B)
        return x_B


def cut(network: Chained) -> int:
    """How many links to give the first of two workers, so that the larger part is as small as can be.

    Raises InvalidInput when one of the two would have nothing to train.
    """
    links = network.chain()
    through = list(accumulate(map(_size, links)))
    cuts = [
        count
        for count in range(1, len(links))
        if any(map(_is_trained, links[:count])) and any(map(_is_trained, links[count:]))
    ]
    if not cuts:
        raise InvalidInput(
            "scaling.strategy pipeline needs something to train in both halves of the network, which it has not in "
            "architecture.config; add a layer, or use fsdp"
        )
    return min(cuts, key=lambda count: max(through[count - 1], through[-1] - through[count - 1]))


def units(network: Network) -> tuple[nn.Module, ...]:
    """Modules that are called one after another, and so need their weights one after another; maybe none."""
    if isinstance(network, Chained):
        modules = [link.modules[0] for link in network.chain() if link.is_one_module]
    else:
        modules = [module for module in network.modules() if isinstance(module, Block)]
    return tuple(module for module in modules if next(module.parameters(), None) is not None)


def _size(link: Link) -> int:
    return sum(weight.numel() * (_TRAINED if weight.requires_grad else 1) for weight in link.parameters)


def _is_trained(link: Link) -> bool:
    return any(weight.requires_grad for weight in link.parameters)
