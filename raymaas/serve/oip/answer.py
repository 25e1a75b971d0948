"""Answers: the outputs of a version as bytes, in the form its request asked for, and the headers that say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from raymaas.serve.oip import table
from raymaas.serve.oip.request import InferRequest
from raymaas.specs.tensors import BINARY_MEDIA, BINARY_SIZE, LENGTH_HEADER, frame, to_bytes
from raymaas.specs.versions import Signature

Headers = tuple[tuple[bytes, bytes], ...]

JSON_HEADERS: Headers = ((b"content-type", b"application/json"),)


class Encoded(NamedTuple):
    """A body, and its headers but for its length."""

    body: bytes
    headers: Headers = JSON_HEADERS


def encode(
    request: InferRequest,
    outputs: Mapping[str, np.ndarray],
    *,
    model: str,
    version: str,
    signature: Signature,
) -> Encoded:
    """The answer in the form the request had. `outputs` holds every output the signature lists.

    In the plain form, and where it is asked for in binary, the answer names the classes of a classifier.
    A number that is not finite is null in JSON.
    """
    answer: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    chosen = {name: outputs[name] for name in request.outputs}
    if request.form == "table":
        return Encoded(table.write(chosen, answer, classes=signature.classes), table.HEADERS)
    if request.form == "plain" and signature.classes:
        answer["classes"] = signature.classes
    binary = [name for name, wanted in request.outputs.items() if wanted]
    if request.form == "plain" and not binary:
        answer["outputs"] = {name: _encodable(array) for name, array in chosen.items()}
        return Encoded(_json(answer))
    raw = {name: to_bytes(chosen[name]) for name in binary}
    answer["outputs"] = told = []
    for spec in signature.outputs:
        name = spec.name
        if name in chosen:
            output: dict[str, Any] = {"name": name, "datatype": spec.dtype, "shape": chosen[name].shape}
            if name in raw:
                output["parameters"] = {BINARY_SIZE: len(raw[name])}
            else:
                output["data"] = _flat(chosen[name])
            told.append(output)
    if not binary:
        return Encoded(_json(answer))
    body, header_length = frame(_json(answer), list(raw.values()))
    length = (LENGTH_HEADER.encode(), str(header_length).encode())
    return Encoded(body, ((b"content-type", BINARY_MEDIA.encode()), length))


def _json(answer: Mapping[str, Any]) -> bytes:
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _flat(array: np.ndarray) -> Any:
    return _encodable(array.reshape(-1))


def _encodable(array: np.ndarray) -> Any:
    """What orjson can write: numbers as a contiguous array, text as a list."""
    return array.tolist() if array.dtype == object else np.ascontiguousarray(array)
