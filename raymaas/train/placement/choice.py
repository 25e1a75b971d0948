"""Which placement a job asks for, and whether its network can have it."""

from __future__ import annotations

from raymaas.errors import InvalidInput
from raymaas.models.chain import Chained
from raymaas.models.networks import Network
from raymaas.train.placement.base import Placed
from raymaas.train.placement.staged import Staged
from raymaas.train.placement.whole import Whole
from raymaas.train.world import World


def place(network: Network, world: World) -> Placed:
    """`network` on this worker and the others, as `world.strategy` says.

    Raises InvalidInput for a network that cannot be cut in two.
    """
    match world.strategy:
        case "ddp":
            return Whole(network, world)
        case "fsdp":
            # Importing it takes each worker a second, for torch's distributed tensors.
            from raymaas.train.placement.sharded import Sharded

            return Sharded(network, world)
        case "pipeline":
            if not isinstance(network, Chained):
                raise InvalidInput(uncut(type(network).__name__))
            return Staged(network, world)


def uncut(family: str) -> str:
    """The sentence that refuses a pipeline."""
    return (
        f"scaling.strategy pipeline cannot cut {family!r} in two: it is not one layer after another; "
        "use fsdp, which shards any network"
    )
