"""Descriptions: what a server says of itself, and a replica of its version: metadata and configuration.

Source: the protocol's server and model metadata, and Triton's model configuration extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raymaas.specs.versions import Signature, TensorSpec

PLATFORM_PREFIX = "raymaas_"
"""What a platform begins with; the runtime follows."""
REPLICA_EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics", "raymaas_arrow_stream")
SERVER_EXTENSIONS = ("model_repository", *REPLICA_EXTENSIONS)

_CONFIG_TYPES = {"BYTES": "TYPE_STRING"}


def server(release: str, extensions: tuple[str, ...]) -> dict[str, Any]:
    """The `GET /v2` answer."""
    return {"name": "raymaas", "version": release, "extensions": list(extensions)}


def metadata(
    *, model: str, version: str, runtime: str, signature: Signature, methods: Mapping[str, Signature]
) -> dict[str, Any]:
    """The `GET /v2/models/{m}` answer; the platform names the runtime, as in raymaas_onnx.

    `methods` is ours and absent when there are none.
    """

    def described(spec: TensorSpec) -> dict[str, Any]:
        return {"name": spec.name, "datatype": spec.dtype, "shape": list(spec.shape)}

    def tensors(signature: Signature) -> dict[str, Any]:
        return {
            "inputs": [described(spec) for spec in signature.inputs],
            "outputs": [described(spec) for spec in signature.outputs],
        }

    answer = {
        "name": model,
        "versions": [version],
        "platform": f"{PLATFORM_PREFIX}{runtime}",
        **tensors(signature),
    }
    if methods:
        answer["methods"] = {name: tensors(each) for name, each in methods.items()}
    return answer


def config(*, model: str, version: str, runtime: str, signature: Signature) -> dict[str, Any]:
    """The `GET .../config` answer.

    `max_batch_size` is 0, which says that `dims` has every dimension, the rows' -1 first: a request may hold any
    number of rows, and batches are made behind it.
    """

    def described(spec: TensorSpec) -> dict[str, Any]:
        data_type = _CONFIG_TYPES.get(spec.dtype, f"TYPE_{spec.dtype}")
        optional = {"optional": True} if spec.default is not None else {}
        return {"name": spec.name, "data_type": data_type, "dims": list(spec.shape), **optional}

    return {
        "name": model,
        "platform": f"{PLATFORM_PREFIX}{runtime}",
        "backend": "raymaas",
        "version_policy": {"specific": {"versions": [int(version)]}},
        "max_batch_size": 0,
        "input": [described(spec) for spec in signature.inputs],
        "output": [described(spec) for spec in signature.outputs],
    }
