"""The values of a column as people have them: numbers, text or times, or one sentence about what is wrong where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raymaas.data.columns import TIME
from raymaas.errors import InvalidInput

NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
"""What reads as a number."""


def input_values(
    values: pa.ChunkedArray, *, as_text: bool, where: str, first_row: int | None = None
) -> pa.Array:
    """A column of `raymaas.data.columns` for a model: text, float32, or lists of equally many float32.

    Raises InvalidInput naming the row of what is no finite number, or ragged. `first_row` is what the first is
    called; without it these are all there are.
    """
    values = decoded(values)
    if as_text:
        return _text(values, where=where)
    column = _flat(_Column(values, where, first_row=first_row))
    flat = _float32(column, otherwise="correct it, or name the column in data.config.text")
    if column.width == 1 and not _is_list(values.type):
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, column.width)


def kept_values(values: pa.ChunkedArray, *, text_as: pa.DataType, where: str) -> pa.Array:
    """A column of `raymaas.data.columns` that is kept: text, int64, float64, or times of any unit and zone.

    Text becomes `text_as`. Raises InvalidInput for another type.
    """
    values = decoded(values)
    kind = values.type
    try:
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            times = values.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
            return times.cast(TIME).combine_chunks()
        if is_text(kind):
            return values.cast(text_as).combine_chunks()
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            return values.cast(pa.int64()).combine_chunks()
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            return values.cast(pa.float64()).combine_chunks()
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{where} cannot be kept: {error}; make it text") from None
    raise InvalidInput(f"{where} is {kind}, and what is kept is numbers, text or times; convert it")


def numbers(values: pa.ChunkedArray, *, where: str, first_row: int | None = None) -> np.ndarray:
    """float32 [N] of a column of numbers to be learned. Raises InvalidInput naming the row of what is none."""
    values = decoded(values)
    column = _Column(values, where, first_row=first_row)
    if _is_list(values.type):
        raise InvalidInput(f"{where} is {values.type}; what is learned is one number in each row")
    column.refuse(values.is_null(), "has no number in row {row}; fill or drop it")
    learned_N: np.ndarray = _float32(column, otherwise="correct it").to_numpy()
    return learned_N


@dataclass(frozen=True)
class _Column:
    """A column while it is looked at: its values one after the other, `width` of them in each row."""

    values: pa.ChunkedArray
    where: str
    width: int = 1
    first_row: int | None = None
    """None: these are all rows."""

    def row(self, place: int) -> int:
        """What the row of that value is called."""
        return (self.first_row or 0) + place // self.width

    def refuse(self, bad: Any, what: str) -> None:
        """Raise InvalidInput about the first value that is `bad`; `what` may name {value} and {row}."""
        positions = np.flatnonzero(np.asarray(bad))
        if len(positions):
            first = int(positions[0])
            sentence = what.format(value=self.values[first].as_py(), row=self.row(first))
            extent = "in all" if self.first_row is None else f"up to row {self.row(len(self.values) - 1)}"
            count = f" ({len(positions)} such values {extent})" if len(positions) > 1 else ""
            raise InvalidInput(f"{self.where} {sentence}{count}")


def _float32(column: _Column, *, otherwise: str) -> pa.Array:
    """The values as float32; what is missing stays so, and NaN is missing."""
    values, kind = column.values, column.values.type
    if is_text(kind):
        odd = pc.fill_null(pc.invert(pc.match_substring_regex(values, NUMBER)), False)
        column.refuse(odd, f"has {{value!r}} in row {{row}}, which is no number; {otherwise}")
        values = pc.utf8_trim_whitespace(values)
    elif pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InvalidInput(
            f"{column.where} is {kind}, and features are numbers or text; convert it, or leave it out of features"
        )
    exact = values.cast(pa.float64(), safe=False)
    exact = pc.if_else(pc.is_nan(exact), None, exact)
    flat = exact.cast(pa.float32(), safe=False)
    infinite = pc.fill_null(pc.is_inf(flat), False)
    column.refuse(infinite, "has {value} in row {row}, which is no finite float32; fill or drop it")
    return flat.combine_chunks()


def _flat(column: _Column) -> _Column:
    """The column without lists around its values; from lists none may be missing."""
    values = column.values
    if not _is_list(values.type):
        return column
    column.refuse(values.is_null(), "has nothing in row {row}; fill or drop it")
    lengths = pc.list_value_length(values)
    width = lengths[0].as_py()
    if not width:
        raise InvalidInput(
            f"{column.where} has an empty list in row {column.row(0)}; give it values, or leave it out of features"
        )
    counted = _Column(lengths, column.where, first_row=column.first_row)
    counted.refuse(
        pc.not_equal(lengths, width),
        f"has {{value}} values in row {{row}}, but {width} in row {column.row(0)}",
    )
    flat = _Column(pc.list_flatten(values), column.where, width, column.first_row)
    absent = flat.values.is_null()
    if pa.types.is_floating(flat.values.type):
        absent = flat.values.is_null(nan_is_null=True)
    flat.refuse(absent, "lacks a value in row {row}; fill or drop it")
    return flat


def _text(values: pa.ChunkedArray, *, where: str) -> pa.Array:
    try:
        return values.cast(pa.string()).combine_chunks()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise InvalidInput(f"{where} is {values.type}, which is no text; convert it") from None


def decoded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values themselves, where they are kept as places in a dictionary."""
    kind = values.type
    return values.cast(kind.value_type) if pa.types.is_dictionary(kind) else values


def is_text(kind: pa.DataType) -> bool:
    """Whether values of that type are text; of a dictionary it is the type of its values that counts."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
