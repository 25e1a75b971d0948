"""Language: how many bits a byte of text costs, beside what general compressors need for the same text.

Legend: N rows.
"""

from __future__ import annotations

import gzip
import lzma

import numpy as np

from raymaas.evaluate.intervals import CONFIDENCE, weighted_mean
from raymaas.evaluate.scored import Scored, mean_of


def score(bits_N: np.ndarray, bytes_N: np.ndarray, *, text: bytes, confidence: float = CONFIDENCE) -> Scored:
    """`bits_per_byte` of rows that cost `bits_N` for each of the `bytes_N` bytes that were predicted in them.

    The mean over all bytes, with the normal interval for rows drawn at random; passages of one text are more alike
    than that, so it is somewhat too narrow. The baselines are `gzip -9` and `xz -9` of `text`, the rows as one text,
    alone: the model has seen other text before, the compressors have not, and begin with it, which the model's first
    byte of a row does not.
    """
    metric = weighted_mean(bits_N, bytes_N, confidence=confidence, least=0.0)
    packed = {
        "gzip -9 of these rows": gzip.compress(text, 9, mtime=0),
        "xz -9 of these rows": lzma.compress(text, preset=9),
    }
    return Scored(
        {"bits_per_byte": metric},
        {"bits_per_byte": mean_of(bits_N, bytes_N)},
        {"bits_per_byte": bits_N, "bytes": bytes_N},
        baselines={name: {"bits_per_byte": 8 * len(data) / len(text)} for name, data in packed.items()},
    )
