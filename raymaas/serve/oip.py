"""The data plane's words: Open Inference Protocol v2 JSON and the plain `{"inputs": ...}`, to arrays and back.

Spec: kserve/open-inference-protocol, REST. Decoding refuses with a sentence that names the input, what was expected
and what came; it never raises anything but InvalidInput for bytes a client sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from raymaas.bundle.signature import NUMPY_DTYPES
from raymaas.errors import InvalidInput
from raymaas.specs.versions import DType, Signature, TensorSpec


@dataclass(frozen=True)
class InferRequest:
    """A decoded request: arrays by input name, which outputs are wanted (empty: all), and how to answer."""

    inputs: dict[str, np.ndarray]
    outputs: tuple[str, ...]
    id: str | None
    plain: bool


def decode(body: bytes, signature: Signature) -> InferRequest:
    """Read an infer request of either form. Shapes are those sent; only types and names are settled here."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from None
    if not isinstance(message, dict) or "inputs" not in message:
        raise InvalidInput('the body must be a JSON object with "inputs", e.g. {"inputs": [[...]]}')
    inputs, request_id = message["inputs"], message.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidInput(f'"id" must be a string, got {_kind(request_id)}')
    tensors = isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], dict)
    arrays = _decode_tensors(inputs, signature) if tensors else _decode_plain(inputs, signature)
    return InferRequest(
        arrays, _wanted_outputs(message.get("outputs"), signature), request_id, plain=not tensors
    )


def encode(
    request: InferRequest,
    outputs: Mapping[str, np.ndarray],
    *,
    model: str,
    version: str,
    signature: Signature,
) -> bytes:
    """The answer in the form the request had. `outputs` holds every output the signature lists."""
    chosen = request.outputs or tuple(spec.name for spec in signature.outputs)
    answer: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        answer["id"] = request.id
    if request.plain:
        answer["outputs"] = {name: _encodable(outputs[name]) for name in chosen}
        if signature.classes:
            answer["classes"] = signature.classes
    else:
        dtypes = {spec.name: spec.dtype for spec in signature.outputs}
        answer["outputs"] = [
            {
                "name": name,
                "datatype": dtypes[name],
                "shape": outputs[name].shape,
                "data": _encodable(outputs[name].reshape(-1)),
            }
            for name in chosen
        ]
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


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
        "platform": f"raymaas_{runtime}",
        **tensors(signature),
    }
    if methods:
        answer["methods"] = {name: tensors(each) for name, each in methods.items()}
    return answer


def _decode_plain(inputs: Any, signature: Signature) -> dict[str, np.ndarray]:
    if not isinstance(inputs, dict):
        if len(signature.inputs) > 1:
            names = ", ".join(spec.name for spec in signature.inputs)
            raise InvalidInput(f'this model takes several inputs; send {{"inputs": {{...}}}} with {names}')
        inputs = {signature.inputs[0].name: inputs}
    specs = {spec.name: spec for spec in signature.inputs}
    _refuse_unknown(inputs, specs)
    return {name: _values(value, specs[name]) for name, value in inputs.items()}


def _decode_tensors(tensors: list[Any], signature: Signature) -> dict[str, np.ndarray]:
    specs = {spec.name: spec for spec in signature.inputs}
    arrays: dict[str, np.ndarray] = {}
    for index, tensor in enumerate(tensors):
        if not isinstance(tensor, dict):
            raise InvalidInput(f"inputs[{index}] must be a tensor object, got {_kind(tensor)}")
        missing = [key for key in ("name", "shape", "datatype", "data") if key not in tensor]
        if missing:
            raise InvalidInput(
                f"inputs[{index}] lacks {missing[0]!r}; a tensor has name, shape, datatype and data"
            )
        name, shape, datatype = tensor["name"], tensor["shape"], tensor["datatype"]
        if not isinstance(name, str) or name in arrays:
            raise InvalidInput(f"inputs[{index}].name must be a string used once, got {name!r}")
        _refuse_unknown({name: None}, specs)
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise InvalidInput(f"input {name!r}: shape must be a list of sizes, got {_kind(shape)}")
        if datatype != specs[name].dtype:
            raise InvalidInput(f"input {name!r}: expected datatype {specs[name].dtype}, got {datatype!r}")
        array = _values(tensor["data"], specs[name])
        # Python integers: the product of hostile sizes must not wrap around.
        if array.size != _product(shape):
            raise InvalidInput(
                f"input {name!r}: shape {shape} holds {_product(shape)} elements, the data has {array.size}"
            )
        try:
            arrays[name] = array.reshape(shape)
        except ValueError:
            # More dimensions, or larger ones beside a 0, than numpy has.
            expected = list(specs[name].shape)
            raise InvalidInput(f"input {name!r}: expected shape {expected}, got {_brief(shape)}") from None
    return arrays


def _values(value: Any, spec: TensorSpec) -> np.ndarray:
    """`value` as the array that `spec` wants: NaN for null, or None among texts, where it is nullable."""
    if spec.dtype == "BYTES":
        return _texts(value, spec)
    if not spec.nullable or not isinstance(value, list):
        return _array(value, spec.dtype, spec.name)
    absent = [item is None for item in value]
    array = _array([0 if item is None else item for item in value], spec.dtype, spec.name)
    array[absent] = np.nan
    return array


def _texts(value: Any, spec: TensorSpec) -> np.ndarray:
    if not isinstance(value, list):
        raise InvalidInput(f"input {spec.name!r}: expected a list of strings, got {_kind(value)}")
    for item in value:
        if not isinstance(item, str) and not (spec.nullable and item is None):
            raise InvalidInput(f"input {spec.name!r}: expected strings, got {_kind(item)}")
    # With one more, which is taken off again, numpy does not look into an empty list for a type.
    return np.array([*value, None], dtype=object)[:-1]


def _array(value: Any, datatype: DType, name: str) -> np.ndarray:
    """`value` as an array of `datatype`, refusing ragged rows, strings, and numbers the type cannot hold."""
    target = NUMPY_DTYPES[datatype]
    if not isinstance(value, list):
        raise InvalidInput(f"input {name!r}: expected nested lists of {datatype}, got {_kind(value)}")
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        raise InvalidInput(
            f"input {name!r}: rows have different lengths; every row must have the same shape"
        ) from None
    if array.size == 0:
        return array.astype(target)
    kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[target.kind]
    if array.dtype.kind not in kinds:
        raise InvalidInput(
            f"input {name!r}: expected numbers of {datatype}, got {_kind(_first_odd(value, kinds))}"
        )
    if target.kind in "iu":
        bounds = np.iinfo(target)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise InvalidInput(
                f"input {name!r}: a number is outside {datatype} ({bounds.min} to {bounds.max})"
            )
    with np.errstate(over="ignore"):
        converted = array.astype(target)
    if target.kind == "f" and not np.isfinite(converted).all():
        raise InvalidInput(f"input {name!r}: a number is too large for {datatype}")
    return converted


def _wanted_outputs(outputs: Any, signature: Signature) -> tuple[str, ...]:
    if outputs is None:
        return ()
    known = [spec.name for spec in signature.outputs]
    if not isinstance(outputs, list):
        raise InvalidInput(f'"outputs" must be a list of {{"name": ...}}, got {_kind(outputs)}')
    names = [output.get("name") if isinstance(output, dict) else output for output in outputs]
    for name in names:
        if name not in known:
            raise InvalidInput(f"output {name!r} does not exist; this model has {', '.join(known)}")
    return tuple(name for name in known if name in names)


def _refuse_unknown(names: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> None:
    for name in names:
        if name not in specs:
            raise InvalidInput(f"input {name!r} does not exist; this model takes {', '.join(specs)}")


def _first_odd(value: Any, kinds: str) -> Any:
    """The first leaf that is not a number of `kinds`; it explains the refusal better than the array's type."""
    while isinstance(value, list):
        value = next(
            (item for item in value if isinstance(item, list) or _leaf_kind(item) not in kinds), None
        )
    return value


def _leaf_kind(item: Any) -> str:
    return np.array(item).dtype.kind


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), f"the number {value!r}"[:80])


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _product(shape: list[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _encodable(array: np.ndarray) -> Any:
    """What orjson can write: numbers as a contiguous array, text as a list."""
    return array.tolist() if array.dtype == object else np.ascontiguousarray(array)
