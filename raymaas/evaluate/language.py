"""Language: how many bits a byte of text costs, beside what general compressors need for the same text.

Legend: N rows, T bytes of a row.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from raymaas.evaluate.intervals import CONFIDENCE, mean
from raymaas.evaluate.scored import Scored, mean_of
from raymaas.specs.evaluation import Metric

_GZIP = 16 + zlib.MAX_WBITS  # zlib's word for its own compression within gzip's frame


def score(bits_N: np.ndarray, x_NT: Iterable[np.ndarray], *, confidence: float = CONFIDENCE) -> Scored:
    """`bits_per_byte` of rows of bytes, values 0 to 255, a byte of which cost `bits_N` on the average.

    The rows come in blocks, [N, T] each. They have equally many bytes, so the mean over the rows is that over all
    bytes. Its normal interval is for rows drawn at random; passages of one text are more alike than that, so it is
    somewhat too narrow. The baselines are `gzip -9` and `xz -9` of the rows as one text, alone: the model has seen
    other text before, and begins anew with each row; the compressors have seen none, and remember the rows before.
    """
    packed = {
        "gzip -9 of these rows": _Packed(zlib.compressobj(9, wbits=_GZIP)),
        "xz -9 of these rows": _Packed(lzma.LZMACompressor(preset=9)),
    }
    read = 0
    for block_NT in x_NT:
        text = block_NT.astype(np.uint8).tobytes()
        read += len(text)
        for one in packed.values():
            one.add(text)
    return Scored(
        dict(brief(bits_N, confidence=confidence)),
        {"bits_per_byte": mean_of(bits_N)},
        {"bits_per_byte": bits_N},
        baselines={name: {"bits_per_byte": 8 * one.all() / read} for name, one in packed.items()},
    )


def brief(bits_N: np.ndarray, *, confidence: float = CONFIDENCE) -> dict[str, Metric]:
    """`bits_per_byte` without what compressors need."""
    return {"bits_per_byte": mean(bits_N, confidence=confidence, least=0.0)}


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Packed:
    """How many bytes a text takes that comes in pieces; none of it is kept."""

    def __init__(self, compressor: _Compressor) -> None:
        self._compressor, self._bytes = compressor, 0

    def add(self, text: bytes) -> None:
        self._bytes += len(self._compressor.compress(text))

    def all(self) -> int:
        """Nothing can be added afterwards."""
        return self._bytes + len(self._compressor.flush())
