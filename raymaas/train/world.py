"""World: all that the loop knows of the other workers. Alone, it is `World.single()`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn


@dataclass(frozen=True)
class World:
    """This worker's place among `size`, and the two things they do together."""

    rank: int
    size: int
    device: torch.device
    all_reduce: Callable[[torch.Tensor], torch.Tensor]
    """The sum of this tensor over all workers, the same bits on each. Every worker must call it equally often."""
    wrap: Callable[[nn.Module], nn.Module]
    """Makes `backward` average gradients over the workers; shares its parameters with the module it is given."""

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
        """This worker's rows of `rows`: contiguous, disjoint from the others', together all, sizes at most one apart."""
        return slice(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)
