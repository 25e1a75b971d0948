"""IDX, the format MNIST came in: a magic number, the dimensions, and the values, big-endian, often gzipped.

Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database of handwritten digits, section "file formats".
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from raymaas.data.labels import class_indices
from raymaas.data.sources.base import DataFiles, Importer
from raymaas.data.sources.gzipped import unpacked
from raymaas.data.table import PARTS, table_of
from raymaas.errors import InvalidInput
from raymaas.store.places import read_place

_TYPES: Mapping[int, str] = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAGIC_BYTES = 4


class Idx(Importer):
    """Two IDX files, features and labels, gzipped or not, and perhaps two more that are the test part.

    Bytes stay bytes, so that images are 0 to 255.
    """

    images: str = Field(description="Path or URL of the features, [rows, ...].")
    labels: str = Field(description="Path or URL of the labels, [rows].")
    test_images: str | None = Field(
        default=None, description="Those of the test part, for `split: {test: given}`."
    )
    test_labels: str | None = Field(default=None, description="Those of the test part.")

    @model_validator(mode="after")
    def _both_or_none(self) -> Idx:
        if (self.test_images is None) != (self.test_labels is None):
            raise ValueError("test_images and test_labels go together: give both or none")
        return self

    def table(self, files: DataFiles) -> pa.Table:
        pairs = [(self.images, self.labels)]
        if self.test_images and self.test_labels:
            pairs.append((self.test_images, self.test_labels))
        arrays = [
            (read_idx(read_place(images), source=images), read_idx(read_place(labels), source=labels))
            for images, labels in pairs
        ]
        return idx_table(arrays, classes=self.classes, source=self.images)


def idx_table(
    pairs: list[tuple[np.ndarray, np.ndarray]], *, classes: tuple[str, ...] | None, source: str
) -> pa.Table:
    """The table of (features [N, ...], labels [N]): one pair, or that of training and that of test rows.

    Raises InvalidInput when a pair's lengths differ, or the shapes of rows.
    """
    shapes = {x.shape[1:] for x, _ in pairs}
    if len(shapes) > 1 or () in shapes:
        raise InvalidInput(
            f"{source}: rows must all have one shape of at least one dimension, got {sorted(shapes)}"
        )
    for x, y_N in pairs:
        if y_N.shape != (len(x),):
            raise InvalidInput(
                f"{source} has {len(x)} rows, but their labels have the shape {list(y_N.shape)}"
            )
    y_N, names = class_indices(
        pa.chunked_array([pa.array(y_N) for _, y_N in pairs]),
        classes=classes,
        where=f"the labels of {source}",
    )
    part_N = None
    if len(pairs) == 2:
        part_N = np.repeat([PARTS["train"], PARTS["test"]], [len(x) for x, _ in pairs])
    return table_of(np.concatenate([x for x, _ in pairs]), y_N, classes=names, part_N=part_N)


def read_idx(data: bytes, *, source: str) -> np.ndarray:
    """The array in `data`, in this machine's byte order. Raises InvalidInput naming `source` for anything else."""
    data = unpacked(data, source=source)
    if len(data) < _MAGIC_BYTES or data[:2] != b"\0\0" or data[2] not in _TYPES or not data[3]:
        raise InvalidInput(
            f"{source} is not an IDX file: it begins with {data[:_MAGIC_BYTES].hex(' ') or 'nothing'}"
        )
    dtype, header = np.dtype(_TYPES[data[2]]), _MAGIC_BYTES + 4 * data[3]
    if len(data) < header:
        raise InvalidInput(f"{source} ends within its header of {header} bytes; fetch it again")
    shape = tuple(np.frombuffer(data, ">u4", data[3], _MAGIC_BYTES).tolist())
    expected = header + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise InvalidInput(
            f"{source} has {len(data)} bytes, but its header, {list(shape)} of {dtype.name}, says {expected}; "
            "fetch it again"
        )
    array: np.ndarray = np.frombuffer(data, dtype, offset=header).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)
