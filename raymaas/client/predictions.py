"""Predictions: rows to an infer request, and its answer back to arrays or lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np
import orjson

from raymaas.client.wire import Answer, Request
from raymaas.errors import InvalidInput, RaymaasError
from raymaas.specs.names import Reference, check_name

Rows = Sequence[Any] | Mapping[str, Sequence[Any]]
Arrays = np.ndarray | Mapping[str, np.ndarray]
OutputT = TypeVar("OutputT")


@dataclass(frozen=True)
class Prediction(Generic[OutputT]):
    """One answer: every output by name, one row per row asked, and the version that gave it.

    Outputs are numpy arrays when arrays were given, nested lists otherwise. They come from JSON, so floating
    outputs are float64 arrays that hold the shortest decimal of the model's own value: `.astype("float32")`
    restores an FP32 output exactly.
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

    Raises InvalidInput for what JSON cannot say: NaN, infinity, objects.
    """
    try:
        body = orjson.dumps({"inputs": _jsonable(rows)}, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise InvalidInput(f"the rows cannot be sent as JSON numbers: {error}") from None
    return Request("POST", method_path(target, method), body=body, repeatable=True)


def read_prediction(answer: Answer, *, arrays: bool) -> Prediction[Any]:
    """The prediction in `answer`. Raises RaymaasError when it is not one."""
    body = answer.json()
    try:
        outputs = {
            str(name): np.asarray(values) if arrays else values for name, values in body["outputs"].items()
        }
        return Prediction(
            outputs=outputs,
            model_name=str(body["model_name"]),
            model_version=int(body["model_version"]),
            request_id=answer.request_id,
            classes=tuple(str(name) for name in body.get("classes", ())),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RaymaasError(
            f"the server's answer is not a prediction ({error!r}); is it another version?"
        ) from None


def holds_arrays(rows: Rows | Arrays) -> bool:
    if isinstance(rows, Mapping):
        return any(isinstance(value, np.ndarray) for value in rows.values())
    return isinstance(rows, np.ndarray)


def _jsonable(rows: Rows | Arrays) -> Any:
    if isinstance(rows, Mapping):
        return {str(name): _input_values(value, f"input {name!r}") for name, value in rows.items()}
    return _input_values(rows, "the input")


def _input_values(values: Any, name: str) -> Any:
    # JSON has no NaN: orjson would silently send null, and the server's complaint would name null.
    if not isinstance(values, np.ndarray):
        return values
    if values.dtype.kind in "UO" and all(item is None or isinstance(item, str) for item in values.flat):
        return values.tolist()
    if values.dtype.kind not in "biuf":
        raise InvalidInput(f"{name} is an array of {values.dtype}; send booleans, integers, floats or texts")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InvalidInput(
            f"{name} holds NaN or infinity; replace them, or send a list with None where a value may be missing"
        )
    return cast("Any", np.ascontiguousarray(values))
