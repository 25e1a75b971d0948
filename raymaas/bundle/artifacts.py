"""Compute artifacts: the graphs beside a coded version's weights, one for each runtime that may serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from raymaas.bundle.files import CODED, GRAPHS
from raymaas.bundle.format import BuiltBundle
from raymaas.bundle.graph import export_onnx, reason_of
from raymaas.bundle.hollow import parsed
from raymaas.bundle.hollowing import hollowed
from raymaas.bundle.int8 import dynamic_int8, static_int8
from raymaas.bundle.probes import PROBES, read_probes, with_outputs
from raymaas.bundle.rmz.container import RmzFile, read
from raymaas.bundle.runtimes.base import COARSE, Runtime
from raymaas.bundle.runtimes.torch import load_network
from raymaas.specs.accounting import Calibrator
from raymaas.specs.runtimes import RuntimeName
from raymaas.specs.versions import Signature

_EXAMPLE_ROWS = 2
_IN_INTEGERS = {"DequantizeLinear", "MatMulInteger"}


@dataclass(frozen=True, eq=False)
class Making:
    """What artifacts are made for, and with."""

    signature: Signature
    """Of the network itself, without transforms."""
    x_ND: np.ndarray
    """Training rows as the network takes them, 2 or more; they decide the ranges of 8-bit activations."""
    method: Calibrator = "minmax"


def with_artifacts(
    bundle: BuiltBundle, wanted: Sequence[RuntimeName], making: Making
) -> tuple[BuiltBundle, dict[RuntimeName, str]]:
    """A coded bundle with all that `wanted` need, as its runtimes, and why it cannot have the others.

    Its graphs are hollow. Whether one is any good, or can be loaded at all, is not known yet.
    """
    file, reasons = read(bundle.files[CODED]), dict[RuntimeName, str]()
    graphs: dict[str, bytes] = {}
    for name, made in _makers(bundle, file, making).items():
        if name not in wanted:
            continue
        if bundle.methods:
            reasons[name] = f"torch alone answers {', '.join(bundle.methods)}"
            continue
        try:
            graphs[GRAPHS[name]] = hollowed(made(), file.tensors)
        except Exception as error:  # exporter and quantizer raise whatever their many parts raise
            reasons[name] = reason_of(error)
    runtimes = tuple(name for name in wanted if name not in reasons)
    return replace(bundle, files={**bundle.files, **graphs}, runtimes=runtimes), reasons


def served_by(bundle: BuiltBundle, runtimes: Sequence[Runtime]) -> BuiltBundle:
    """The bundle to be served by these, loaded from it, in that order.

    No other's graphs are left, and its probes hold what the coarse ones among these give.
    """
    names = tuple(runtime.name for runtime in runtimes)
    dropped = {graph for name, graph in GRAPHS.items() if name not in names}
    probes = bundle.files[PROBES]
    for runtime in runtimes:
        if runtime.name in COARSE:
            inputs, _ = read_probes(probes)
            probes = with_outputs(probes, runtime.name, runtime.run(inputs))
    kept = {name: data for name, data in bundle.files.items() if name not in dropped}
    return replace(bundle, files={**kept, PROBES: probes}, runtimes=names)


def _makers(bundle: BuiltBundle, file: RmzFile, making: Making) -> Mapping[RuntimeName, Callable[[], bytes]]:
    """The ways to the graphs, each made of the one in float32, which is made at most once."""
    exported: list[bytes] = []

    def dense() -> bytes:
        if not exported:
            example = torch.tensor(making.x_ND[:_EXAMPLE_ROWS])
            exported.append(export_onnx(load_network(bundle.files), making.signature, example=example))
        return exported[0]

    def static() -> bytes:
        name = making.signature.inputs[0].name
        return static_int8(dense(), file.tensors, input_name=name, x_ND=making.x_ND, method=making.method)

    return {
        "onnx": dense,
        "onnx-int8": lambda: _in_integers(static()),
        "onnx-int8-dynamic": lambda: _in_integers(dynamic_int8(dense(), file.tensors)),
    }


def _in_integers(graph: bytes) -> bytes:
    """Raises ValueError for a graph that computes nothing in integers after all."""
    if not any(node.op_type in _IN_INTEGERS for node in parsed(graph).graph.node):
        raise ValueError("nothing in it can be computed in integers")
    return graph
