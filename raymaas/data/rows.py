"""Rows: the features, labels and identities of some rows, as three arrays of equal length.

Legend: N rows, D features. Made from an Arrow table by `rows_of`, which is where a wrong table is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raymaas.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a data set; `take` gives some of them again."""

    x_ND: np.ndarray
    """float32"""
    y_N: np.ndarray
    """int64, index into the classes"""
    id_N: np.ndarray
    """int64, the row's identity in its data set"""

    def __len__(self) -> int:
        return len(self.id_N)

    def take(self, positions: np.ndarray) -> Rows:
        return Rows(x_ND=self.x_ND[positions], y_N=self.y_N[positions], id_N=self.id_N[positions])


def rows_of(table: pa.Table, *, name: str, classes: int) -> Rows:
    """The rows of `table`, whose columns are those of `raymaas.data.builtin`.

    Raises InvalidInput, naming data set, column and row, for a missing column, another type, a null, a
    feature that is not finite, a label outside the classes, or an identity that comes twice.
    """
    missing = sorted({"row", "x", "y"} - set(table.column_names))
    if missing:
        raise InvalidInput(
            f"data set {name!r} has no column {missing[0]!r}; it has {', '.join(table.column_names)}"
        )
    x_type = table.schema.field("x").type
    if not pa.types.is_fixed_size_list(x_type) or x_type.value_type != pa.float32():
        raise InvalidInput(
            f"data set {name!r}: column 'x' must be fixed_size_list<float>, got {x_type}; cast it"
        )
    for column in ("row", "y"):
        found = table.schema.field(column).type
        if found != pa.int64():
            raise InvalidInput(f"data set {name!r}: column {column!r} must be int64, got {found}; cast it")
    if table.num_rows == 0:
        raise InvalidInput(f"data set {name!r} has no rows; give it some")
    for column in ("row", "x", "y"):
        nulls = np.flatnonzero(table[column].is_null().to_numpy())
        if len(nulls):
            raise InvalidInput(
                f"data set {name!r}: column {column!r} has a null in row {nulls[0]}; fill or drop it"
            )
    lists = table["x"].combine_chunks()
    x_ND = np.asarray(lists.flatten().to_numpy(zero_copy_only=False)).reshape(
        table.num_rows, x_type.list_size
    )
    rows = Rows(x_ND=x_ND, y_N=table["y"].to_numpy(), id_N=table["row"].to_numpy())
    _check_values(rows, name=name, classes=classes)
    return rows


def _check_values(rows: Rows, *, name: str, classes: int) -> None:
    bad = np.argwhere(~np.isfinite(rows.x_ND))
    if len(bad):
        row, feature = bad[0]
        raise InvalidInput(
            f"data set {name!r}: column 'x' has {rows.x_ND[row, feature]} in row {row}, feature {feature} "
            f"({len(bad)} such values in all); fill or drop them"
        )
    outside = np.flatnonzero((rows.y_N < 0) | (rows.y_N >= classes))
    if len(outside):
        raise InvalidInput(
            f"data set {name!r}: column 'y' has {rows.y_N[outside[0]]} in row {outside[0]}; "
            f"labels are 0 to {classes - 1}, one for each of its {classes} classes"
        )
    ids, counts = np.unique(rows.id_N, return_counts=True)
    if len(ids) < len(rows):
        raise InvalidInput(
            f"data set {name!r}: column 'row' has {ids[counts > 1][0]} twice; number the rows apart"
        )
