"""World: all that the loop knows of the other workers. Alone, it is `World.single()`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from raymaas.specs.jobs import Strategy


@dataclass(frozen=True)
class World:
    """This worker's place among `size`, and the two things they do together."""

    rank: int
    size: int
    device: torch.device
    all_reduce: Callable[[torch.Tensor], torch.Tensor]
    """The sum of a tensor over all workers, the same bits on each. All must call it equally often."""
    wrap: Callable[[nn.Module], nn.Module]
    """Moves a module to the device, and makes `backward` average gradients over the workers; in place."""
    one_machine: bool = False
    """Whether all workers are processes of one machine, which then can share memory. Needs the process group, too."""
    strategy: Strategy = "ddp"
    """How a network lies on the workers. Any but ddp needs torch's default process group to be theirs."""

    @classmethod
    def single(cls, device: str = "cpu") -> Self:
        return cls(
            rank=0,
            size=1,
            device=torch.device(device),
            all_reduce=lambda tensor: tensor,
            wrap=lambda module: module.to(torch.device(device)),
        )

    def shard(self, rows: int) -> slice:
        """This worker's share of `rows` rows: contiguous, disjoint, at most one row longer than another's."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)
