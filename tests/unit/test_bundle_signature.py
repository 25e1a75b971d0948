"""Inputs are checked against the signature: what is refused, and the sentence that says why."""

import numpy as np
import pytest

from raymaas.bundle.signature import check_inputs
from raymaas.errors import InvalidInput
from raymaas.specs.versions import Signature, TensorSpec

ONE = Signature(inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 4)),), outputs=())
TWO = Signature(inputs=(*ONE.inputs, TensorSpec(name="ids", dtype="INT64", shape=(-1,))), outputs=())


def x(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype=dtype)


def test_inputs_that_fit_pass_with_their_number_of_rows():
    assert check_inputs(ONE, {"x": x(3, 4)}) == 3
    assert check_inputs(TWO, {"x": x(1, 4), "ids": x(1, dtype=np.int64)}) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"input 'x' is missing; send FP32 \(float32\) \[-1, 4\]"),
        ({"x": x(1, 4), "y": x(1)}, "input 'y' is unknown; this model takes x"),
        ({"x": x(2, 4, dtype=np.float64)}, r"input 'x' must be FP32 .*, got float64 \[2, 4\]"),
        ({"x": x(2, 5)}, r"input 'x' must be FP32 .* \[-1, 4\], .*, got float32 \[2, 5\]"),
        ({"x": x(4)}, r"got float32 \[4\]"),
        ({"x": x(0, 4)}, "input 'x' has no rows"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(inputs, message):
    with pytest.raises(InvalidInput, match=message):
        check_inputs(ONE, inputs)


def test_inputs_with_different_numbers_of_rows_are_refused():
    with pytest.raises(InvalidInput, match=r"equally many rows, got \{'x': 2, 'ids': 3\}"):
        check_inputs(TWO, {"x": x(2, 4), "ids": x(3, dtype=np.int64)})
