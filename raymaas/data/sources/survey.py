"""Survey: what all rows of a table decide together, gathered piece by piece: its classes, and what its texts stand for.

In a column of text that is a feature, numbers are read as such when there is one; in one that is kept, when there is
nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from raymaas.data.labels import in_order
from raymaas.data.sources.values import NUMBER, decoded, is_text

_WHOLE, _PLAIN = r"^-?(0|[1-9]\d*)$", r"^-?(0|[1-9]\d*)(\.\d+)?$"
_LONG = r"^-?[1-9]\d{18,}$"  # whole numbers that int64 may not hold


@dataclass(frozen=True)
class Forms:
    """What was found."""

    classes: tuple[str, ...] | None
    """The different labels in order; None where no labels were seen."""
    text: Collection[str]
    """Features that are text."""
    kept: Mapping[str, pa.DataType]
    """What kept columns of text are: text, or numbers."""


class Survey:
    """Sees all pieces of a table, one after the other."""

    def __init__(self) -> None:
        self._features: dict[str, _Feature] = {}
        self._kept: dict[str, _Kept] = {}
        self._labels: set[str] = set()

    def see(self, features: pa.Table, kept: pa.Table, labels: pa.ChunkedArray | None) -> None:
        """Some rows: of columns that are no text nothing is to be found; labels are text."""
        if labels is not None:
            self._labels.update(pc.unique(labels).to_pylist())
        for name, values in _texts(features).items():
            self._features.setdefault(name, _Feature()).see(values)
        for name, values in _texts(kept).items():
            self._kept.setdefault(name, _Kept()).see(values)

    def forms(self) -> Forms:
        return Forms(
            classes=in_order(self._labels) if self._labels else None,
            text={name for name, column in self._features.items() if column.is_text},
            kept={name: column.kind for name, column in self._kept.items()},
        )


def _texts(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    columns = {name: decoded(table[name]) for name in table.column_names}
    return {name: values for name, values in columns.items() if is_text(values.type)}


class _Feature:
    """Whether a column of text has values, and whether one reads as a number."""

    def __init__(self) -> None:
        self._values = self._numbers = False

    def see(self, values: pa.ChunkedArray) -> None:
        self._values |= values.null_count < len(values)
        self._numbers = self._numbers or bool(pc.any(pc.match_substring_regex(values, NUMBER)).as_py())

    @property
    def is_text(self) -> bool:
        return self._values and not self._numbers


class _Kept:
    """Whether the values of a column of text are all written as numbers are, so that 9 comes before 10.

    What begins with zeros is a name, and so is a whole number that int64 does not hold.
    """

    def __init__(self) -> None:
        self._values, self._whole, self._plain = False, True, True

    def see(self, values: pa.ChunkedArray) -> None:
        if values.null_count == len(values):
            return
        self._values = True
        self._whole = self._whole and pc.all(pc.match_substring_regex(values, _WHOLE)).as_py()
        self._plain = self._plain and pc.all(pc.match_substring_regex(values, _PLAIN)).as_py()
        self._plain = self._plain and _fits_int64(values.filter(pc.match_substring_regex(values, _LONG)))

    @property
    def kind(self) -> pa.DataType:
        if not self._values or not self._plain:
            return pa.string()
        return pa.int64() if self._whole else pa.float64()


def _fits_int64(values: pa.ChunkedArray) -> bool:
    try:
        values.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True
