"""Importing pictures: a folder with a sub-folder of images for each class."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, PositiveInt

from raymaas.data.labels import class_indices
from raymaas.data.sources.base import DataFiles, Importer
from raymaas.data.table import table_of
from raymaas.errors import InvalidInput
from raymaas.store.places import read_folder

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}


class Images(Importer):
    """A folder with one sub-folder of pictures for each class, named after it.

    Values are 0 to 255; a row is [height, width] in grey, and [3, height, width] in colour.
    """

    path: str = Field(
        description="Path on the machine of the job's driver, or URL: file:///path, s3://bucket/prefix."
    )
    colour: Literal["grey", "rgb"] = Field("grey", description="What every picture is turned into.")
    size: tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="[height, width] every picture is scaled to; default they must have one size.",
    )

    def table(self, files: DataFiles) -> pa.Table:
        labels: list[str] = []
        pictures: list[np.ndarray] = []
        first = ""
        for name, data in self._files():
            picture = self._picture(data, name)
            first = first or name
            if pictures and picture.shape != pictures[0].shape:
                raise InvalidInput(
                    f"{self.path}: {name} is {_size(picture)}, but {first} is {_size(pictures[0])}; "
                    "set data.config.size to [height, width] to scale all"
                )
            labels.append(name.partition("/")[0])
            pictures.append(picture)
        if not pictures:
            raise InvalidInput(
                f"{self.path} holds no pictures in sub-folders; put those of each class into a folder of its name "
                f"({', '.join(sorted(_SUFFIXES))})"
            )
        where = f"the sub-folders of {self.path}"
        y_N, classes = class_indices(pa.chunked_array([pa.array(labels)]), classes=self.classes, where=where)
        return table_of(np.stack(pictures), y_N, classes=classes)

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for name, data in read_folder(self.path):
            if "/" in name and PurePosixPath(name).suffix.lower() in _SUFFIXES:
                yield name, data

    def _picture(self, data: bytes, name: str) -> np.ndarray:
        from PIL import Image  # only needed here

        try:
            with Image.open(io.BytesIO(data)) as opened:
                picture = opened.convert("RGB" if self.colour == "rgb" else "L")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InvalidInput(f"{self.path}: {name} is not a picture that can be read: {error}") from None
        if self.size is not None:
            picture = picture.resize(self.size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(picture)
        return pixels.transpose(2, 0, 1) if self.colour == "rgb" else pixels


def _size(picture: np.ndarray) -> str:
    height, width = picture.shape[-2:]
    return f"{height} x {width}"
