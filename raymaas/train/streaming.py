"""Streaming: training rows that are read by Ray Data in every epoch, for data sets larger than memory.

A worker's stretch of the epoch's order is read by tasks of Ray Data, one for each part, and mixed with the rows near
it in a window. Ray Data keeps the order of the parts, and draws the window from the epoch's seed. So a fit that is
resumed with as many workers goes on with the bits it would have had.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import torch
from ray.data import Datasource, ExecutionResources, ReadTask
from ray.data.block import BlockMetadata

from raymaas.data.streamed import Reader, in_slices
from raymaas.errors import RunFailed
from raymaas.store import open_store
from raymaas.train.feed import Batch, Deal, Feed
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
        mine = self._rows.dealt(deal, seed=seed)
        with closing(self._tables(mine, size=deal.share(sizes[0]), seed=seed)) as tables:
            for rows in sizes:
                x_BD, y_B = self._tensors(tables, deal.share(rows))
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
            _Source(self._rows, pieces),
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

    def _tensors(self, tables: Iterator[pa.Table], rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not rows:
            shape = (0, *self._rows.shape)
            y_type = torch.float32 if self._rows.card.target == "number" else torch.int64
            return torch.empty(shape, device=self._device), torch.empty(0, dtype=y_type, device=self._device)
        table = next(tables, None)
        if table is None or len(table) != rows:
            raise RunFailed(
                "Ray Data brought other rows than were asked for; see the log of the run's workers"
            )
        x = table["x"].combine_chunks()
        width = self._rows.row_bytes
        x_BD = np.frombuffer(x.buffers()[1], np.float32, count=rows * width // 4, offset=x.offset * width)
        return (
            torch.tensor(x_BD, device=self._device).reshape(rows, *self._rows.shape),
            torch.tensor(table["y"].to_numpy(), device=self._device),
        )


class _Source(Datasource):
    """Each piece is read by a task of its own, in their order."""

    def __init__(self, rows: StreamedRows, pieces: Sequence[Piece]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._pieces = rows, pieces

    def estimate_inmemory_data_size(self) -> int:
        return self._rows.row_bytes * sum(len(piece.position_N) for piece in self._pieces)

    def get_read_tasks(self, parallelism: int, *further: Any, **options: Any) -> list[ReadTask]:
        shared = ray.put(self._rows)
        return [
            ReadTask(
                partial(_read, shared, piece),
                BlockMetadata(
                    num_rows=len(piece.position_N),
                    size_bytes=self._rows.row_bytes * len(piece.position_N),
                    input_files=None,
                    exec_stats=None,
                ),
            )
            for piece in self._pieces
        ]


def _read(shared: ray.ObjectRef[StreamedRows], piece: Piece) -> Iterator[pa.Table]:
    """The rows of a piece in slices, as `x`, the bytes of its float32, and `y`."""
    streamed = ray.get(shared)
    reader = Reader(open_store(streamed.store_url), streamed.card)
    for rows in in_slices(reader.part(piece.number).take(piece.position_N), streamed.transforms):
        data = pa.py_buffer(np.ascontiguousarray(rows.x_ND))
        x = pa.FixedSizeBinaryArray.from_buffers(pa.binary(streamed.row_bytes), len(rows), [None, data])
        yield pa.table({"x": x, "y": pa.array(rows.y_N)})
