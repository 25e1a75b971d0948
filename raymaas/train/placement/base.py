"""What the loop asks of a placed network: gradients, answers, and a checkpoint's contents.

Legend: B rows of this worker in a piece of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn.utils import clip_grad_norm_

from raymaas.models.networks import Network
from raymaas.train.optimizers import State
from raymaas.train.world import World

Compute = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Piece:
    """This worker's rows of a piece of a batch, and where in the batch they are."""

    x_BD: torch.Tensor
    y_B: torch.Tensor
    mine: slice
    rows: int
    """Of the whole batch, all workers together."""
    scale: torch.Tensor | None = None
    """What a summed loss counts in the batch's mean, before gradients are averaged over the workers."""
    step: int | None = None
    """Of the fit, from 0; both are None for rows that are not trained on."""


class Work(Protocol):
    """What is to be done with a piece, wherever that is."""

    def given(self, compute: Compute, x_BD: torch.Tensor, piece: Piece) -> torch.Tensor:
        """What `compute` makes of `x_BD`, the rows of `piece` or what an earlier part of the network made of them."""

    def loss(self, given_B: torch.Tensor, piece: Piece) -> torch.Tensor:
        """The sum of the rows' losses, for what the network gave."""


class Placed(ABC):
    """A network on this worker and the others. Every worker calls the same methods, equally often."""

    network: Network
    """Has the parameters that this worker trains; those it does not hold are on torch's `meta` device."""
    world: World
    """How rows are dealt out: workers that hold parts of one network get the same ones."""

    pieces: int = 1
    """In how many pieces a batch is cut at least."""

    @property
    def keeps(self) -> bool:
        """Whether this worker gets the whole of what goes into a checkpoint."""
        return True

    @abstractmethod
    def gradient(self, pieces: Sequence[Piece], work: Work) -> torch.Tensor:
        """Leave the gradient of the batch's mean loss in the parameters; the sum of this worker's losses.

        `World.all_reduce` of those sums is the batch's.
        """

    def given(self, piece: Piece, work: Work) -> torch.Tensor:
        """What the whole network gives for the piece. The caller holds `torch.no_grad`."""
        return work.given(self.network, piece.x_BD, piece)

    def clip(self, max_norm: float) -> None:
        """Scale the gradient, so that its norm over all parameters of the network is at most that."""
        clip_grad_norm_(self.network.parameters(), max_norm)

    @abstractmethod
    def weights(self) -> dict[str, torch.Tensor]:
        """All of the network, on the CPU; empty on a worker that does not keep it."""

    @abstractmethod
    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> State:
        """The state of all trained parameters, by their place among them; likewise."""

    @abstractmethod
    def restore(
        self, weights: Mapping[str, torch.Tensor], optimizer: torch.optim.Optimizer, state: State
    ) -> None:
        """Put back what both of the above were, on whatever workers."""
