"""Streaming: training rows that are read by Ray Data in every epoch, for data sets larger than memory.

A worker's stretch of the epoch's order is read by tasks of Ray Data, one for each part, and mixed with the rows near
it in a window. Ray Data keeps the order of the parts, and draws the window from the epoch's seed. So a fit that is
resumed with as many workers goes on with the bits it would have had.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

import numpy as np
import pyarrow as pa
import ray.data
import torch
from ray.data import ExecutionResources

from raymaas.errors import RunFailed
from raymaas.train.feed import Batch, Deal, Feed
from raymaas.train.piece_source import PieceSource
from raymaas.train.stretches import Piece, StreamedRows

_MIXED_SHARE = 1 / 8  # of the limit: rows of a worker that are mixed; they lie there twice while they are
_STORED_SHARE = 1 / 4  # of the limit: blocks on their way, in Ray's object store
_BLOCK_BYTES = 2**20
_READERS = 2  # processes that read for one worker


class Streamed(Feed):
    """A worker's training rows, streamed. `memory_mb` bounds what is on its way, here and in the object store."""

    def __init__(self, rows: StreamedRows, *, memory_mb: float, device: torch.device) -> None:
        self._rows, self._memory_bytes, self._device = rows, int(memory_mb * 1e6), device
        options = ray.data.DataContext.get_current()
        options.enable_progress_bars = False
        options.target_max_block_size = _BLOCK_BYTES
        options.execution_options.preserve_order = True
        options.execution_options.resource_limits = ExecutionResources(
            object_store_memory=int(self._memory_bytes * _STORED_SHARE)
        )
        logging.getLogger("ray.data").setLevel(logging.WARNING)

    def batches(self, deal: Deal, *, seed: int) -> Iterator[Batch]:
        sizes = deal.sizes(sum(map(len, self._rows.parts)))
        before = sum(_share(deal.of_rank(rank), sizes) for rank in range(deal.world.rank))
        mine = self._rows.stretch(before, before + _share(deal, sizes), seed=seed)
        size = max(1, deal.share(sizes[0]))
        with closing(self._tables(mine, size=size, seed=seed)) as tables:
            for rows, table in zip(sizes, _cut(tables, map(deal.share, sizes)), strict=True):
                x_BD, y_B = self._tensors(table)
                shards, first = [], 0
                for shard in deal.shards(rows):
                    last = first + shard.stop - shard.start
                    shards.append((shard, x_BD[first:last], y_B[first:last]))
                    first = last
                yield Batch(rows=rows, shards=shards)

    def _tables(self, pieces: Sequence[Piece], *, size: int, seed: int) -> Generator[pa.Table]:
        if not pieces:
            return
        dataset = ray.data.read_datasource(
            PieceSource(self._rows, pieces),
            num_cpus=0,  # the workers may have reserved all there are
            concurrency=_READERS,
            override_num_blocks=len(pieces),
        )
        yield from dataset.iter_batches(
            batch_size=size,
            batch_format="pyarrow",
            prefetch_batches=1,
            local_shuffle_buffer_size=max(
                size, int(self._memory_bytes * _MIXED_SHARE) // self._rows.row_bytes
            ),
            local_shuffle_seed=seed % 2**32,
        )

    def _tensors(self, table: pa.Table | None) -> tuple[torch.Tensor, torch.Tensor]:
        if table is None:
            y_type = torch.float32 if self._rows.card.target == "number" else torch.int64
            return (
                torch.empty((0, *self._rows.shape), device=self._device),
                torch.empty(0, dtype=y_type, device=self._device),
            )
        x, width = table["x"].combine_chunks(), self._rows.row_bytes
        x_BD = np.frombuffer(
            x.buffers()[1], np.float32, count=len(x) * width // 4, offset=x.offset * width
        ).reshape(len(x), *self._rows.shape)
        return torch.tensor(x_BD, device=self._device), torch.tensor(
            table["y"].to_numpy(), device=self._device
        )


def _cut(tables: Iterator[pa.Table], sizes: Iterable[int]) -> Iterator[pa.Table | None]:
    """Tables of just so many rows, one for each size; None for no rows. Raises RunFailed when there are too few.

    Ray Data gives batches of one size, and a worker's shard of a short last batch may be longer than its others.
    """
    waiting: list[pa.Table] = []
    for size in sizes:
        while sum(map(len, waiting)) < size:
            table = next(tables, None)
            if table is None:
                raise RunFailed("Ray Data lost rows; see the log of the run's workers")
            waiting.append(table)
        if not size:
            yield None
            continue
        table = pa.concat_tables(waiting)
        yield table.slice(0, size)
        waiting = [table.slice(size)] if len(table) > size else []


def _share(deal: Deal, sizes: Sequence[int]) -> int:
    """Rows a worker is dealt in all batches; all but the last have the same size."""
    return (len(sizes) - 1) * deal.share(sizes[0]) + deal.share(sizes[-1])
