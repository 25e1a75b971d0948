"""Checking arrays against a version's signature: a wrong request is refused before a model sees it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.specs.versions import DType, Signature, TensorSpec

NUMPY_DTYPES: Mapping[DType, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}


def with_defaults(signature: Signature, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`inputs` and, for those left out that have a default, that value in every row."""
    if len(inputs) == len(signature.inputs):
        return dict(inputs)
    absent = [spec for spec in signature.inputs if spec.default is not None and spec.name not in inputs]
    if not absent:
        return dict(inputs)
    rows = max((len(array) for array in inputs.values() if array.ndim), default=1)
    filled = {
        spec.name: np.full((rows, *spec.shape[1:]), spec.default, dtype=NUMPY_DTYPES[spec.dtype])
        for spec in absent
    }
    return {**inputs, **filled}


def check_inputs(signature: Signature, inputs: Mapping[str, np.ndarray]) -> int:
    """The number of rows in `inputs`, at least 1 and the same in each.

    Raises InvalidInput naming the input, what was expected and what came.
    """
    rows: int | None = None
    uneven, found = False, 0
    for spec in signature.inputs:
        name = spec.name
        array = inputs.get(name)
        if array is None:
            _refuse_unknown(signature, inputs)
            raise InvalidInput(f"input {name!r} is missing; send {_text(spec)}")
        if array.dtype != NUMPY_DTYPES[spec.dtype] or not _fits(array.shape, spec.shape):
            raise InvalidInput(f"input {name!r} must be {_text(spec)}, got {array.dtype} {list(array.shape)}")
        if len(array) == 0:
            raise InvalidInput(f"input {name!r} has no rows; send at least one")
        _check_range(array, spec)
        uneven = uneven or rows not in (None, len(array))
        rows, found = len(array), found + 1
    if found < len(inputs):
        _refuse_unknown(signature, inputs)
    if uneven:
        counts = {spec.name: len(inputs[spec.name]) for spec in signature.inputs}
        raise InvalidInput(f"inputs must have equally many rows, got {counts}")
    assert rows is not None
    return rows


def _refuse_unknown(signature: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    known = [spec.name for spec in signature.inputs]
    unknown = min((name for name in inputs if name not in known), default=None)
    if unknown is not None:
        raise InvalidInput(f"input {unknown!r} is unknown; this model takes {', '.join(known)}")


def _check_range(array: np.ndarray, spec: TensorSpec) -> None:
    """A network that looks values up in a table fails on those beyond it."""
    if spec.low is None and spec.high is None:
        return
    for beyond, bound in ((np.less, spec.low), (np.greater, spec.high)):
        if bound is not None and beyond(array, bound).any():
            low, high = ("any" if end is None else f"{end:g}" for end in (spec.low, spec.high))
            raise InvalidInput(f"input {spec.name!r}: a number is out of range; it may be {low} to {high}")


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        want in (-1, got) for want, got in zip(wanted, shape, strict=True)
    )


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype} ({NUMPY_DTYPES[spec.dtype]}) {list(spec.shape)}, -1 being any number"
