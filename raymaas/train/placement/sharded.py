"""A shard of every parameter on each worker, with its gradient and its optimizer's state; rows are dealt out as ever.

S. Rajbhandari et al., ZeRO: Memory Optimizations Toward Training Trillion Parameter Models (2020), stage 3; Y. Zhao et
al., PyTorch FSDP (2023). Parameters are gathered while they are computed with: of a chain of the catalogue one
link after the other, of other networks all at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from raymaas.models.chain import units
from raymaas.models.networks import Network
from raymaas.train.optimizers import State, restore
from raymaas.train.placement.base import Piece, Placed, Work
from raymaas.train.world import World


class Sharded(Placed):
    """Over the workers of torch's default process group, which must be those of `world`.

    Every parameter must have a dimension to be cut along.
    """

    def __init__(self, network: Network, world: World) -> None:
        mesh = init_device_mesh(world.device.type, (world.size,))
        for module in (*units(network), network):
            fully_shard(module, mesh=mesh)
        self.network, self.world = network, world

    def gradient(self, pieces: Sequence[Piece], work: Work) -> torch.Tensor:
        losses = []
        # Each is reduced at once: unreduced gradients would be as large as the whole network.
        for piece in pieces:
            loss = work.loss(work.given(self.network, piece.x_BD, piece), piece)
            loss.backward(piece.scale)  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return reduce(torch.add, losses)

    @property
    def keeps(self) -> bool:
        return self.world.rank == 0

    def weights(self) -> dict[str, torch.Tensor]:
        gathered = {name: self._gathered(tensor) for name, tensor in self.network.state_dict().items()}
        return gathered if self.keeps else {}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> State:
        gathered = {
            index: {name: self._gathered(value) for name, value in values.items()}
            for index, values in optimizer.state_dict()["state"].items()
        }
        return gathered if self.keeps else {}

    @torch.no_grad()
    def restore(
        self, weights: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, state: State
    ) -> None:
        for name, tensor in self.network.state_dict().items():
            tensor.copy_(_like(tensor, weights[name]))
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        restore(
            optimizer,
            {
                index: {name: _like(trained[index], value) for name, value in values.items()}
                for index, values in state.items()
            },
        )

    def _gathered(self, value: Any) -> Any:
        """A tensor's whole on the CPU, where it is kept; what is no shard is the same on every worker."""
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if not isinstance(whole, torch.Tensor):
            return whole
        return whole.detach().cpu().clone() if self.keeps else None


def _like(placed: torch.Tensor, value: Any) -> Any:
    """`value` laid out as `placed` is, when it is a whole of that shape."""
    if not isinstance(value, torch.Tensor) or not isinstance(placed, DTensor) or value.shape != placed.shape:
        return value
    whole = value.to(placed.device)
    return distribute_tensor(whole, placed.device_mesh, placed.placements, src_data_rank=None)
