"""Importing CSV with a header line."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv
from pydantic import Field

from raymaas.data.sources.base import DataFiles
from raymaas.data.sources.columns import Columns
from raymaas.errors import InvalidInput
from raymaas.store.places import read_place


class Csv(Columns):
    """A CSV file with a header line: one column is the label, the others are numbers or text.

    A column is one of numbers when one of its values is. Dates are kept as text, and so
    sort right when they are written as ISO 8601 has them.
    """

    delimiter: str = Field(",", min_length=1, max_length=1, description="Between values.")
    missing: tuple[str, ...] = Field(("",), description="What stands where a value is missing.")

    def table(self, files: DataFiles) -> pa.Table:
        # As text, not by guessing types: a guess is made from the first megabyte, and its message names no row.
        data = read_place(self.path)
        try:
            names = self._open(data, pa.csv.ConvertOptions()).schema.names
            wanted = self.wanted(names)
            as_text = pa.csv.ConvertOptions(
                include_columns=wanted,
                column_types={name: pa.string() for name in wanted},
                strings_can_be_null=True,
                null_values=list(self.missing),
            )
            return self.from_columns(self._open(data, as_text).read_all())
        except pa.ArrowInvalid as error:
            raise InvalidInput(f"{self.path} is not a CSV table: {error}") from None

    def _open(self, data: bytes, convert: pa.csv.ConvertOptions) -> pa.csv.CSVStreamingReader:
        # One thread, because only then does Arrow say in which line a row is too long or too short.
        return pa.csv.open_csv(
            pa.BufferReader(data),
            read_options=pa.csv.ReadOptions(use_threads=False),
            parse_options=pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            convert_options=convert,
        )
