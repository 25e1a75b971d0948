"""Importing text, a row a line: a file for each label, or a label before a tab in each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

import pyarrow as pa
from pydantic import Field, model_validator

from raymaas.data.columns import INPUT
from raymaas.data.labels import class_indices
from raymaas.data.sources.base import DataFiles, Importer
from raymaas.data.sources.gzipped import unpacked
from raymaas.data.table import Learned, table_of_columns
from raymaas.errors import InvalidInput
from raymaas.specs.tasks import Target
from raymaas.store.places import read_folder, read_place


class Lines(Importer):
    """Text, a row a line: in a folder a file named after each label, or in one file a label, a tab and the text.

    Files are UTF-8, gzipped or not. The column is `text`. Empty lines are no rows. With `target: none` a line is
    nothing but its text.
    """

    folder: str | None = Field(
        default=None,
        description="Path or URL of a folder with a file for each label, named after it, such as spam.txt.",
    )
    path: str | None = Field(
        default=None, description="Path or URL of one file, each line with its label, a tab, and the text."
    )
    target: Target = Field("classes", description="What is learned: classes, or none.")

    @model_validator(mode="after")
    def _one_place(self) -> Lines:
        if (self.folder is None) == (self.path is None):
            raise ValueError("give folder or path, one of them")
        if self.target == "number":
            raise ValueError("a line has no number to be learned; use csv with a delimiter")
        if self.target == "none" and self.classes is not None:
            raise ValueError("classes belong to target classes; leave them out with none")
        return self

    def table(self, files: DataFiles) -> pa.Table:
        rows = list(self._of_file(self.path) if self.path is not None else self._of_folder(self.folder or ""))
        place = self.path or self.folder
        if not rows:
            raise InvalidInput(f"{place} has no lines of text; give it some")
        labels, texts = zip(*rows, strict=True)
        column = {INPUT + "text": pa.array(texts, pa.string())}
        if self.target == "none":
            return table_of_columns(column, Learned("none"), None)
        y_N, classes = class_indices(
            pa.chunked_array([pa.array(labels, pa.string())]),
            classes=self.classes,
            where=f"the labels of {place}",
        )
        return table_of_columns(column, Learned("classes", classes), y_N)

    def _of_folder(self, folder: str) -> Iterator[tuple[str, str]]:
        for name, data in read_folder(folder):
            label = PurePosixPath(name).name.partition(".")[0]
            for _, line in _lines(data, source=f"{folder}: {name}"):
                yield label, line

    def _of_file(self, path: str) -> Iterator[tuple[str, str]]:
        for number, line in _lines(read_place(path), source=path):
            label, tab, text = line.partition("\t")
            if self.target == "none":
                yield "", line
            elif not tab or not label.strip() or not text.strip():
                raise InvalidInput(
                    f"{path}, line {number}: expected a label, a tab and a text, got {line[:60]!r}"
                )
            else:
                yield label.strip(), text


def _lines(data: bytes, *, source: str) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line that is not empty. Raises InvalidInput for what is not UTF-8."""
    try:
        text = unpacked(data, source=source).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].count(b"\n") + 1
        raise InvalidInput(f"{source}, line {before}: not UTF-8; save it as UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")
