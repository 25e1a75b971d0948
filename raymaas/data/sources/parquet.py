"""Importing Parquet: one file or a folder of them, in pieces when they are large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from raymaas.data.parting import PART_BYTES
from raymaas.data.sources.base import Again, DataFiles
from raymaas.data.sources.columns import Columns
from raymaas.data.sources.survey import Forms, Survey
from raymaas.data.sources.values import is_text
from raymaas.errors import InvalidInput, NotFound
from raymaas.store.places import PlacedFile, files_at

_PIECE_BYTES = PART_BYTES // 4  # making float32 of what is read takes several copies
_LOOKED_AT = 1024  # rows that say how much memory one takes


class Parquet(Columns):
    """Parquet, a file or a folder of *.parquet: numbers, lists of equally many numbers, or text.

    One column is the label. More rows than fit in memory are read in pieces.
    """

    def table(self, files: DataFiles) -> pa.Table:
        return self._whole(self._files())

    def tables(self, files: DataFiles) -> Iterable[pa.Table]:
        found = self._files()
        size = self._piece_rows(found[0])
        if self._rows(found) <= size * PART_BYTES // _PIECE_BYTES:
            return (self._whole(found),)
        with self._opened(found[0]) as parquet:
            names = parquet.schema_arrow.names
        self.wanted(names)
        settings = self.model_copy(update={"features": self._features(names)})
        return Again(partial(settings._tables_of, found, size, settings._forms(found, size)))

    def _forms(self, found: Sequence[PlacedFile], size: int) -> Forms:
        """What all files decide together."""
        survey = Survey()
        for file in found:
            of_file = self.model_copy(update={"path": file.place})
            with self._opened(file) as parquet:
                undecided = of_file._undecided(parquet.schema_arrow)
            if undecided:
                for first_row, read in of_file._pieces(file, size, columns=undecided):
                    of_file.survey(read, survey, first_row=first_row)
        return survey.forms()

    def _undecided(self, schema: pa.Schema) -> list[str]:
        """The columns of a file that a survey needs."""
        wanted = self.wanted(schema.names)
        texts = [name for name in wanted if name not in self._special and is_text(schema.field(name).type)]
        return [*([self.label] if self.label is not None and self._finds_classes else []), *texts]

    def _tables_of(self, found: Sequence[PlacedFile], size: int, forms: Forms) -> Iterator[pa.Table]:
        for file in found:
            of_file = self.model_copy(update={"path": file.place})
            for first_row, read in of_file._pieces(file, size):
                yield of_file.from_columns(read, forms=forms, first_row=first_row)

    def _files(self) -> list[PlacedFile]:
        found = files_at(self.path)
        if [file.place for file in found] != [self.path]:
            found = [file for file in found if file.place.endswith(".parquet") or len(found) == 1]
        if not found:
            raise NotFound(f"{self.path} holds no file whose name ends in .parquet; name the right folder")
        return found

    def _whole(self, found: Sequence[PlacedFile]) -> pa.Table:
        read = []
        for file in found:
            with self._opened(file) as parquet:
                read.append(parquet.read(columns=list(self.wanted(parquet.schema_arrow.names))))
        try:
            return self.from_columns(pa.concat_tables(read, promote_options="permissive"))
        except pa.ArrowException as error:
            raise InvalidInput(f"the files in {self.path} do not fit together: {error}") from None

    def _pieces(
        self, file: PlacedFile, size: int, *, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """What the first row of each piece is called, and the piece: the wanted columns, or those of them named."""
        first_row = 0
        with self._opened(file) as parquet:
            wanted = self.wanted(parquet.schema_arrow.names)
            for batch in parquet.iter_batches(
                batch_size=size, columns=list(columns or wanted), use_threads=False
            ):
                yield first_row, pa.Table.from_batches([batch])
                first_row += len(batch)

    def _rows(self, found: Sequence[PlacedFile]) -> int:
        rows = 0
        for file in found:
            with self._opened(file) as parquet:
                rows += parquet.metadata.num_rows
        return rows

    def _piece_rows(self, file: PlacedFile) -> int:
        """How many rows of `file` are read at a time, by what its first ones take: encoded they may take nothing."""
        for _, some in self._pieces(file, _LOOKED_AT):
            return max(1, _PIECE_BYTES * len(some) // int(some.nbytes))
        return 1

    @contextmanager
    def _opened(self, file: PlacedFile) -> Iterator[pq.ParquetFile]:
        try:
            with file.open() as opened:
                yield pq.ParquetFile(opened, pre_buffer=False, buffer_size=1 << 16)
        except (pa.ArrowException, OSError) as error:
            raise InvalidInput(f"{file.place} is not a Parquet file that can be read: {error}") from None
