"""The whole network on every worker: gradients are averaged over them. The default, and all a single worker needs.

S. Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training (2020).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce

import torch
from torch.nn.parallel import DistributedDataParallel

from raymaas.models.networks import Network
from raymaas.train.optimizers import State, restore
from raymaas.train.placement.base import Piece, Placed, Work
from raymaas.train.placement.shared_memory import Averaging, can_share
from raymaas.train.world import World


class Whole(Placed):
    """As `World.wrap` puts it there, or on workers of one machine with CPUs, as `Averaging` does without."""

    def __init__(self, network: Network, world: World) -> None:
        self.network, self.world = network, world
        self._average = Averaging.between(network, world) if can_share(network, world) else None
        self.model = network.to(world.device) if self._average else world.wrap(network)

    def gradient(self, pieces: Sequence[Piece], work: Work) -> torch.Tensor:
        losses = []
        for number, piece in enumerate(pieces, start=1):
            with nullcontext() if number == len(pieces) else self._unsynchronised():
                loss = work.loss(work.given(self.model, piece.x_BD, piece), piece)
                loss.backward(piece.scale)  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        if self._average:
            self._average()
        return reduce(torch.add, losses)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> State:
        state: State = optimizer.state_dict()["state"]
        return state

    def restore(
        self, weights: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, state: State
    ) -> None:
        self.network.load_state_dict(dict(weights))
        restore(optimizer, state)

    def _unsynchronised(self) -> AbstractContextManager[None]:
        """Gradients add up on this worker until the last piece of a batch, and are averaged with it."""
        model = self.model
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()
