"""Chains: networks that are one link after another, so that they can be cut in two.

Legend: B rows of a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import nn

from raymaas.errors import InvalidInput
from raymaas.models.networks import Network

_TRAINED = 4  # a trained weight is kept with its gradient and, by Adam, two more numbers


class Link:
    """A function of what the link before gave, [B, ...] to [B, ...], float32, and all it has weights in.

    One that `sees_rows` is also given the network's rows, wherever in the chain it is. A weight may be in several
    links.
    """

    __slots__ = ("_run", "_sees_rows", "_weighted")

    def __init__(
        self, run: Callable[..., torch.Tensor], *weighted: nn.Module | nn.Parameter, sees_rows: bool = False
    ) -> None:
        self._run, self._weighted, self._sees_rows = run, weighted, sees_rows

    def __call__(self, given_B: torch.Tensor, x_B: torch.Tensor) -> torch.Tensor:
        return self._run(given_B, x_B) if self._sees_rows else self._run(given_B)

    @property
    def module(self) -> nn.Module | None:
        """The one module that has all its weights, if there is one."""
        (part, *others) = self._weighted or (None,)
        return part if isinstance(part, nn.Module) and not others else None

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        return tuple(
            weight
            for part in self._weighted
            for weight in (part.parameters() if isinstance(part, nn.Module) else (part,))
        )


class Chained(Network):
    """A network whose `forward` is its links: the first is given the rows, each other what the one before it gave."""

    def chain(self) -> tuple[Link, ...]:
        """The links, in order. Their weights are all the network has, and it has no buffers."""
        raise NotImplementedError

    def forward(self, x_B: torch.Tensor) -> torch.Tensor:
        return through(self.chain(), x_B, x_B)


def through(chain: Sequence[Link], given_B: torch.Tensor, x_B: torch.Tensor) -> torch.Tensor:
    """What the last link of `chain` gives, when the first gets `given_B` and the network's rows are `x_B`."""
    for link in chain:
        given_B = link(given_B, x_B)
    return given_B


def links(network: Network) -> tuple[Link, ...]:
    """The links of `network`. Raises InvalidInput, saying why, when it has none."""
    if not isinstance(network, Chained):
        raise uncut(type(network).__name__, network.indivisible)
    return network.chain()


def uncut(name: str, why: str) -> InvalidInput:
    """The refusal to cut a network of that name."""
    return InvalidInput(
        f"scaling.strategy pipeline cannot cut {name} in two: {why}; use fsdp, which shards any network"
    )


def cut(chain: Sequence[Link]) -> int:
    """How many links to give the first of two workers, so that the larger part is as small as can be.

    Raises InvalidInput when one of the two would have nothing to train.
    """
    cuts = [
        count for count in range(1, len(chain)) if _is_trained(chain[:count]) and _is_trained(chain[count:])
    ]
    if not cuts:
        raise InvalidInput(
            "scaling.strategy pipeline needs something to train in both halves of the network, but has no place to cut "
            "it so; add a layer, or use fsdp"
        )
    return min(cuts, key=lambda count: max(_size(chain[:count]), _size(chain[count:])))


def units(network: Network) -> tuple[nn.Module, ...]:
    """Modules that are called one after another, and so need their weights one after another; maybe none.

    None of a network with a `forward` of its own, such as one of the user's, which may write over what it is given.
    """
    if not isinstance(network, Chained) or type(network).forward is not Chained.forward:
        return ()
    chain = network.chain()
    users = Counter(weight for link in chain for weight in set(link.parameters))
    return tuple(
        link.module
        for link in chain
        if link.module is not None and link.parameters and all(users[w] == 1 for w in link.parameters)
    )


def _weights(chain: Sequence[Link]) -> set[nn.Parameter]:
    return {weight for link in chain for weight in link.parameters}


def _size(chain: Sequence[Link]) -> int:
    return sum(weight.numel() * (_TRAINED if weight.requires_grad else 1) for weight in _weights(chain))


def _is_trained(chain: Sequence[Link]) -> bool:
    return any(weight.requires_grad for weight in _weights(chain))
