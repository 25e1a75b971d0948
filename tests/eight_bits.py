"""Whether this CPU adds up products of 8 bits exactly. x86 without VNNI lets sums of two overflow 16 bits."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

_ROWS, _SUMMED, _COLUMNS = 32, 64, 16


@cache
def eight_bit_sums_are_exact() -> bool:
    a = helper.make_tensor_value_info("a", TensorProto.UINT8, [_ROWS, _SUMMED])
    c = helper.make_tensor_value_info("c", TensorProto.INT32, [_ROWS, _COLUMNS])
    b = onnx.numpy_helper.from_array(np.full((_SUMMED, _COLUMNS), 127, np.int8), "b")
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["c"])], "g", [a], [c], [b])
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (summed,) = session.run(None, {"a": np.full((_ROWS, _SUMMED), 255, np.uint8)})
    return bool((summed == 255 * 127 * _SUMMED).all())
