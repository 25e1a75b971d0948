"""What the files of a version are called, and which of them each runtime reads. It imports no torch.

    model.safetensors        weights, the record: everything else can be made from it again
    model.rmz                in its place in a compressed version: see raymaas.bundle.rmz.container
    architecture.json        catalogue name and full config, canonical JSON
    model.onnx               the graph with its weights inside; absent when the network cannot be exported
    model.int8.onnx          the same in 8-bit integers, and model.int8-dynamic.onnx: see raymaas.bundle.int8
    probes.safetensors       a few real inputs and the outputs they must give: see raymaas.bundle.probes
    transforms.json          what makes the network's input of raw columns: see raymaas.bundle.transforming
    evaluation.safetensors   what each test row came to: see raymaas.bundle.correctness
    reference.json           how those rows and the answers look, to tell drift from: see raymaas.specs.drift

The manifest's `weights_file` says which of the two weights it is. The graphs of a compressed version are hollow: what
the coded file holds is not in them again (`raymaas.bundle.hollow`).
"""

from __future__ import annotations

from collections.abc import Mapping

from raymaas.bundle.probes import PROBES
from raymaas.specs.drift import REFERENCE_FILE
from raymaas.specs.runtimes import RuntimeName

WEIGHTS, CODED = "model.safetensors", "model.rmz"
ARCHITECTURE = "architecture.json"
REFERENCE = REFERENCE_FILE
GRAPHS: Mapping[str, str] = {
    "onnx": "model.onnx",
    "onnx-int8": "model.int8.onnx",
    "onnx-int8-dynamic": "model.int8-dynamic.onnx",
}
"""The graph of each runtime that runs one."""

GRAPH = GRAPHS["onnx"]
FILES_OF_RUNTIME: Mapping[RuntimeName, tuple[str, ...]] = {
    "onnx": (GRAPH, PROBES),
    "onnx-int8": (GRAPHS["onnx-int8"], PROBES),
    "onnx-int8-dynamic": (GRAPHS["onnx-int8-dynamic"], PROBES),
    "torch": (WEIGHTS, ARCHITECTURE, PROBES),
    "torch-bf16": (WEIGHTS, ARCHITECTURE, PROBES),
}


def files_of_runtime(runtime: RuntimeName, *, weights_file: str) -> tuple[str, ...]:
    """The files that `runtime` uses of a version whose weights are in `weights_file`."""
    names = tuple(weights_file if name == WEIGHTS else name for name in FILES_OF_RUNTIME[runtime])
    return (*names, CODED) if weights_file == CODED and CODED not in names else names
