"""From a table with columns as people have them to features and labels, or one sentence about what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from raymaas.data.labels import class_indices
from raymaas.data.sources.base import Importer
from raymaas.data.table import PARTS, table_of
from raymaas.errors import InvalidInput

_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


class Columns(Importer):
    """What importers of tables share: which column is the label, and which are features."""

    path: str = Field(
        description="Path on the machine of the job's driver, or URL: file:///path, s3://bucket/key."
    )
    label: str = Field(
        description="Column with the class of each row: text, whole numbers, or true and false."
    )
    features: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Columns that are features, in this order; default all others.",
    )
    part: str | None = Field(
        default=None,
        description="Column that says train, validation or test of each row, for `split: {test: given}`.",
    )

    def wanted(self, names: list[str]) -> tuple[str, ...]:
        """The columns to read of a file that has these. Raises InvalidInput for one that is missing or comes twice."""
        features = self.features or tuple(name for name in names if name not in self._special)
        for name in (*self._special, *features):
            if names.count(name) != 1:
                what = f"no column {name!r}" if name not in names else f"{names.count(name)} columns {name!r}"
                raise InvalidInput(f"{self.path} has {what}; its columns are {', '.join(names)}")
        if both := set(self._special) & set(features):
            raise InvalidInput(
                f"{both.pop()!r} is the label or part and cannot be a feature; take it out of features"
            )
        if not features:
            raise InvalidInput(
                f"{self.path} has no column besides the label {self.label!r}; rows need features"
            )
        return (*self._special, *features)

    def from_columns(self, read: pa.Table) -> pa.Table:
        """The table of `raymaas.data.table` made from the wanted columns of `read`."""
        wanted = self.wanted(read.column_names)
        if read.num_rows == 0:
            raise InvalidInput(f"{self.path} has no rows; give it some")
        y_N, classes = class_indices(read[self.label], classes=self.classes, where=self._where(self.label))
        blocks = [
            _numbers(read[name], where=self._where(name)) for name in wanted if name not in self._special
        ]
        return table_of(np.concatenate(blocks, axis=1), y_N, classes=classes, part_N=self._own_parts(read))

    def _own_parts(self, read: pa.Table) -> np.ndarray | None:
        if self.part is None:
            return None
        codes_N, _ = class_indices(read[self.part], classes=tuple(PARTS), where=self._where(self.part))
        return codes_N

    @property
    def _special(self) -> tuple[str, ...]:
        return (self.label,) if self.part is None else (self.label, self.part)

    def _where(self, column: str) -> str:
        return f"column {column!r} of {self.path}"


@dataclass(frozen=True)
class _Column:
    """A column while it is looked at: its values one after the other, `width` of them in each row."""

    values: pa.ChunkedArray
    where: str
    width: int = 1

    def refuse(self, bad: Any, what: str) -> None:
        """Raise InvalidInput about the first value that is `bad`; `what` may name {value} and {row}, from 0 on."""
        positions = np.flatnonzero(np.asarray(bad))
        if len(positions):
            first = int(positions[0])
            sentence = what.format(value=self.values[first].as_py(), row=first // self.width)
            count = f" ({len(positions)} such values in all)" if len(positions) > 1 else ""
            raise InvalidInput(f"{self.where} {sentence}{count}")


def _numbers(values: pa.ChunkedArray, *, where: str) -> np.ndarray:
    """float32 [N, 1] of a column of numbers, [N, D] of one with D of them in each row.

    Raises InvalidInput naming the row of what is missing, no finite number, or ragged.
    """
    column = _flat(_Column(values, where))
    values, kind = column.values, column.values.type
    if _is_text(kind):
        no_number = pc.invert(pc.match_substring_regex(values, _NUMBER))
        column.refuse(no_number, "has {value!r} in row {row}, which is no number; correct it")
        values = pc.utf8_trim_whitespace(values)
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InvalidInput(
            f"{where} is {kind}, and features are numbers; convert it, or leave it out of features"
        )
    with np.errstate(over="ignore"):  # float32 ends at 3e38
        flat = values.cast(pa.float64(), safe=False).to_numpy().astype(np.float32)
    column.refuse(~np.isfinite(flat), "has {value} in row {row}, which is no finite float32; fill or drop it")
    features_ND: np.ndarray = flat.reshape(-1, column.width)
    return features_ND


def _flat(column: _Column) -> _Column:
    """The column without lists around its values, none of which is missing."""
    values, kind = column.values, column.values.type
    column.refuse(values.is_null(), "has nothing in row {row}; fill or drop it")
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return column
    lengths = pc.list_value_length(values)
    width = lengths[0].as_py()
    if not width:
        raise InvalidInput(
            f"{column.where} has an empty list in row 0; give it values, or leave it out of features"
        )
    counted = _Column(lengths, column.where)
    counted.refuse(pc.not_equal(lengths, width), f"has {{value}} values in row {{row}}, but {width} in row 0")
    flat = _Column(pc.list_flatten(values), column.where, width)
    flat.refuse(flat.values.is_null(), "lacks a value in row {row}; fill or drop it")
    return flat


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
