"""Importing CSV with a header line, in pieces when it is large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import pyarrow as pa
import pyarrow.csv
from pydantic import Field

from raymaas.data.parting import PART_BYTES
from raymaas.data.sources.base import Again, DataFiles
from raymaas.data.sources.columns import Columns
from raymaas.data.sources.survey import Forms, Survey
from raymaas.errors import InvalidInput, Unavailable
from raymaas.store.places import PlacedFile, file_at

_BLOCK_BYTES = 2**20  # of the file, parsed at a time


class Csv(Columns):
    """A CSV file with a header line: one column is the label, the others are numbers or text.

    A column is one of numbers when one of its values is. Dates are kept as text, and so
    sort right when they are written as ISO 8601 has them.
    """

    delimiter: str = Field(",", min_length=1, max_length=1, description="Between values.")
    missing: tuple[str, ...] = Field(("",), description="What stands where a value is missing.")

    def table(self, files: DataFiles) -> pa.Table:
        with self._opened(file_at(self.path)) as reader:
            return self.from_columns(reader.read_all())

    def tables(self, files: DataFiles) -> Iterable[pa.Table]:
        file = file_at(self.path)
        with file.open() as opened:
            small = opened.size() <= PART_BYTES
        if small:
            return (self.table(files),)
        survey = Survey()
        for first_row, read in self._pieces(file):
            self.survey(read, survey, first_row=first_row)
        return Again(partial(self._tables_of, file, survey.forms()))

    def _tables_of(self, file: PlacedFile, forms: Forms) -> Iterator[pa.Table]:
        for first_row, read in self._pieces(file):
            yield self.from_columns(read, forms=forms, first_row=first_row)

    def _pieces(self, file: PlacedFile) -> Iterator[tuple[int, pa.Table]]:
        """What the first row of each piece is called, and the piece."""
        first_row = 0
        with self._opened(file) as reader:
            for batch in reader:
                if len(batch):
                    yield first_row, pa.Table.from_batches([batch])
                first_row += len(batch)

    @contextmanager
    def _opened(self, file: PlacedFile) -> Iterator[pa.csv.CSVStreamingReader]:
        """Reads the wanted columns as text.

        Not by guessing types: a guess is made from the first megabyte, and its message names no row.
        """
        try:
            with file.open() as opened:
                names = self._reader(opened, pa.csv.ConvertOptions()).schema.names
            wanted = self.wanted(names)
            as_text = pa.csv.ConvertOptions(
                include_columns=wanted,
                column_types={name: pa.string() for name in wanted},
                strings_can_be_null=True,
                null_values=list(self.missing),
            )
            with file.open() as opened, self._reader(opened, as_text) as reader:
                yield reader
        except pa.ArrowInvalid as error:
            raise InvalidInput(f"{self.path} is not a CSV table: {error}") from None
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be read: {error}; try again") from None

    def _reader(self, opened: pa.NativeFile, convert: pa.csv.ConvertOptions) -> pa.csv.CSVStreamingReader:
        # One thread, because only then does Arrow say in which line a row is too long or too short.
        return pa.csv.open_csv(
            opened,
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
            convert_options=convert,
        )
