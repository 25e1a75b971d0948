"""The ONNX graph of a network, exported from the platform's own weights and never taken from elsewhere."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from raymaas.models.networks import Network
from raymaas.specs.versions import Signature


class _Served(nn.Module):
    """The network with the outputs of its signature."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BD: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.network.infer(x_BD)


def export_onnx(network: Network, signature: Signature, *, example: torch.Tensor) -> bytes:
    """One self-contained ONNX file, weights inside (so at most 2 GiB), for any number of rows.

    `example` has at least 2 rows: with 1, torch takes the batch for a constant. Raises ValueError when the
    network made a constant of it itself, and torch's own error when it cannot be exported.
    """
    with _quietly():
        program = torch.onnx.export(
            _Served(network).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )
    assert program is not None  # only without dynamo
    proto = program.model_proto
    rows = proto.graph.input[0].type.tensor_type.shape.dim[0]
    if not rows.dim_param:
        raise ValueError(
            f"its graph takes {rows.dim_value} rows and no other number; use no len(x) in `forward`"
        )
    # The exporter's notes hold stack traces with paths of the machine that trained; a published file must
    # not.
    for noted in (proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output,
                  *proto.graph.initializer, *proto.graph.value_info):  # fmt: skip
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    serialized: bytes = proto.SerializeToString(deterministic=True)
    return serialized


def reason_of(error: Exception) -> str:
    """The first line of what libraries write over pages; the name of the error, where it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's warnings about its own insides and about torchvision, which is not used here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
