"""Feed: where the loop gets its batches from, rows in memory or a stream; and how a batch is dealt out to workers.

Legend: N rows of a feed, B rows of this worker in a piece of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import torch

from raymaas.data.rows import Rows
from raymaas.train.world import World


@dataclass(frozen=True)
class Deal:
    """Batches of so many rows over all workers, each in pieces, and of each piece a shard for every worker."""

    batch_rows: int | None
    """None: all rows at once."""
    pieces: int
    world: World

    def sizes(self, rows: int) -> list[int]:
        """Rows of each batch, when there are `rows` in all."""
        full, rest = divmod(rows, self.batch_rows or rows)
        return [self.batch_rows or rows] * full + [rest] * (rest > 0)

    def shards(self, batch_rows: int) -> list[slice]:
        """Where in a batch the rows of this worker are, piece by piece; some may be empty."""
        count = min(self.pieces, batch_rows)
        size, larger = divmod(batch_rows, count)
        bounds = [number * size + min(number, larger) for number in range(count + 1)]
        shards = []
        for start, stop in pairwise(bounds):
            shard = self.world.shard(stop - start)
            shards.append(slice(start + shard.start, start + shard.stop))
        return shards

    def share(self, batch_rows: int) -> int:
        """How many rows of a batch are this worker's."""
        return sum(shard.stop - shard.start for shard in self.shards(batch_rows))

    def of_rank(self, rank: int) -> Deal:
        """What another worker is dealt."""
        return replace(self, world=replace(self.world, rank=rank))


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch as one worker has it."""

    rows: int
    """Of all workers together."""
    shards: list[tuple[slice, torch.Tensor, torch.Tensor]]
    """This worker's: where in the batch, x float32 [B, ...], y_B."""


class Feed(Protocol):
    """Training rows. Every worker has one, and they go through the same rows together."""

    def batches(self, deal: Deal, *, seed: int) -> Iterator[Batch]:
        """All rows once, in an order that `seed` decides, dealt out as `deal` says: equally many batches everywhere.

        Whoever stops before the last one closes the iterator.
        """


class Held(Feed):
    """Rows on a device: x float32 [N, ...], y_N. Copies, since torch may not write to Arrow's memory."""

    def __init__(self, rows: Rows, device: torch.device) -> None:
        self.x_ND = torch.tensor(rows.x_ND, device=device)
        self.y_N = torch.tensor(rows.y_N, device=device)

    def batches(self, deal: Deal, *, seed: int) -> Iterator[Batch]:
        shuffle = torch.Generator().manual_seed(seed)
        order_N = torch.randperm(len(self.y_N), generator=shuffle).to(self.y_N.device)
        for batch_B in torch.split(order_N, deal.batch_rows or len(order_N)):
            chosen = [(mine, batch_B[mine]) for mine in deal.shards(len(batch_B))]
            yield Batch(
                rows=len(batch_B),
                shards=[
                    (mine, self.x_ND.index_select(0, chosen_B), self.y_N.index_select(0, chosen_B))
                    for mine, chosen_B in chosen
                ],
            )
