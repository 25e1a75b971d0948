"""A data set that is not held: divided by its small columns, its rows read one part at a time.

Rows of such a set are numbered through, so that a row's identity is its position.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymaas.data.columns import INPUT, KEPT, arrays_of
from raymaas.data.dataset import Dataset, open_part, part_key
from raymaas.data.rows import Rows, joined, own_parts
from raymaas.data.split import Parts
from raymaas.data.transforms.fitted import Fitted
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.jobs import Split, Streaming
from raymaas.store import Store

_HELD_SHARE = 0.25  # of the limit: working on rows that are held takes up to four copies of them
_VALIDATION_SHARE = 0.25
_SAMPLE_SHARE = 0.125
_SLICE_BYTES = 2**20  # of transformed rows at a time


def is_streamed(card: DatasetCard, streaming: Streaming | None) -> bool:
    """Whether its training rows are read anew in every epoch.

    Raises InvalidInput for a set above the limit that lies in one part: its importer had all of it in memory.
    """
    if streaming is None:
        return False
    limit = streaming.memory_mb * 1e6 * _HELD_SHARE
    if card.parts:
        return card.part_bytes > limit
    columns = sum(math.prod(column.shape) for column in card.columns)
    if 4 * card.rows * (card.features + columns) > limit:
        raise InvalidInput(
            f"data set {card.name!r} is above a quarter of streaming.memory_mb and in one piece; import it with "
            "{use: parquet} or {use: csv}, or leave streaming out"
        )
    return False


def open_index(
    store: Store, card: DatasetCard, how: Split | None = None, *, columns: Collection[str] = ()
) -> Dataset:
    """All rows without what a model takes: labels, identities, and columns to divide by, or named in `columns`.

    Raises as `open_part`. Nothing here is verified against the fingerprint; `open_part` does that when rows are read.
    """
    divided_by = () if how is None else (how.group, how.time)
    beside = {f"{INPUT}{name}" for name in (*divided_by, *columns) if name is not None}
    pieces, own = [], []
    for number in range(len(card.parts)):
        key = part_key(card, number)
        try:
            file = pq.ParquetFile(pa.BufferReader(store.read(key)))
            names = file.schema_arrow.names
            wanted = [n for n in names if n in {"row", "y", "part"} | beside or n.startswith(KEPT)]
            table = file.read(columns=wanted)
            pieces.append(_without_x(table, card))
            part_N = own_parts(table, name=card.name)
        except (pa.ArrowException, OSError, InvalidInput, KeyError) as error:
            raise IntegrityError(f"{key} cannot be read as what was prepared: {error}") from error
        own += [] if part_N is None else [part_N]
    return Dataset(card=card, rows=joined(pieces), part_N=np.concatenate(own) if own else None)


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads rows of a data set in several parts, with one part in memory at a time."""

    store: Store
    card: DatasetCard

    def rows_at(self, position_N: np.ndarray) -> Rows:
        """The rows at ascending positions, verified."""
        places = enumerate(self.positions_in_parts(position_N))
        return joined([self.part(number).take(at) for number, at in places if len(at)])

    def part(self, number: int) -> Rows:
        """All rows of one part, verified."""
        return open_part(self.store, self.card, number).rows

    def positions_in_parts(self, position_N: np.ndarray) -> list[np.ndarray]:
        """For each part, where in it the rows at ascending positions are."""
        firsts = np.cumsum([0, *(part.rows for part in self.card.parts)])
        bounds = np.searchsorted(position_N, firsts)
        return [position_N[a:b] - first for a, b, first in zip(bounds, bounds[1:], firsts, strict=False)]


def sample_of(division: Parts, card: DatasetCard, streaming: Streaming) -> np.ndarray:
    """Positions of training rows that transforms are fitted to: evenly spread, and no more than memory allows."""
    allowed = int(streaming.memory_mb * 1e6 * _SAMPLE_SHARE * card.rows / card.part_bytes)
    train_N = division.train.id_N
    return train_N[np.linspace(0, len(train_N) - 1, min(allowed, len(train_N)), dtype=np.int64)]


def in_slices(rows: Rows, transforms: Fitted) -> Iterator[Rows]:
    """The rows with the `x` a network takes, about a megabyte of it at a time."""
    size = max(1, _SLICE_BYTES // (4 * math.prod(transforms.document.shape)))
    for start in range(0, len(rows), size):
        yield transforms.apply(rows.take(np.arange(start, min(start + size, len(rows)))))


def rows_held(reader: Reader, position_N: np.ndarray, transforms: Fitted) -> Rows:
    """The rows at ascending positions, with the `x` a network takes."""
    places = enumerate(reader.positions_in_parts(position_N))
    taken = (reader.part(number).take(at) for number, at in places if len(at))
    return joined([rows for part in taken for rows in in_slices(part, transforms)])


def with_validation_rows(reader: Reader, division: Parts, transforms: Fitted, streaming: Streaming) -> Parts:
    """The division with the validation rows a network takes; the rows of all parts were looked at as well.

    Raises InvalidInput, naming column and row, for a row of any part that cannot be transformed, and when the rows
    held are more than a quarter of the limit; IntegrityError for parts that are not what was prepared.
    """
    position_N = division.validation.id_N
    _check_bounded(reader.card, transforms, streaming, rows=len(position_N))
    found: list[Rows] = []
    for number in range(len(reader.card.parts)):
        for some in in_slices(reader.part(number), transforms):
            first = some.id_N[0]
            a, b = np.searchsorted(position_N, (first, first + len(some)))
            found.append(some.take(position_N[a:b] - first))
    return replace(division, validation=joined(found))


def _check_bounded(card: DatasetCard, transforms: Fitted, streaming: Streaming, *, rows: int) -> None:
    row_bytes = 4 * math.prod(transforms.document.shape)
    if card.columns:
        row_bytes += card.part_bytes // card.rows
    needed_mb, allowed_mb = rows * row_bytes / 1e6, streaming.memory_mb * _VALIDATION_SHARE
    if needed_mb > allowed_mb:
        raise InvalidInput(
            f"the {rows} validation rows take {needed_mb:.0f} MB and are held in memory, for which "
            f"streaming.memory_mb leaves {allowed_mb:.0f}; lower split.validation, or raise it"
        )


def _without_x(table: pa.Table, card: DatasetCard) -> Rows:
    return Rows(
        x_ND=np.empty((len(table), 0), np.float32),
        y_N=np.zeros(len(table), np.int64) if card.target == "none" else table["y"].to_numpy(),
        id_N=table["row"].to_numpy(),
        columns=arrays_of(table, INPUT),
        kept=arrays_of(table, KEPT),
    )
