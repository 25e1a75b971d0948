"""Which placement a job asks for, and whether its network can have it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from raymaas.errors import InvalidInput
from raymaas.models.chain import cut, links
from raymaas.models.networks import Network
from raymaas.specs.jobs import Strategy
from raymaas.train.placement.base import Placed
from raymaas.train.placement.staged import Staged
from raymaas.train.placement.whole import Whole
from raymaas.train.world import World


def place(network: Network, world: World) -> Placed:
    """`network` on this worker and the others, as `world.strategy` says.

    Raises InvalidInput for a network that cannot lie there that way.
    """
    match world.strategy:
        case "ddp":
            return Whole(network, world)
        case "fsdp":
            _refuse_numbers(network)
            # Importing it takes each worker a second, for torch's distributed tensors.
            from raymaas.train.placement.sharded import Sharded

            return Sharded(network, world)
        case "pipeline":
            return Staged(network, world)


def refuse_misplaced(make: Callable[[], Network], strategy: Strategy) -> None:
    """Raises InvalidInput as `place` does for the network that `make` makes; no worker is needed to know.

    torch's generator is left as it was found.
    """
    if strategy == "ddp":
        return
    with torch.random.fork_rng(devices=[]):
        network = make()
    if strategy == "fsdp":
        _refuse_numbers(network)
    else:
        cut(links(network))


def _refuse_numbers(network: Network) -> None:
    for name, weight in network.named_parameters():
        if weight.dim() == 0:
            raise InvalidInput(
                f"scaling.strategy fsdp cannot shard the number {name!r}; give it the shape [1], or use ddp"
            )
