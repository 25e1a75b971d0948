"""Rows: the features, labels and identities of some rows, as arrays of equal length.

Legend: N rows, D features; `x_ND` is [N, *shape] for rows that are no vectors. Made from an Arrow table by
`rows_of`, which is where a wrong table is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import orjson
import pyarrow as pa

from raymaas.data.columns import INPUT, KEPT, arrays_of, checked
from raymaas.data.table import PARTS, Learned
from raymaas.errors import InvalidInput
from raymaas.specs.tasks import Target
from raymaas.specs.versions import TensorSpec


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a data set; `take` gives some of them again."""

    x_ND: np.ndarray
    """float32 [N, *shape]"""
    y_N: np.ndarray
    """int64 [N], index into the classes; float32 [N] where a number is to be predicted; int64 zeros for no target"""
    id_N: np.ndarray
    """int64, the row's identity in its data set"""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What a client sends where that is not `x_ND`: the named columns of the set. Before the transforms of a job have
    made `x_ND` of them, that has no values."""
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Columns beside the input, to split or compare rows by."""

    def __len__(self) -> int:
        return len(self.id_N)

    def take(self, positions: np.ndarray) -> Rows:
        return Rows(
            x_ND=self.x_ND[positions],
            y_N=self.y_N[positions],
            id_N=self.id_N[positions],
            columns={name: values[positions] for name, values in self.columns.items()},
            kept={name: values[positions] for name, values in self.kept.items()},
        )

    def inputs(self, specs: Iterable[TensorSpec], *, count: int | None = None) -> dict[str, np.ndarray]:
        """What a client sends for these rows, or the first `count`, to a version that takes `specs`."""
        known = {spec.name: self.columns.get(spec.name, self.x_ND) for spec in specs}
        return {name: values[:count] for name, values in known.items()}


def joined(pieces: Sequence[Rows]) -> Rows:
    """The rows of all `pieces`, one after the other; they have the same columns. At least one piece is needed."""
    if len(pieces) == 1:
        return pieces[0]
    first = pieces[0]

    def of_all(values: Callable[[Rows], np.ndarray]) -> np.ndarray:
        return np.concatenate([values(piece) for piece in pieces])

    return Rows(
        x_ND=of_all(lambda piece: piece.x_ND),
        y_N=of_all(lambda piece: piece.y_N),
        id_N=of_all(lambda piece: piece.id_N),
        columns={name: of_all(lambda piece, name=name: piece.columns[name]) for name in first.columns},  # type: ignore[misc]
        kept={name: of_all(lambda piece, name=name: piece.kept[name]) for name in first.kept},  # type: ignore[misc]
    )


def rows_of(table: pa.Table, *, name: str, learned: Learned) -> Rows:
    """The rows of `table`, which has the form of `raymaas.data.table`.

    Raises InvalidInput, naming data set, column and row, for a missing column, another type, a null, a
    feature or target that is not finite, a label outside the classes, or an identity that comes twice.
    """
    _check_columns(table, name=name, target=learned.target)
    rows = Rows(
        x_ND=(
            stored_features(table, name=name).astype(np.float32, copy=False)
            if "x" in table.column_names
            else np.empty((len(table), 0), np.float32)
        ),
        y_N=np.zeros(len(table), np.int64) if learned.target == "none" else table["y"].to_numpy(),
        id_N=table["row"].to_numpy(),
        columns=arrays_of(table, INPUT),
        kept=arrays_of(table, KEPT),
    )
    checked({**rows.columns, **rows.kept}, name=name)
    _check_values(rows, name=name, learned=learned)
    return rows


def stored_features(table: pa.Table, *, name: str) -> np.ndarray:
    """The features as they are kept, uint8 or float32 [N, *shape], of a table whose columns `rows_of` took."""
    lists = table["x"].combine_chunks()
    if pa.types.is_fixed_size_binary(lists.type):
        width = lists.type.byte_width
        flat = np.frombuffer(lists.buffers()[1], dtype=np.uint8, offset=lists.offset * width)
        flat = flat[: len(lists) * width]
    else:
        width = lists.type.list_size
        flat = np.asarray(lists.flatten().to_numpy(zero_copy_only=False))
    written = (table.schema.metadata or {}).get(b"shape")
    shape = tuple(orjson.loads(written)) if written else (width,)
    if math.prod(shape) != width:
        raise InvalidInput(
            f"data set {name!r}: rows of {width} values cannot have the shape {list(shape)} of its metadata"
        )
    return flat.reshape(len(lists), *shape)


def own_parts(table: pa.Table, *, name: str) -> np.ndarray | None:
    """The set's own division, int8 [N] of codes of `PARTS`; None when it brings none. Raises InvalidInput."""
    if "part" not in table.column_names:
        return None
    column = table["part"]
    if column.type != pa.int8() or column.null_count:
        raise InvalidInput(f"data set {name!r}: column 'part' must be int8 without nulls, got {column.type}")
    part_N: np.ndarray = column.to_numpy()
    unknown = np.flatnonzero(~np.isin(part_N, list(PARTS.values())))
    if len(unknown):
        raise InvalidInput(
            f"data set {name!r}: column 'part' has {part_N[unknown[0]]} in row {unknown[0]}; known are "
            + ", ".join(f"{code} {part}" for part, code in PARTS.items())
        )
    return part_N


def _check_columns(table: pa.Table, *, name: str, target: Target) -> None:
    y_type = {"classes": pa.int64(), "number": pa.float32()}.get(target)
    named = any(column.startswith(INPUT) for column in table.column_names)
    needed = ["row", *([] if named else ["x"]), *(["y"] if y_type else [])]
    missing = sorted(set(needed) - set(table.column_names))
    if missing:
        raise InvalidInput(
            f"data set {name!r} has no column {missing[0]!r}; it has {', '.join(table.column_names)}"
        )
    if not named:
        _check_features(table, name=name)
    for column, wanted in (("row", pa.int64()), ("y", y_type)):
        found = table.schema.field(column).type if wanted else None
        if found != wanted:
            raise InvalidInput(f"data set {name!r}: column {column!r} must be {wanted}, got {found}; cast it")
    if table.num_rows == 0:
        raise InvalidInput(f"data set {name!r} has no rows; give it some")
    for column in needed:
        nulls = np.flatnonzero(table[column].is_null().to_numpy())
        if len(nulls):
            raise InvalidInput(
                f"data set {name!r}: column {column!r} has a null in row {nulls[0]}; fill or drop it"
            )


def _check_features(table: pa.Table, *, name: str) -> None:
    x_type = table.schema.field("x").type
    is_list = pa.types.is_fixed_size_list(x_type) and x_type.value_type == pa.float32()
    if not is_list and not pa.types.is_fixed_size_binary(x_type):
        raise InvalidInput(
            f"data set {name!r}: column 'x' must be fixed_size_list<float>, or fixed_size_binary for bytes, "
            f"got {x_type}; cast it"
        )


def _check_values(rows: Rows, *, name: str, learned: Learned) -> None:
    finite = np.isfinite(rows.x_ND)
    if not finite.all():
        bad = np.argwhere(~finite)
        row, *feature = bad[0].tolist()
        raise InvalidInput(
            f"data set {name!r}: column 'x' has {rows.x_ND[(row, *feature)]} in row {row}, feature "
            f"{feature[0] if len(feature) == 1 else feature} ({len(bad)} such values in all); fill or drop them"
        )
    _check_target(rows.y_N, name=name, learned=learned)
    ids, counts = np.unique(rows.id_N, return_counts=True)
    if len(ids) < len(rows):
        raise InvalidInput(
            f"data set {name!r}: column 'row' has {ids[counts > 1][0]} twice; number the rows apart"
        )


def _check_target(y_N: np.ndarray, *, name: str, learned: Learned) -> None:
    where = f"data set {name!r}: column 'y' has"
    if learned.target == "number":
        odd = np.flatnonzero(~np.isfinite(y_N))
        if len(odd):
            raise InvalidInput(
                f"{where} {y_N[odd[0]]} in row {odd[0]} ({len(odd)} such values in all); fill or drop them"
            )
    if learned.target == "classes":
        classes = len(learned.classes)
        outside = np.flatnonzero((y_N < 0) | (y_N >= classes))
        if len(outside):
            raise InvalidInput(
                f"{where} {y_N[outside[0]]} in row {outside[0]}; "
                f"labels are 0 to {classes - 1}, one for each of its {classes} classes"
            )
