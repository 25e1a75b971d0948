"""Tensors of an infer request: declared shapes and datatypes, and their data in JSON or in binary."""

from __future__ import annotations

from math import prod
from typing import Any

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


class TensorReader:
    """The tensors of one request, read in order: those in binary take their bytes from what is left."""

    def __init__(
        self, signature: Signature, tensors: memoryview, source: Source, *, converting: bool
    ) -> None:
        self._signature = signature
        self._specs = {spec.name: spec for spec in signature.inputs}
        self._rest = tensors
        self._source = source
        self._converting = converting

    @property
    def left(self) -> int:
        return len(self._rest)

    def read(self, tensors: list[Any]) -> dict[str, np.ndarray]:
        arrays: dict[str, np.ndarray] = {}
        for index, tensor in enumerate(tensors):
            if not isinstance(tensor, dict):
                raise InvalidInput(f"inputs[{index}] must be a tensor object, got {kind_of(tensor)}")
            if self._converting and "name" not in tensor and len(tensors) == 1:
                tensor["name"] = only_input(self._signature).name
            missing = [key for key in ("name", "shape", "datatype") if key not in tensor]
            if missing:
                raise InvalidInput(
                    f"inputs[{index}] lacks {missing[0]!r}; a tensor has name, shape, datatype and data"
                )
            name = tensor["name"]
            if not isinstance(name, str) or name in arrays:
                raise InvalidInput(f"inputs[{index}].name must be a string used once, got {brief(name)}")
            refuse_unknown((name,), self._specs)
            arrays[name] = self._one(tensor, self._specs[name])
        return arrays

    def _one(self, tensor: dict[str, Any], spec: TensorSpec) -> np.ndarray:
        shape = _shape(tensor["shape"], spec)
        datatype = self._datatype(tensor["datatype"], spec)
        parameters = parameters_of(tensor, f"input {spec.name!r}")
        size = parameters.get(BINARY_SIZE)
        if size is None:
            return self._from_json(tensor, datatype, shape, spec)
        if "data" in tensor:
            raise InvalidInput(f"input {spec.name!r} has both data and {BINARY_SIZE}; send one of them")
        if type(size) is not int or not 0 <= size <= len(self._rest):
            raise InvalidInput(
                f"input {spec.name!r}: {BINARY_SIZE} is {brief(size)}, and {len(self._rest)} bytes are left; is "
                "Inference-Header-Content-Length the length of the JSON alone?"
            )
        raw, self._rest = self._rest[:size], self._rest[size:]
        array = _from_bytes(raw, datatype, shape, spec)
        return array if datatype == "BYTES" else fitted(array, spec)

    def _from_json(
        self, tensor: dict[str, Any], datatype: str, shape: list[int], spec: TensorSpec
    ) -> np.ndarray:
        if "data" not in tensor:
            raise InvalidInput(f"input {spec.name!r} lacks 'data', or {BINARY_SIZE} among its parameters")
        array = read_values(tensor["data"], spec, self._source)
        # Python integers: the product of hostile sizes must not wrap around.
        if array.size != prod(shape):
            raise InvalidInput(
                f"input {spec.name!r}: shape {shape} holds {prod(shape)} elements, the data has {array.size}"
            )
        if datatype != spec.dtype:
            _refuse_outside(array, datatype, spec)
        return _reshaped(array, shape, spec)

    def _datatype(self, datatype: Any, spec: TensorSpec) -> str:
        """The tensor's datatype. Refused unless it is the input's, or one that it holds every value of."""
        given = DATATYPES.get(datatype) if isinstance(datatype, str) else None
        wanted = DATATYPES[spec.dtype]
        if given is not None and (given == wanted or _widens(given, wanted)):
            return str(datatype)
        numbers = given is not None and given.kind in "iuf" and wanted.kind in "iuf"
        if self._converting and numbers:
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
