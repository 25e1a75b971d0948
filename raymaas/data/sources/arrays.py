"""Importing numpy's .npz: an array of features and one of labels, of any row shape."""

from __future__ import annotations

import io
import zipfile
import zlib

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from raymaas.data.labels import class_indices
from raymaas.data.sources.base import DataFiles, Importer
from raymaas.data.table import table_of, table_of_numbers, table_of_rows
from raymaas.errors import InvalidInput
from raymaas.specs.tasks import Target
from raymaas.store.places import read_place

_SAID = {"classes": "labels", "number": "numbers"}


class Npz(Importer):
    """A file of numpy.savez: array `x` [rows, ...] of features, array `y` [rows] of labels.

    uint8 features stay bytes, all others become float32. A file with Python objects in it is refused.
    """

    path: str = Field(
        description="Path on the machine of the job's driver, or URL: file:///path, s3://bucket/key."
    )
    x: str = Field("x", description="Name of the array of features.")
    y: str = Field("y", description="Name of the array of labels: text, whole numbers, or booleans.")
    target: Target = Field("classes", description="What is learned: classes, a number, or none.")

    @model_validator(mode="after")
    def _classes_where_they_are_learned(self) -> Npz:
        if self.classes is not None and self.target != "classes":
            raise ValueError(f"classes belong to target classes; leave them out with {self.target}")
        return self

    def table(self, files: DataFiles) -> pa.Table:
        x, y_N = self._arrays(read_place(self.path))
        if x.ndim < 2 or x.dtype.kind not in "biuf" or not x.size:
            raise InvalidInput(
                f"array {self.x!r} of {self.path} must be numbers of the shape [rows, ...], not empty, "
                f"got {x.dtype} {list(x.shape)}"
            )
        if y_N is None:
            return table_of_rows(x)
        kinds = "iuf" if self.target == "number" else "biufU"
        if y_N.shape != (len(x),) or y_N.dtype.kind not in kinds:
            raise InvalidInput(
                f"array {self.y!r} of {self.path} must be {len(x)} {_SAID[self.target]}, "
                f"one for each row of {self.x!r}, got {y_N.dtype} {list(y_N.shape)}"
            )
        if self.target == "number":
            return table_of_numbers(x, y_N)
        labels = pa.chunked_array([pa.array(y_N)])
        indices_N, classes = class_indices(
            labels, classes=self.classes, where=f"array {self.y!r} of {self.path}"
        )
        return table_of(x, indices_N, classes=classes)

    def _arrays(self, data: bytes) -> tuple[np.ndarray, np.ndarray | None]:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as held:
                needed = (self.x,) if self.target == "none" else (self.x, self.y)
                missing = [name for name in needed if name not in held.files]
                if missing:
                    raise InvalidInput(
                        f"{self.path} has no array {missing[0]!r}; it has {', '.join(held.files)}"
                    )
                return held[self.x], None if self.target == "none" else held[self.y]
        except (
            ValueError,
            OSError,
            EOFError,
            AttributeError,
            TypeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise InvalidInput(f"{self.path} is not a .npz of plain arrays: {error}") from None
