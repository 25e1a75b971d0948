"""The order in which streamed rows are trained on, and the stretch of it that a worker reads.

It is a function of (seed, epoch) and the number of workers. The parts of the data set come in an order drawn from
both, the training rows of each part likewise. Of all these rows, one after the other, every worker takes a stretch of
its own, just as long as its shards of all batches together: all take equally many steps, and each row comes once.

The processes that read import this, and no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raymaas.data.streamed import Reader, in_slices
from raymaas.data.transforms.fitted import Fitted
from raymaas.specs.datasets import DatasetCard
from raymaas.store import open_store


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of one part, in the order they come in."""

    number: int
    position_N: np.ndarray


@dataclass(frozen=True, eq=False)
class StreamedRows:
    """The rows a worker reads, and what a reading process needs to know; it travels there."""

    store_url: str
    card: DatasetCard
    transforms: Fitted
    parts: Sequence[np.ndarray]
    """For each part of the set, where in it the training rows are."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.transforms.document.shape

    @property
    def row_bytes(self) -> int:
        return 4 * math.prod(self.shape)

    def stretch(self, start: int, stop: int, *, seed: int) -> list[Piece]:
        """Rows `start` to `stop` of the order that `seed` gives all training rows: parts, and where in each."""
        pieces, first = [], 0
        for number in np.random.default_rng(seed).permutation(len(self.parts)).tolist():
            rows = len(self.parts[number])
            a, b = max(start - first, 0), min(stop - first, rows)
            if a < b:
                order_N = np.random.default_rng((seed, number)).permutation(rows)
                pieces.append(Piece(number, self.parts[number][order_N[a:b]]))
            first += rows
        return pieces

    def tables(self, piece: Piece) -> Iterator[pa.Table]:
        """The rows of a piece in slices, as `x`, the bytes of its float32, and `y`; verified and transformed."""
        reader = Reader(open_store(self.store_url), self.card)
        for rows in in_slices(reader.part(piece.number).take(piece.position_N), self.transforms):
            data = pa.py_buffer(np.ascontiguousarray(rows.x_ND))
            x = pa.FixedSizeBinaryArray.from_buffers(pa.binary(self.row_bytes), len(rows), [None, data])
            yield pa.table({"x": x, "y": pa.array(rows.y_N)})
