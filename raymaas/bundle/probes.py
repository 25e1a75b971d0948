"""The probes of a version: a few real inputs, and the outputs every runtime must give for them.

A safetensors file of `input.<name>` and `output.<name>`; texts, which it cannot hold, are `text.<name>`: uint8 of
their JSON list, null where one is missing.
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


def write_probes(inputs: Arrays, outputs: Arrays) -> bytes:
    """Inputs as a client sends them, and what is given for them."""
    kept = {f"output.{name}": np.ascontiguousarray(array) for name, array in outputs.items()}
    for name, array in inputs.items():
        if array.dtype == object:
            kept[f"text.{name}"] = np.frombuffer(canonical_json(array.tolist()), np.uint8)
        else:
            kept[f"input.{name}"] = np.ascontiguousarray(array)
    return save(kept)


def read_probes(raw: bytes) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and outputs as written. Raises IntegrityError for anything else."""
    inputs: dict[str, np.ndarray] = {}
    outputs: dict[str, np.ndarray] = {}
    try:
        for key, array in load(raw).items():
            kind, _, name = key.partition(".")
            match kind:
                case "input":
                    inputs[name] = array
                case "text":
                    inputs[name] = np.array([*orjson.loads(array.tobytes()), None], dtype=object)[:-1]
                case "output":
                    outputs[name] = array
    except (SafetensorError, orjson.JSONDecodeError, TypeError) as error:
        raise IntegrityError(f"{PROBES} is damaged: {error}") from None
    return inputs, outputs
