"""The files of a version, and making them from a trained network.

    model.safetensors        weights, the record: everything else can be made from it again
    architecture.json        catalogue name and full config, canonical JSON
    model.onnx               the graph with its weights inside; absent when the network cannot be exported
    probes.safetensors       a few real inputs `input.<name>`, and the outputs `output.<name>` they must give
    evaluation.safetensors   `row` int64 [N] and `correct` uint8 [N] of the test rows; see raymaas.evaluate

A runtime uses some of them (`FILES_OF_RUNTIME`) and verifies those against the manifest before it loads any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors
from torch import nn

from raymaas.bundle.graph import export_onnx
from raymaas.bundle.signature import check_inputs
from raymaas.models.base import served_outputs
from raymaas.specs.base import canonical_json, sha256_hex
from raymaas.specs.jobs import Component
from raymaas.specs.versions import FileEntry, Signature

WEIGHTS, ARCHITECTURE, GRAPH = "model.safetensors", "architecture.json", "model.onnx"
PROBES, EVALUATION = "probes.safetensors", "evaluation.safetensors"

FILES_OF_RUNTIME: Mapping[str, tuple[str, ...]] = {
    "onnx": (GRAPH, PROBES),
    "torch": (WEIGHTS, ARCHITECTURE, PROBES),
}


@dataclass(frozen=True)
class BuiltBundle:
    """Files by name, the runtimes they can be served with (best first), and what could not be done."""

    files: Mapping[str, bytes]
    runtimes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def with_evaluation(self, *, row_N: np.ndarray, correct_N: np.ndarray) -> Self:
        """The same bundle with per-row correctness beside it."""
        arrays: dict[str, np.ndarray] = {"row": row_N.astype(np.int64), "correct": correct_N.astype(np.uint8)}
        return replace(self, files={**self.files, EVALUATION: save_arrays(arrays)})

    def entries(self) -> dict[str, FileEntry]:
        """What a manifest says of these files."""
        return {
            name: FileEntry(sha256=sha256_hex(data), bytes=len(data)) for name, data in self.files.items()
        }


def build(
    network: nn.Module, *, architecture: Component, signature: Signature, probes: np.ndarray
) -> BuiltBundle:
    """The files of `network`, which `architecture` must describe, without an evaluation yet.

    `probes` are at least 2 real input rows; their outputs are recorded as torch gives them on the CPU.
    Afterwards the network is on the CPU in eval mode. Raises InvalidInput when the probes do not fit the
    signature.
    """
    name = signature.inputs[0].name
    check_inputs(signature, {name: probes})
    network = network.cpu().eval()
    x_BD = torch.tensor(probes)
    with torch.no_grad():
        outputs = served_outputs(network(x_BD))
    recorded = {f"input.{name}": x_BD}
    recorded |= {
        f"output.{spec.name}": out.contiguous() for spec, out in zip(signature.outputs, outputs, strict=True)
    }
    files = {
        WEIGHTS: save_tensors({key: value.contiguous() for key, value in network.state_dict().items()}),
        ARCHITECTURE: canonical_json(architecture.model_dump(mode="json")),
        PROBES: save_tensors(recorded),
    }
    try:
        graph = export_onnx(network, signature, example=x_BD)
    except (
        Exception
    ) as error:  # the exporter raises whatever its many parts raise, and torch alone serves as well
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        return BuiltBundle(files, runtimes=("torch",), notes=(f"no ONNX graph: {reason}",))
    return BuiltBundle(files | {GRAPH: graph}, runtimes=("onnx", "torch"))
