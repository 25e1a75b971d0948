"""The probes of a version: a few real inputs, and the outputs every runtime must give for them.

A safetensors file of `input.<name>` and `output.<name>`; texts, which it cannot hold, are `text.<name>`: uint8 of
their JSON list, null where one is missing. What a coarse runtime gives instead is `<runtime>.<name>`, such as
`onnx-int8.logits`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import orjson
from safetensors import SafetensorError
from safetensors.numpy import load, save

from raymaas.errors import IntegrityError
from raymaas.specs.base import canonical_json

Arrays = Mapping[str, np.ndarray]

PROBES = "probes.safetensors"


def write_probes(inputs: Arrays, outputs: Arrays, *, coarse: Mapping[str, Arrays] | None = None) -> bytes:
    """Inputs as a client sends them, what is given for them, and by each coarse runtime."""
    kept = {
        f"{kind}.{name}": np.ascontiguousarray(array)
        for kind, arrays in {"output": outputs, **(coarse or {})}.items()
        for name, array in arrays.items()
    }
    for name, array in inputs.items():
        if array.dtype == object:
            kept[f"text.{name}"] = np.frombuffer(canonical_json(array.tolist()), np.uint8)
        else:
            kept[f"input.{name}"] = np.ascontiguousarray(array)
    return save(kept)


def read_probes(
    raw: bytes, *, runtime: str = "output"
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs as written, and outputs: those of `runtime`, where it has some of its own.

    Raises IntegrityError for anything else.
    """
    inputs, outputs = _read(raw)
    return inputs, outputs.get(runtime) or outputs.get("output", {})


def with_inputs(raw: bytes, inputs: Arrays) -> bytes:
    """The same probes, asked for by other inputs."""
    _, outputs = _read(raw)
    return write_probes(inputs, outputs.pop("output", {}), coarse=outputs)


def with_outputs(raw: bytes, runtime: str, given: Arrays) -> bytes:
    """The same probes, and what a coarse runtime gives for them."""
    inputs, outputs = _read(raw)
    return write_probes(inputs, outputs.pop("output", {}), coarse={**outputs, runtime: given})


def _read(raw: bytes) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Inputs, and outputs by whose they are."""
    inputs: dict[str, np.ndarray] = {}
    outputs: dict[str, dict[str, np.ndarray]] = {}
    try:
        for key, array in load(raw).items():
            kind, _, name = key.partition(".")
            match kind:
                case "input":
                    inputs[name] = array
                case "text":
                    inputs[name] = np.array([*orjson.loads(array.tobytes()), None], dtype=object)[:-1]
                case _:
                    outputs.setdefault(kind, {})[name] = array
    except (SafetensorError, orjson.JSONDecodeError, TypeError) as error:
        raise IntegrityError(f"{PROBES} is damaged: {error}") from None
    return inputs, outputs
