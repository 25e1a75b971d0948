"""Graphs in integers: what is computed in 8 bits and what stays in floats, and whose levels they are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from raymaas.bundle.hollow import parsed
from raymaas.bundle.int8 import dynamic_int8, static_int8
from raymaas.bundle.rmz.tensors import Coded, Quantized, Raw
from raymaas.specs.accounting import Calibrator

draw = np.random.default_rng(0)


def on_a_grid(outputs: int, inputs: int, *, bits: int, zero_point: int | None = None) -> Quantized:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return Quantized(
        draw.integers(low, high + 1, (outputs, inputs)).astype(np.int8),
        draw.uniform(0.01, 0.02, outputs).astype(np.float16),
        bits=bits,
        zero_point=None if zero_point is None else np.full(outputs, zero_point, np.int8),
    )


TENSORS: dict[str, Coded] = {
    "up": on_a_grid(32, 16, bits=4),
    "across": on_a_grid(32, 32, bits=7, zero_point=-20),
    "down": on_a_grid(8, 32, bits=8, zero_point=-120),  # its levels less that are beyond 8 bits
    "half": Raw(draw.normal(size=(8, 8)).astype(np.float16)),
}


def graph() -> bytes:
    """Linear maps as the exporter writes them, a product of two activations, and a softmax."""
    weights = {
        "up": TENSORS["up"].dense(),
        "up_bias": np.full(32, 0.1, np.float32),
        "across": np.ascontiguousarray(TENSORS["across"].dense().T),
        "down": TENSORS["down"].dense(),
        "half": np.ascontiguousarray(TENSORS["half"].dense().T),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "up", "up_bias"], ["a"], "gemm_up", transB=1),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("MatMul", ["b", "across"], ["c"], "across"),
        helper.make_node("Gemm", ["c", "down"], ["d"], "gemm_down", transB=1),
        helper.make_node("MatMul", ["d", "half"], ["e"], "half"),
        helper.make_node("Transpose", ["d"], ["t"], "transpose", perm=[1, 0]),
        helper.make_node("MatMul", ["t", "e"], ["product"], "product"),
        helper.make_node("Softmax", ["product"], ["y"], "softmax"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 16])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("c", "e", "y")]
    kept = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = helper.make_graph(nodes, "g", inputs, outputs, initializer=kept)
    opset = helper.make_opsetid("", 20)
    return helper.make_model(made, opset_imports=[opset], ir_version=10).SerializeToString()


X_ND = draw.normal(size=(100, 16)).astype(np.float32)


def answers(made: bytes) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X_ND})


def static(method: Calibrator = "minmax") -> bytes:
    return static_int8(graph(), TENSORS, input_name="x", x_ND=X_ND, method=method)


def inside(made: bytes) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in parsed(made).graph.initializer}


def dynamic() -> bytes:
    return dynamic_int8(graph(), TENSORS)


@pytest.mark.parametrize("make", [static, partial(static, "percentile"), dynamic])
def test_its_answers_are_about_those_in_floats(make: Callable[[], bytes]) -> None:
    made = make()
    for exact, got in zip(answers(graph())[:2], answers(made)[:2], strict=True):
        assert 0 < np.abs(got - exact).mean() < 0.03 * np.abs(exact).max()


@pytest.mark.parametrize("make", [static, dynamic])
def test_weights_on_a_grid_are_their_own_levels_and_all_others_get_a_grid_of_8_bits(
    make: Callable[[], bytes],
) -> None:
    found = [array for array in inside(make()).values() if array.dtype == np.int8 and array.ndim == 2]
    kept = [TENSORS["up"].levels, TENSORS["across"].centred().astype(np.int8)]
    for levels in kept:
        assert any(np.array_equal(levels, array) or np.array_equal(levels.T, array) for array in found)
    others = [array for array in found if array.size not in {levels.size for levels in kept}]
    assert len(found) == 4
    assert [int(np.abs(array).max()) for array in others] == [127, 127]


def test_what_attention_multiplies_with_each_other_and_softmax_stay_in_floats() -> None:
    nodes = {node.name: node for node in parsed(static()).graph.node}
    assert "DequantizeLinear" not in "".join(nodes["product"].input)
    assert nodes["softmax"].input == ["product"]
    assert "e_QuantizeLinear" not in nodes
    assert "up_bias" in inside(static())


def test_the_quantizer_leaves_logging_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    for make in (static, partial(static, "percentile"), dynamic):
        make()
    assert logging.root.handlers == []
    assert capfd.readouterr() == ("", "")


def test_the_same_weights_and_rows_make_the_same_graph() -> None:
    assert static() == static()
    assert dynamic() == dynamic()
