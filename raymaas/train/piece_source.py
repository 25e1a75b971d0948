"""A source of Ray Data whose tasks each read one piece of a worker's stretch. Its processes import no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from raymaas.train.stretches import Piece, StreamedRows


class PieceSource(Datasource):
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
    yield from ray.get(shared).tables(piece)
