"""The file that says what each test row came to, so that versions can be compared later without running them.

`row` int64 [N] names the rows. For a classifier `correct` is uint8 [N], 1 where it was right. Whatever else is
there is float32 [N], by the metric of which it is the mean, such as `log_loss` or `mse`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from raymaas.errors import IntegrityError

EVALUATION = "evaluation.safetensors"


def write_outcomes(row_N: np.ndarray, values: Mapping[str, np.ndarray]) -> bytes:
    """The file; of `values`, `correct` stays bytes."""
    types = {name: np.uint8 if name == "correct" else np.float32 for name in values}
    arrays = {name: np.ascontiguousarray(array, dtype=types[name]) for name, array in values.items()}
    return save({"row": np.ascontiguousarray(row_N, dtype=np.int64), **arrays})


def read_outcomes(raw: bytes, *, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """`row`, and all else that was written. Raises IntegrityError, naming the file by `name`, for anything else."""
    try:
        arrays = load(raw)
    except SafetensorError as error:
        raise IntegrityError(f"{name} is not a safetensors file: {error}") from None
    row_N = arrays.pop("row", None)
    if row_N is None or row_N.ndim != 1 or any(values.shape != row_N.shape for values in arrays.values()):
        raise IntegrityError(f"{name} does not hold `row` and one value of each kind per test row")
    return row_N, arrays


def read_correctness(raw: bytes, *, name: str) -> tuple[np.ndarray, np.ndarray]:
    """`row` and `correct`. Raises IntegrityError, naming the file by `name`, when there is no such."""
    row_N, values = read_outcomes(raw, name=name)
    if "correct" not in values:
        raise IntegrityError(f"{name} does not hold `correct`, which row was right")
    return row_N, values["correct"]
