"""Making the files of a version from a trained network, or from a coded one; `raymaas.bundle.files` names them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from safetensors.torch import save as save_tensors

from raymaas.bundle.correctness import EVALUATION, write_outcomes
from raymaas.bundle.files import ARCHITECTURE, CODED, GRAPH, REFERENCE, WEIGHTS
from raymaas.bundle.graph import export_onnx, reason_of
from raymaas.bundle.probes import PROBES, write_probes
from raymaas.bundle.rmz.container import read
from raymaas.bundle.rmz.tensors import Raw
from raymaas.bundle.signature import check_inputs
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.networks import Network
from raymaas.specs.base import canonical_json
from raymaas.specs.drift import Reference
from raymaas.specs.jobs import Component
from raymaas.specs.versions import Signature

_LITTLE = 1024  # bytes of a tensor, such as that of a norm, that are not worth a word


@dataclass(frozen=True)
class BuiltBundle:
    """Files by name, the runtimes they can be served with (best first), and what could not be done."""

    files: Mapping[str, bytes]
    runtimes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    weights_file: str = WEIGHTS
    methods: Mapping[str, Signature] = field(default_factory=dict)
    """What it answers besides `infer`."""

    def with_evaluation(self, *, row_N: np.ndarray, values: Mapping[str, np.ndarray]) -> Self:
        """The same bundle with what each test row came to beside it."""
        return replace(self, files={**self.files, EVALUATION: write_outcomes(row_N, values)})

    def with_reference(self, reference: Reference) -> Self:
        """The same bundle with what its live rows are held against beside it."""
        return replace(self, files={**self.files, REFERENCE: reference.seal()})


def build(
    network: Network, *, architecture: Component, signature: Signature, probes: np.ndarray
) -> BuiltBundle:
    """The files of `network`, which `architecture` must describe, without an evaluation yet.

    `probes` are at least 2 real input rows; their outputs are recorded as torch gives them on the CPU.
    Afterwards the network is on the CPU in eval mode. Raises InvalidInput when the probes do not fit the
    signature.
    """
    network = network.cpu().eval()
    files = {
        PROBES: _recorded_probes(network, signature, probes),
        WEIGHTS: save_tensors({key: value.contiguous() for key, value in network.state_dict().items()}),
        ARCHITECTURE: canonical_json(architecture.model_dump(mode="json")),
    }
    if methods := network.methods():
        return BuiltBundle(
            files,
            runtimes=("torch",),
            notes=(f"no ONNX graph: torch alone answers {', '.join(methods)}",),
            methods={name: method.signature for name, method in methods.items()},
        )
    try:
        graph = export_onnx(network, signature, example=torch.tensor(probes))
    except Exception as error:  # the exporter raises whatever its many parts raise
        reason = reason_of(error)
        if architecture.is_own_code:
            raise InvalidInput(
                f"{architecture.use} cannot be served: what serves it runs its graph and never its code, and torch"
                f" cannot export one: {reason}"
            ) from error
        return BuiltBundle(files, runtimes=("torch",), notes=(f"no ONNX graph: {reason}",))
    runtimes = ("onnx",) if architecture.is_own_code else ("onnx", "torch")
    return BuiltBundle(files | {GRAPH: graph}, runtimes=runtimes)


def build_coded(coded: bytes, *, signature: Signature, probes: np.ndarray) -> BuiltBundle:
    """The files of a version whose weights are the coded file `coded`, without an evaluation yet.

    It is served by decoding it into its architecture; `raymaas.bundle.artifacts` makes graphs beside it. Raises as
    `rmz.container.read` does, and InvalidInput as `build` does.
    """
    file = read(coded)
    network = catalogue.build(file.architecture)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in file.dense().items()})
    files = {
        PROBES: _recorded_probes(network.eval(), signature, probes),
        CODED: coded,
        ARCHITECTURE: canonical_json(file.architecture.model_dump(mode="json")),
    }
    large = [
        name for name, kept in file.tensors.items() if isinstance(kept, Raw) and kept.array.nbytes > _LITTLE
    ]
    return BuiltBundle(
        files,
        runtimes=("torch",),
        notes=(f"not on a grid, since no pass quantized them: {', '.join(large)}",) if large else (),
        weights_file=CODED,
        methods={name: method.signature for name, method in network.methods().items()},
    )


def _recorded_probes(network: Network, signature: Signature, probes: np.ndarray) -> bytes:
    name = signature.inputs[0].name
    check_inputs(signature, {name: probes})
    x_BD = torch.tensor(probes)
    with torch.no_grad():
        outputs = network.infer(x_BD)
    recorded = {spec.name: out.numpy() for spec, out in zip(signature.outputs, outputs, strict=True)}
    return write_probes({name: probes}, recorded)
