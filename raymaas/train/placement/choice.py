"""Which placement a job asks for, and whether its network can have it."""

from __future__ import annotations

from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.base import Architecture
from raymaas.models.chain import Chained
from raymaas.models.networks import Network
from raymaas.specs.jobs import TrainJob
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
            # Importing it takes each worker a second, for torch's distributed tensors.
            from raymaas.train.placement.sharded import Sharded

            return Sharded(network, world)
        case "pipeline":
            if not isinstance(network, Chained):
                raise _uncut(type(network).__name__)
            return Staged(network, world)


def refuse_uncut(job: TrainJob) -> None:
    """Raises InvalidInput when `job` wants a pipeline of a family that is no chain; no worker is needed to know."""
    component = job.architecture
    if job.scaling.strategy == "pipeline" and (
        component.is_own_code or not _is_chained(catalogue.architecture(component.use))
    ):
        raise _uncut(component.use)


def _is_chained(family: Architecture) -> bool:
    return isinstance(family, type) and issubclass(family, Chained)


def _uncut(family: str) -> InvalidInput:
    return InvalidInput(
        f"scaling.strategy pipeline cannot cut {family!r} in two: it is not one layer after another; "
        "use fsdp, which shards any network"
    )
