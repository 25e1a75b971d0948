"""Runtimes: what can run a version, by name, from the most exact to the coarsest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

RuntimeName = Literal["torch", "onnx", "torch-bf16", "onnx-int8", "onnx-int8-dynamic"]

RUNTIMES: Mapping[RuntimeName, str] = {
    "torch": "PyTorch, operation by operation, in float32",
    "onnx": "ONNX Runtime in float32",
    "torch-bf16": "PyTorch with its products in bfloat16",
    "onnx-int8": "ONNX Runtime in 8-bit integers, with ranges that training rows decided",
    "onnx-int8-dynamic": "ONNX Runtime in 8-bit integers, with ranges that each batch decides",
}
