"""Chance: what networks draw for the rows of a batch, the same however the batch is cut over workers.

A worker that is told its place draws for all rows of the batch and keeps its own, so one worker and four train
on the same numbers. Untold, it draws for its own rows from torch's generator. Every part of a network draws from a
stream of its own, so that the parts need not be on the same worker.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import dropout


class Chance:
    """A source of random numbers that networks hold on to and whoever trains them steers."""

    def __init__(self) -> None:
        self._generator: torch.Generator | None = None
        self._rows = 0
        self._mine = slice(0, 0)

    @property
    def steered(self) -> bool:
        return self._generator is not None

    def steer(self, seed: int, *, rows: int, mine: slice, device: torch.device) -> None:
        """From here on draw for a batch of `rows` rows, of which `mine` are given, from `seed`."""
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device)
        self._generator.manual_seed(seed)
        self._rows, self._mine = rows, mine

    def normal(self, like_B: torch.Tensor) -> torch.Tensor:
        """Standard normal numbers of the shape and type of `like_B`, whose first dimension is this worker's rows."""
        return self._draw(torch.randn, like_B)

    def uniform(self, like_B: torch.Tensor) -> torch.Tensor:
        """Numbers uniform in 0..1, likewise."""
        return self._draw(torch.rand, like_B)

    def _draw(self, draw: Callable[..., torch.Tensor], like_B: torch.Tensor) -> torch.Tensor:
        if self._generator is None:
            return draw(like_B.shape, dtype=like_B.dtype, device=like_B.device)
        everyones = draw(
            (self._rows, *like_B.shape[1:]),
            dtype=like_B.dtype,
            device=like_B.device,
            generator=self._generator,
        )
        return everyones[self._mine]


class Dropout(nn.Dropout):
    """torch's dropout, drawn by `chance` while that is steered: then its masks do not depend on the workers.

    N. Srivastava et al., Dropout (2014).
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)
        self.chance = Chance()

    def forward(self, x_B: torch.Tensor) -> torch.Tensor:
        if not (self.training and self.p and self.chance.steered):
            return dropout(x_B, self.p, self.training)
        kept_B = self.chance.uniform(x_B) >= self.p
        return x_B * kept_B / (1 - self.p)


class Chances:
    """What all parts of a network draw from, steered together."""

    def __init__(self, network: nn.Module) -> None:
        found = (getattr(module, "chance", None) for module in network.modules() if _draws(module))
        self._chances = tuple(chance for chance in found if isinstance(chance, Chance))

    def __bool__(self) -> bool:
        """Whether any part draws anything."""
        return bool(self._chances)

    def steer(self, *seed: int, rows: int, mine: slice, device: torch.device) -> None:
        """From here on draw for a batch of `rows` rows, of which `mine` are given: each part from (seed, its place)."""
        for place, chance in enumerate(self._chances):
            own = int(np.random.SeedSequence((*seed, place)).generate_state(1, np.uint64)[0])
            chance.steer(own, rows=rows, mine=mine, device=device)


def _draws(module: nn.Module) -> bool:
    return not isinstance(module, Dropout) or module.p > 0
