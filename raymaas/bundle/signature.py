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
    rows = max((len(array) for array in inputs.values() if array.ndim), default=1)
    filled = {
        spec.name: np.full((rows, *spec.shape[1:]), spec.default, dtype=NUMPY_DTYPES[spec.dtype])
        for spec in signature.inputs
        if spec.default is not None and spec.name not in inputs
    }
    return {**inputs, **filled}


def check_inputs(signature: Signature, inputs: Mapping[str, np.ndarray]) -> int:
    """The number of rows in `inputs`, at least 1 and the same in each.

    Raises InvalidInput naming the input, what was expected and what came.
    """
    expected = {spec.name: spec for spec in signature.inputs}
    for name in sorted(inputs.keys() - expected.keys()):
        raise InvalidInput(f"input {name!r} is unknown; this model takes {', '.join(expected)}")
    for name, spec in expected.items():
        if name not in inputs:
            raise InvalidInput(f"input {name!r} is missing; send {_text(spec)}")
        array = inputs[name]
        fits = array.ndim == len(spec.shape) and all(
            want in (-1, got) for want, got in zip(spec.shape, array.shape, strict=True)
        )
        if array.dtype != NUMPY_DTYPES[spec.dtype] or not fits:
            raise InvalidInput(f"input {name!r} must be {_text(spec)}, got {array.dtype} {list(array.shape)}")
        if len(array) == 0:
            raise InvalidInput(f"input {name!r} has no rows; send at least one")
    rows = {name: len(inputs[name]) for name in expected}
    if len(set(rows.values())) > 1:
        raise InvalidInput(f"inputs must have equally many rows, got {rows}")
    return next(iter(rows.values()))


def _text(spec: TensorSpec) -> str:
    return f"{spec.dtype} ({NUMPY_DTYPES[spec.dtype]}) {list(spec.shape)}, -1 being any number"
