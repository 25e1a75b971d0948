"""Predictions: rows to an infer request, and its answer back to arrays or lists.

Arrays travel as binary tensors, both ways, and lists as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import orjson

from raymaas.client.wire import Answer, Request
from raymaas.errors import InvalidInput, RaymaasError
from raymaas.specs.names import Reference, check_name
from raymaas.specs.tensors import (
    BINARY_MEDIA,
    BINARY_SIZE,
    LENGTH_HEADER,
    PLAIN,
    datatype_of,
    frame,
    from_bytes,
    to_bytes,
    unframe,
)

Rows = Sequence[Any] | Mapping[str, Sequence[Any]]
Arrays = np.ndarray | Mapping[str, np.ndarray]
OutputT = TypeVar("OutputT")


@dataclass(frozen=True)
class Prediction(Generic[OutputT]):
    """One answer: every output by name, one row per row asked, and the version that gave it.

    Outputs are numpy arrays of the model's own types when arrays were given, which may be read-only, and nested
    lists otherwise.
    """

    outputs: dict[str, OutputT]
    model_name: str
    model_version: int
    request_id: str
    classes: tuple[str, ...] = ()

    @property
    def labels(self) -> list[str]:
        """The most probable class of each row. Raises InvalidInput when the model is not a classifier."""
        scores = self.outputs.get("probabilities", self.outputs.get("logits"))
        if not self.classes or scores is None:
            raise InvalidInput(
                f"{self.model_name}@{self.model_version} names no classes; read .outputs instead"
            )
        return [self.classes[index] for index in np.asarray(scores).argmax(axis=-1)]


def method_path(target: Reference, method: str) -> str:
    """`digits` follows the traffic weights, `digits@3` pins, `digits@prod` follows the alias."""
    pointer = target.alias if target.version is None else target.version
    pinned = "" if pointer is None else f"/versions/{pointer}"
    return f"/v2/models/{target.model}{pinned}/{check_name(method)}"


def infer_request(target: Reference, rows: Rows | Arrays, method: str) -> Request:
    """The request of `method` for `rows`: the only input's, or a mapping from input name to that input's.

    Numbers of any type are rounded to the input's own by the server. Raises InvalidInput for what cannot be sent.
    """
    path = method_path(target, method)
    if not holds_arrays(rows):
        return Request("POST", path, body=_json({"inputs": rows}), repeatable=True)
    if _all_tensors(rows):
        body, header_length = _binary(rows)
        head = {"content-type": BINARY_MEDIA, LENGTH_HEADER: str(header_length)}
    else:
        body, head = _json({"inputs": _listed(rows), "parameters": _BINARY_ANSWER}), {}
    # Numbers hardly shrink, and to this very machine bytes cost nothing.
    return Request("POST", path, body=body, repeatable=True, headers={"accept-encoding": "identity", **head})


def read_prediction(answer: Answer, *, arrays: bool) -> Prediction[Any]:
    """The prediction in `answer`. Raises RaymaasError when it is not one."""
    try:
        header_length = answer.headers.get(LENGTH_HEADER)
        if header_length is None:
            body = answer.json()
            outputs = {
                str(name): np.asarray(values) if arrays else values
                for name, values in body["outputs"].items()
            }
        else:
            header, raw = unframe(answer.body, header_length)
            body = orjson.loads(header)
            outputs = _tensors(body["outputs"], raw)
        return Prediction(
            outputs=outputs,
            model_name=str(body["model_name"]),
            model_version=int(body["model_version"]),
            request_id=answer.request_id,
            classes=tuple(str(name) for name in body.get("classes", ())),
        )
    except (AttributeError, InvalidInput, KeyError, TypeError, ValueError) as error:
        raise RaymaasError(
            f"the server's answer is not a prediction ({error!r}); is it another version?"
        ) from None


def holds_arrays(rows: Rows | Arrays) -> bool:
    if isinstance(rows, Mapping):
        return any(isinstance(value, np.ndarray) for value in rows.values())
    return isinstance(rows, np.ndarray)


_BINARY_ANSWER = {"binary_data_output": True}


def _json(message: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise InvalidInput(f"the rows cannot be sent as JSON numbers: {error}") from None


def _all_tensors(rows: Rows | Arrays) -> bool:
    """Whether all of `rows` are arrays that the binary form can say: it has no null, and lists have no type."""
    values = rows.values() if isinstance(rows, Mapping) else (rows,)
    return all(isinstance(value, np.ndarray) and not _may_hold_null(value) for value in values)


def _may_hold_null(array: np.ndarray) -> bool:
    return array.dtype == object and not all(isinstance(item, str) for item in array.flat)


def _binary(rows: Any) -> tuple[bytes, int]:
    """A body of binary tensors, and its header's length. An input without a name is the model's only one."""
    named = {str(name): array for name, array in rows.items()} if isinstance(rows, Mapping) else {None: rows}
    tensors, raw = [], []
    for name, array in named.items():
        datatype = _datatype(array, name)
        raw.append(to_bytes(array))
        tensor = {"shape": array.shape, "datatype": datatype, "parameters": {BINARY_SIZE: len(raw[-1])}}
        tensors.append(tensor if name is None else {"name": name, **tensor})
    return frame(_json({"inputs": tensors, "parameters": {**_BINARY_ANSWER, PLAIN: True}}), raw)


def _datatype(array: np.ndarray, name: str | None) -> str:
    datatype = datatype_of(array)
    if datatype is None:
        which = "the input" if name is None else f"input {name!r}"
        raise InvalidInput(f"{which} is an array of {array.dtype}; send booleans, integers, floats or texts")
    return datatype


def _tensors(tensors: Sequence[Any], raw: memoryview) -> dict[str, np.ndarray]:
    """The outputs that lie behind the header of an answer, one after another."""
    outputs, at = {}, 0
    for tensor in tensors:
        size = int(tensor["parameters"][BINARY_SIZE])
        outputs[str(tensor["name"])] = from_bytes(raw[at : at + size], tensor["datatype"], tensor["shape"])
        at += size
    return outputs


def _listed(rows: Any) -> Any:
    """Arrays with something missing in them as the lists that JSON knows; everything else as it is."""
    if isinstance(rows, Mapping):
        return {str(name): _listed(values) for name, values in rows.items()}
    return rows.tolist() if isinstance(rows, np.ndarray) else rows
