"""Agreement: of how many rows two versions say the same, with no truth to compare them to.

Classifiers agree where they name the same class, however sure they are of it. Others agree where every number of every
output they share is within 1 % of the other's, and of the greatest of that output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from raymaas.errors import InvalidInput

WITHIN = 0.01

_SCORES = ("probabilities", "logits")


class Said(NamedTuple):
    """A version's outputs by name, [N, ...] each, and the labels of its classes if it is a classifier."""

    outputs: Mapping[str, np.ndarray]
    classes: Sequence[str] = ()


def differing(first: Said, second: Said) -> np.ndarray:
    """Of each row whether the two say something else, bool [N].

    Raises InvalidInput when they have no output in common, or not equally many rows.
    """
    ours, theirs = _labels(first), _labels(second)
    if ours is not None and theirs is not None:
        _check_rows(len(ours), len(theirs))
        return np.array([one != other for one, other in zip(ours, theirs, strict=True)], bool)
    shared = [name for name in first.outputs if name in second.outputs]
    if not shared:
        raise InvalidInput(
            f"the versions have no output in common: {', '.join(first.outputs)}; {', '.join(second.outputs)}"
        )
    found = [_apart(first.outputs[name], second.outputs[name]) for name in shared]
    return np.asarray(np.stack(found).any(axis=0))


def _labels(said: Said) -> list[str] | None:
    scores = next((said.outputs[name] for name in _SCORES if name in said.outputs), None)
    if scores is None or scores.ndim != 2 or not said.classes or scores.shape[1] != len(said.classes):
        return None
    return [said.classes[place] for place in scores.argmax(axis=1)]


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    _check_rows(len(first), len(second))
    if first.shape != second.shape:
        return np.ones(len(first), bool)
    same: np.ndarray
    if first.dtype.kind not in "biuf" or second.dtype.kind not in "biuf":
        same = np.equal(first, second).astype(bool)
    else:
        finite = np.abs(first[np.isfinite(first)], dtype=np.float64)
        same = np.isclose(second, first, rtol=WITHIN, atol=WITHIN * finite.max(initial=0), equal_nan=True)
    return np.asarray(~same.reshape(len(first), -1).all(axis=1))


def _check_rows(first: int, second: int) -> None:
    if first != second:
        raise InvalidInput(f"the versions answered {first} and {second} rows to the same request")
