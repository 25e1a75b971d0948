"""Parting: how a data set that is too large for memory is cut into files, and the fingerprint of all of them.

Each part has the same number of rows, as many as take about `PART_BYTES` in memory, the last one what is left.
The number follows from the first rows, so that the same rows give the same parts, however their files were cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from raymaas.errors import InvalidInput
from raymaas.specs.base import canonical_json
from raymaas.specs.datasets import DataPart

PART_BYTES = 4 * 2**20

_LOOKED_AT = 1024  # rows that say how much memory one takes
_TEXT_BYTES = 64  # of a Python str, besides its characters


def parted(tables: Iterable[pa.Table], *, name: str) -> Iterator[pa.Table]:
    """The rows of `tables`, of the form of `raymaas.data.table`, in tables of one part each, numbered through.

    Raises InvalidInput, naming the column and the row, when a later table has other types than the first.
    """
    waiting: pa.Table | None = None
    size = start = 0
    for table in tables:
        if waiting is None:
            waiting, size = table, _part_rows(table)
        else:
            _check_same(waiting.schema, table.schema, first_row=start + len(waiting), name=name)
            waiting = pa.concat_tables([waiting, table])
        while len(waiting) > size:
            yield _numbered(waiting.slice(0, size), start)
            waiting, start = waiting.slice(size), start + size
    if waiting is not None:
        yield _numbered(waiting, start)


def memory_bytes(table: pa.Table) -> int:
    """What its rows take in memory as `raymaas.data.rows` has them, without the copies that work on them makes."""
    return sum(_column_bytes(column) for column in table.columns)


def fingerprint_of_parts(parts: Sequence[DataPart]) -> str:
    """SHA-256 over the fingerprints of several parts, in their order."""
    return hashlib.sha256(canonical_json(["parts", *(part.fingerprint for part in parts)])).hexdigest()


def _part_rows(table: pa.Table) -> int:
    some = table.slice(0, _LOOKED_AT)
    return max(1, PART_BYTES * len(some) // memory_bytes(some))


def _column_bytes(column: pa.ChunkedArray) -> int:
    # The slice's own bytes: `nbytes` counts only what it refers to.
    if pa.types.is_fixed_size_binary(column.type):
        return 4 * int(column.nbytes)
    return int(column.nbytes) + (_TEXT_BYTES * len(column) if pa.types.is_string(column.type) else 0)


def _numbered(table: pa.Table, start: int) -> pa.Table:
    row_N = pa.array(np.arange(start, start + len(table), dtype=np.int64))
    return table.set_column(table.schema.get_field_index("row"), "row", row_N)


def _check_same(first: pa.Schema, other: pa.Schema, *, first_row: int, name: str) -> None:
    if first.equals(other):
        return
    kinds = {field.name: str(field.type) for field in first}
    for field in other:
        if kinds.get(field.name) != str(field.type):
            raise InvalidInput(
                f"data set {name!r}: column {field.name!r} is {kinds.get(field.name)} in the first rows and "
                f"{field.type} in those from row {first_row} on; cast it, or name it in data.config.text"
            )
    raise InvalidInput(
        f"data set {name!r} has fewer columns from row {first_row} on; give all files the same"
    )
