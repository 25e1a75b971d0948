"""Language: how many bits a byte of text costs, beside what general compressors need for the same text.

Legend: N rows, T bytes of a row.
"""

from __future__ import annotations

import gzip
import lzma

import numpy as np

from raymaas.evaluate.intervals import CONFIDENCE, mean
from raymaas.evaluate.scored import Scored, mean_of


def score(bits_N: np.ndarray, x_NT: np.ndarray, *, confidence: float = CONFIDENCE) -> Scored:
    """`bits_per_byte` of rows of bytes, values 0 to 255, a byte of which cost `bits_N` on the average.

    Rows have equally many bytes, so the mean over the rows is that over all bytes. Its normal interval is for rows
    drawn at random; passages of one text are more alike than that, so it is somewhat too narrow. The baselines are
    `gzip -9` and `xz -9` of the rows as one text, alone: the model has seen other text before, and begins anew with
    each row; the compressors have seen none, and remember the rows before.
    """
    text = x_NT.astype(np.uint8).tobytes()
    packed = {
        "gzip -9 of these rows": gzip.compress(text, 9, mtime=0),
        "xz -9 of these rows": lzma.compress(text, preset=9),
    }
    return Scored(
        {"bits_per_byte": mean(bits_N, confidence=confidence, least=0.0)},
        {"bits_per_byte": mean_of(bits_N)},
        {"bits_per_byte": bits_N},
        baselines={name: {"bits_per_byte": 8 * len(data) / len(text)} for name, data in packed.items()},
    )
