"""Looking at rows: the numbers and words of them that features are counted by, for many features at once.

Legend: N rows, F features, C numbers of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from raymaas.specs.drift import Source, Take

Arrays = Mapping[str, np.ndarray]
Tensors = Mapping[Source, Arrays]
"""Inputs and predictions by name, all of the same rows."""


def numbers(array_N: np.ndarray, take: Take, columns: Sequence[int]) -> np.ndarray:
    """float64 [N, F], what `take` says of each row, of `number` one for each of `columns`. NaN is a missing value."""
    if take == "length":
        return np.array([[np.nan if text is None else len(text)] for text in array_N.flat], np.float64)
    flat_NC: np.ndarray = array_N.reshape(len(array_N), -1)
    found_NF: np.ndarray
    match take:
        case "number":
            found_NF = flat_NC[:, columns]
        case "mean":
            found_NF = flat_NC.mean(axis=1, dtype=np.float64, keepdims=True)
        case "deviation":
            found_NF = flat_NC.std(axis=1, dtype=np.float64, keepdims=True)
        case "zeros":
            found_NF = (flat_NC == 0).mean(axis=1, keepdims=True)
        case "confidence":
            found_NF = flat_NC.max(axis=1, keepdims=True)
        case _:
            raise AssertionError(f"{take} is no number")
    return found_NF.astype(np.float64, copy=False)


def words(array_N: np.ndarray, take: Take, labels: Sequence[str]) -> list[str | None]:
    """The category of each row. None is a missing value."""
    if take == "class":
        return [labels[index] for index in array_N.argmax(axis=1)]
    if array_N.dtype == np.bool_:
        return ["true" if value else "false" for value in array_N.flat]
    return [None if text is None else str(text) for text in array_N.flat]
