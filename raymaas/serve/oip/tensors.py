"""Tensors of an infer request: declared shapes and datatypes, and their data in JSON or in binary."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.serve.oip.asked import only_input, parameters_of, refuse_unknown
from raymaas.serve.oip.values import Source, brief, fitted, kind_of, read_values
from raymaas.specs.tensors import BINARY_SIZE, DATATYPES, from_bytes, item_bytes
from raymaas.specs.versions import Signature, TensorSpec


def read_raw(raw: memoryview, signature: Signature) -> dict[str, np.ndarray]:
    """The body is the only input; how many rows it holds follows from its length."""
    spec = only_input(signature)
    if spec.dtype == "BYTES":
        text = len(raw).to_bytes(4, "little") + bytes(raw)
        return {spec.name: _from_bytes(memoryview(text), "BYTES", [1], spec)}
    row = spec.shape[1:]
    row_bytes = item_bytes(spec.dtype) * prod(row)
    if any(size < 1 for size in row):
        raise InvalidInput(
            f"input {spec.name!r}: a raw body cannot say the shape of its rows; send a JSON header"
        )
    if len(raw) % row_bytes:
        raise InvalidInput(
            f"input {spec.name!r}: a row of {spec.dtype} {list(row)} takes {row_bytes} bytes, {len(raw)} came"
        )
    array = _from_bytes(raw, spec.dtype, [len(raw) // row_bytes, *row], spec)
    return {spec.name: fitted(array, spec)}


class Described(NamedTuple):
    """A tensor as its JSON has it, checked against its input but for its elements."""

    spec: TensorSpec
    datatype: str
    shape: list[int]
    size: int | None
    """The bytes that it takes of those behind the JSON; None when `data` is in the JSON."""
    data: Any = None


def describe(tensors: list[Any], signature: Signature, *, converting: bool) -> list[Described]:
    """The tensors of one request. `converting` takes any numbers for any others, as the plain form does."""
    specs = {spec.name: spec for spec in signature.inputs}
    described: dict[str, Described] = {}
    for index, tensor in enumerate(tensors):
        if not isinstance(tensor, dict):
            raise InvalidInput(f"inputs[{index}] must be a tensor object, got {kind_of(tensor)}")
        if converting and "name" not in tensor and len(tensors) == 1:
            tensor["name"] = only_input(signature).name
        for key in ("name", "shape", "datatype"):
            if key not in tensor:
                raise InvalidInput(
                    f"inputs[{index}] lacks {key!r}; a tensor has name, shape, datatype and data"
                )
        name = tensor["name"]
        if not isinstance(name, str) or name in described:
            raise InvalidInput(f"inputs[{index}].name must be a string used once, got {brief(name)}")
        refuse_unknown((name,), specs)
        described[name] = _described(tensor, specs[name], converting=converting)
    return list(described.values())


def read_tensors(
    described: list[Described], tensors: memoryview, source: Source
) -> tuple[dict[str, np.ndarray], int]:
    """Their arrays by name, and how many bytes of `tensors` are left: each takes its own from those left before it."""
    arrays = {}
    for each in described:
        size, spec = each.size, each.spec
        if size is None:
            arrays[spec.name] = _from_json(each, source)
            continue
        if size > len(tensors):
            raise InvalidInput(
                f"input {spec.name!r}: {BINARY_SIZE} is {size}, and {len(tensors)} bytes are left; is "
                "Inference-Header-Content-Length the length of the JSON alone?"
            )
        array = _from_bytes(tensors[:size], each.datatype, each.shape, spec)
        arrays[spec.name] = array if each.datatype == "BYTES" else fitted(array, spec)
        tensors = tensors[size:]
    return arrays, len(tensors)


def _described(tensor: dict[str, Any], spec: TensorSpec, *, converting: bool) -> Described:
    shape = _shape(tensor["shape"], spec)
    datatype = _datatype(tensor["datatype"], spec, converting=converting)
    parameters = parameters_of(tensor, f"input {spec.name!r}")
    size = parameters.get(BINARY_SIZE)
    if size is None:
        if "data" not in tensor:
            raise InvalidInput(f"input {spec.name!r} lacks 'data', or {BINARY_SIZE} among its parameters")
        return Described(spec, datatype, shape, None, tensor["data"])
    if "data" in tensor:
        raise InvalidInput(f"input {spec.name!r} has both data and {BINARY_SIZE}; send one of them")
    if type(size) is not int or size < 0:
        raise InvalidInput(
            f"input {spec.name!r}: {BINARY_SIZE} is {brief(size)}; it must be a number of bytes"
        )
    return Described(spec, datatype, shape, size)


def _from_json(described: Described, source: Source) -> np.ndarray:
    spec, shape = described.spec, described.shape
    array = read_values(described.data, spec, source)
    # Python integers: the product of hostile sizes must not wrap around.
    if array.size != prod(shape):
        raise InvalidInput(
            f"input {spec.name!r}: shape {shape} holds {prod(shape)} elements, the data has {array.size}"
        )
    if described.datatype != spec.dtype:
        _refuse_outside(array, described.datatype, spec)
    return _reshaped(array, shape, spec)


def _datatype(datatype: Any, spec: TensorSpec, *, converting: bool) -> str:
    """The tensor's datatype. Refused unless it is the input's, or one that it holds every value of."""
    if datatype == spec.dtype:
        return spec.dtype
    given = DATATYPES.get(datatype) if isinstance(datatype, str) else None
    wanted = DATATYPES[spec.dtype]
    if given is not None and (given == wanted or _widens(given, wanted)):
        return str(datatype)
    numbers = given is not None and given.kind in "iuf" and wanted.kind in "iuf"
    if converting and numbers:
        return str(datatype)
    raise InvalidInput(f"input {spec.name!r}: expected datatype {spec.dtype}, got {brief(datatype)}")


def _widens(given: np.dtype, wanted: np.dtype) -> bool:
    return given.kind in "iuf" and wanted.kind in "iuf" and np.can_cast(given, wanted, "safe")


def _shape(shape: Any, spec: TensorSpec) -> list[int]:
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise InvalidInput(f"input {spec.name!r}: shape must be a list of sizes, got {brief(shape)}")
    # Beyond this only a few numbers are multiplied, and numpy has as many dimensions.
    if len(shape) != len(spec.shape):
        raise InvalidInput(f"input {spec.name!r}: expected shape {list(spec.shape)}, got {brief(shape)}")
    return shape


def _from_bytes(raw: memoryview, datatype: str, shape: list[int], spec: TensorSpec) -> np.ndarray:
    try:
        return from_bytes(raw, datatype, shape)
    except InvalidInput as error:
        raise InvalidInput(f"input {spec.name!r}: {error}") from None
    except ValueError:
        # A size larger than numpy has, beside a 0.
        expected = list(spec.shape)
        raise InvalidInput(f"input {spec.name!r}: expected shape {expected}, got {brief(shape)}") from None


def _reshaped(array: np.ndarray, shape: list[int], spec: TensorSpec) -> np.ndarray:
    try:
        return array.reshape(shape)
    except ValueError:
        expected = list(spec.shape)
        raise InvalidInput(f"input {spec.name!r}: expected shape {expected}, got {brief(shape)}") from None


def _refuse_outside(array: np.ndarray, datatype: str, spec: TensorSpec) -> None:
    """Numbers that a narrower datatype than the input's cannot hold."""
    narrow = DATATYPES[datatype]
    if narrow.kind in "iu" and array.size:
        bounds = np.iinfo(narrow)
        if (array != np.trunc(array)).any() or array.min() < bounds.min or array.max() > bounds.max:
            raise InvalidInput(
                f"input {spec.name!r}: a number is outside {datatype} ({bounds.min} to {bounds.max})"
            )
