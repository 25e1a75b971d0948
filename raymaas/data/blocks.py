"""Blocks: rows that are gone through some at a time, held all along or read when it is their turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from raymaas.data.rows import Rows, joined
from raymaas.data.streamed import Reader, in_slices
from raymaas.data.transforms.fitted import Fitted

Finish = Callable[[Rows], Rows]


class Blocks(ABC):
    """Rows in an order; can be gone through again and again."""

    rows: Rows
    """All of them, with labels and identities. What a network or a client's request is made of is there only when they
    are held."""

    @abstractmethod
    def __iter__(self) -> Iterator[Rows]:
        """Whole rows, in their order. Raises as `Reader.part` and `Fitted.apply`."""

    @abstractmethod
    def take(self, positions: np.ndarray) -> Blocks:
        """Some of the rows, at ascending positions."""

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> Rows:
        """The first `count` rows, whole; all when there are fewer."""
        found: list[Rows] = []
        for rows in self:
            found.append(rows.take(np.arange(min(len(rows), count))))
            count -= len(found[-1])
            if not count:
                break
        return joined(found)


@dataclass(frozen=True, eq=False)
class HeldBlocks(Blocks):
    """One block, which is in memory."""

    rows: Rows

    def __iter__(self) -> Iterator[Rows]:
        yield self.rows

    def take(self, positions: np.ndarray) -> HeldBlocks:
        return HeldBlocks(self.rows.take(positions))


def unchanged(rows: Rows) -> Rows:
    """They are ready as the transforms leave them."""
    return rows


@dataclass(frozen=True, eq=False)
class ReadBlocks(Blocks):
    """Rows of a data set in several parts, about a megabyte at a time, with one part in memory."""

    rows: Rows
    """Without what a model takes, in ascending order of their identities."""
    reader: Reader
    transforms: Fitted
    finish: Finish = unchanged
    """What is done to a block after the transforms."""

    def __iter__(self) -> Iterator[Rows]:
        for number, position_N in enumerate(self.reader.positions_in_parts(self.rows.id_N)):
            if len(position_N):
                for rows in in_slices(self.reader.part(number).take(position_N), self.transforms):
                    yield self.finish(rows)

    def take(self, positions: np.ndarray) -> ReadBlocks:
        return replace(self, rows=self.rows.take(positions))
