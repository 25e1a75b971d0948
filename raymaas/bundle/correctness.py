"""The file that says which test rows a version got right: `row` int64 [N] and `correct` uint8 [N]."""

from __future__ import annotations

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from raymaas.errors import IntegrityError

EVALUATION = "evaluation.safetensors"


def write_correctness(row_N: np.ndarray, correct_N: np.ndarray) -> bytes:
    return save({"row": row_N.astype(np.int64), "correct": correct_N.astype(np.uint8)})


def read_correctness(raw: bytes, *, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`row` and `correct` as written. Raises IntegrityError, naming the file by `name`, for anything else."""
    try:
        arrays = load(raw)
    except SafetensorError as error:
        raise IntegrityError(f"{name} is not a safetensors file: {error}") from None
    row_N, correct_N = arrays.get("row"), arrays.get("correct")
    if row_N is None or correct_N is None or row_N.ndim != 1 or row_N.shape != correct_N.shape:
        raise IntegrityError(f"{name} does not hold `row` and `correct`, one value of each per test row")
    return row_N, correct_N
