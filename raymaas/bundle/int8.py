"""Graphs in 8-bit integers, by onnxruntime's quantizer, with the levels that the coded weights have already.

B. Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (2018).
Where a matrix of the coded file is on a grid, and its levels less their zero points fit in 8 bits, the graph's
integers are those and the graph's scales are its scales: nothing is rounded a second time. Other matrices get a grid
for each output.

Multiplied in integers are the weights of convolutions and linear maps. What attention multiplies with each other,
softmax, norms and the outputs stay in floats: there 8 bits cost much and bring little. Biases stay in floats too;
onnxruntime makes 32-bit integers of them when it loads.
"""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.onnx_model import ONNXModel

from raymaas.bundle.hollow import keep_metadata, parsed, serialized
from raymaas.bundle.hollowing import Sources
from raymaas.bundle.rmz.tensors import Coded, Quantized
from raymaas.specs.accounting import Calibrator

_BATCH = 64
_WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
# What stands between them and can stay in integers.
_IN_BETWEEN = ("Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten", "Squeeze")
_METHODS: Mapping[Calibrator, CalibrationMethod] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
}


def static_int8(
    graph: bytes, tensors: Mapping[str, Coded], *, input_name: str, x_ND: np.ndarray, method: Calibrator
) -> bytes:
    """`graph` with activations in ranges that the rows `x_ND` decided; raises onnxruntime's own errors.

    Its weights are those of `tensors`.
    """
    proto = _bare(graph)
    weights = {initializer.name for initializer in proto.graph.initializer}
    products = [
        node.name for node in proto.graph.node if node.op_type == "MatMul" and not weights & set(node.input)
    ]
    with _written() as path:
        quantize_static(
            proto,
            path,
            _Batches(input_name, x_ND),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*_WITH_WEIGHTS, *_IN_BETWEEN],
            nodes_to_exclude=products,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[method],
            extra_options={
                "TensorQuantOverrides": _grids(proto, tensors),
                # It would move scales off the file's; biases are not quantized here at all.
                "QDQDisableWeightAdjustForInt32Bias": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
            },
        )
        return _tidied(path)


def dynamic_int8(graph: bytes, tensors: Mapping[str, Coded]) -> bytes:
    """`graph` with linear maps in ranges that each batch decides; convolutions so are slower than in floats."""
    proto = _bare(graph)
    # onnxruntime does the same within, where its new names would miss the grids.
    model = ONNXModel(proto)
    model.replace_gemm_with_matmul()
    with _written() as path:
        quantize_dynamic(
            model.model,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": _grids(model.model, tensors)},
        )
        return _tidied(path)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """Rows for calibration, in batches of one size: histograms want that. The last is filled up with the first rows."""

    def __init__(self, input_name: str, x_ND: np.ndarray) -> None:
        starts = range(0, len(x_ND), _BATCH)
        self._batches = iter(
            [{input_name: x_ND[(start + np.arange(_BATCH)) % len(x_ND)]} for start in starts]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


def _grids(proto: Any, tensors: Mapping[str, Coded]) -> dict[str, list[dict[str, Any]]]:
    """Scales and zero points, one for each output, of the graph's matrices that are on a grid in the coded file."""
    sources, grids = Sources(tensors), {}
    arrays = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    for node in proto.graph.node:
        name = node.input[1] if node.op_type in _WITH_WEIGHTS else ""
        found = sources.find("dense", arrays[name]) if name in arrays else None
        if found is None or len(found[0]) > 1:
            continue
        ((tensor, _, _),), transposed = found
        scale, axis = _scale(tensors[tensor]), _axis(node)
        # The row of a tensor must be an output of the node: both say so, or the matrix is another's.
        if scale is not None and axis == (1 if transposed else 0) and arrays[name].shape[axis] == len(scale):
            grids[name] = [
                {"quant_type": QuantType.QInt8, "axis": axis, "scale": each, "zero_point": np.int8(0)}
                for each in scale
            ]
    return grids


def _scale(coded: Coded) -> np.ndarray | None:
    """One for each row, where level less zero point is an int8."""
    if not isinstance(coded, Quantized) or coded.levels.ndim < 2 or not coded.levels.size:
        return None
    centred = coded.centred()
    if centred.min() < -128 or centred.max() > 127 or not np.all(coded.scale > 0):
        return None
    return np.broadcast_to(coded.scale.astype(np.float32), len(coded.levels))


def _axis(node: Any) -> int:
    """Which dimension of the node's matrix are its outputs."""
    if node.op_type == "Conv":
        return 0
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if transposed else 1


def _bare(graph: bytes) -> Any:
    """Without the shapes that the exporter inferred: after a Gemm was taken apart they are wrong.

    It says to be preprocessed, so that the quantizer does not ask for that: the exporter has folded what there is.
    """
    proto = parsed(graph)
    del proto.graph.value_info[:]
    proto.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    return proto


def _tidied(path: Path) -> bytes:
    proto = onnx.load_model(path)
    del proto.graph.value_info[:]
    keep_metadata(proto, [])
    return serialized(proto)


@contextmanager
def _written() -> Iterator[Path]:
    """A place for the one file that the quantizer writes.

    It prints, and logs by functions of `logging`, which would give the process's root a handler where it has none.
    """
    silent = logging.NullHandler()
    logging.root.addHandler(silent)
    try:
        with tempfile.TemporaryDirectory(prefix="raymaas-") as folder, redirect_stdout(io.StringIO()):
            yield Path(folder) / "model.onnx"
    finally:
        logging.root.removeHandler(silent)
