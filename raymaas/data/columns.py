"""Named columns: their form in the table of `raymaas.data.table`, on the card, and in memory.

number  in a table float32 (an input), int64 or float64 (kept), or fixed_size_list<float>; null is missing
        in memory an array [N] or [N, D], NaN is missing
text    in a table string; in memory an object array [N] of str, None is missing
time    in a table timestamp[us, UTC]; in memory datetime64[us] [N], NaT is missing
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymaas.errors import InvalidInput
from raymaas.specs.base import canonical_json
from raymaas.specs.datasets import Column

INPUT, KEPT = "column.", "kept."
"""How the names of a table's columns begin that are a model's input, and that are only kept beside it."""

TIME = pa.timestamp("us", tz="UTC")


def cards_of(table: pa.Table, prefix: str, *, name: str) -> tuple[Column, ...]:
    """The columns whose names begin with `prefix`. Raises InvalidInput for a type that is none of the above."""
    cards = []
    for field in table.schema:
        if field.name.startswith(prefix):
            called, kind = field.name.removeprefix(prefix), field.type
            shape = (kind.list_size,) if pa.types.is_fixed_size_list(kind) else ()
            cards.append(Column(name=called, type=_type(kind, data=name, column=field.name), shape=shape))
    return tuple(cards)


def arrays_of(table: pa.Table, prefix: str) -> dict[str, np.ndarray]:
    """The values of those columns, as they are in memory, by name. Raises InvalidInput for a list that is missing."""
    names = [name for name in table.column_names if name.startswith(prefix)]
    return {name.removeprefix(prefix): _in_memory(table[name], name) for name in names}


def digest_columns(table: pa.Table) -> bytes:
    """SHA-256 over names, types and values of both kinds of columns; b"" when there are none."""
    names = [name for name in table.column_names if name.startswith((INPUT, KEPT))]
    if not names:
        return b""
    digest = hashlib.sha256()
    for name in names:
        column = table[name]
        if pa.types.is_string(column.type):
            digest.update(canonical_json([name, "text", column.to_pylist()]))
            continue
        # Arrow's own names of types are not used: Parquet gives a list's values another one.
        width = column.type.list_size if pa.types.is_fixed_size_list(column.type) else 1
        values = pc.list_flatten(column) if pa.types.is_fixed_size_list(column.type) else column
        time = pa.types.is_timestamp(values.type)
        array = pc.fill_null(values.cast(pa.int64()) if time else values, 0).to_numpy()
        digest.update(canonical_json([name, "time" if time else array.dtype.name, len(column), width]))
        digest.update(np.packbits(column.is_valid().to_numpy()).data)
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.digest()


def missing(values: np.ndarray) -> np.ndarray:
    """bool [N], whether a row has nothing there."""
    if values.dtype == object:
        return np.fromiter((value is None for value in values), bool, len(values))
    absent_N = np.zeros(len(values), bool)
    if values.dtype.kind == "M":
        absent_N |= np.isnat(values)
    if values.dtype.kind == "f":
        absent_N |= np.isnan(values.reshape(len(values), -1)).any(axis=1)
    return absent_N


def checked(arrays: Mapping[str, np.ndarray], *, name: str) -> None:
    """Raises InvalidInput, naming data set, column and row, for a number that is infinite."""
    for column, values in arrays.items():
        if values.dtype.kind == "f":
            infinite = np.flatnonzero(np.isinf(values.reshape(len(values), -1)).any(axis=1))
            if len(infinite):
                raise InvalidInput(
                    f"data set {name!r}: column {column!r} has an infinite number in row {infinite[0]}; correct it"
                )


def _type(kind: pa.DataType, *, data: str, column: str) -> str:
    if pa.types.is_string(kind):
        return "text"
    if kind == TIME:
        return "time"
    inner = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    if inner in (pa.float32(), pa.float64(), pa.int64()):
        return "number"
    raise InvalidInput(
        f"data set {data!r}: column {column!r} must be numbers, text or times, got {kind}; cast it"
    )


def _in_memory(column: pa.ChunkedArray, name: str) -> np.ndarray:
    kind = column.type
    if pa.types.is_string(kind):
        return np.array([*column.to_pylist(), None], dtype=object)[:-1]
    if pa.types.is_fixed_size_list(kind):
        absent = np.flatnonzero(column.is_null().to_numpy())
        if len(absent):
            raise InvalidInput(f"column {name!r} has nothing in row {absent[0]}; a list cannot be missing")
        flat = np.asarray(pc.list_flatten(column).to_numpy())
        return flat.reshape(len(column), kind.list_size)
    values: np.ndarray = column.to_numpy()
    return values
