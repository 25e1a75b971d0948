"""Values: what JSON or a table says for one input, as the array its signature wants, or why it cannot be.

Whoever sends plain values need not know float32 from float64: numbers are rounded to the input's type as long as
it can hold them. Nothing else is converted: texts are no numbers, booleans are no integers.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.specs.tensors import DATATYPES
from raymaas.specs.versions import TensorSpec

_PACKS = "fd"  # for `struct` they are what they are for numpy
_PACKED = 1 << 16  # values; each is an argument of a call
# By the kind of the type wanted: booleans, unsigned and signed integers, floats.
_FITTING_KINDS = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}


class Source(NamedTuple):
    """The JSON some values are from: looking into it costs less than looking at each value.

    `only_numbers` says that the values hold neither texts nor true, false or null, at any depth.
    """

    json: bytes
    only_numbers: bool = False

    def may_hold_booleans(self) -> bool:
        return not self.only_numbers and (b"true" in self.json or b"false" in self.json)


def read_values(value: Any, spec: TensorSpec, source: Source) -> np.ndarray:
    """JSON's `value` as the array that `spec` wants: NaN for null, or None among texts, where it is nullable."""
    if spec.dtype == "BYTES":
        return _texts(value, spec)
    if not isinstance(value, list):
        raise InvalidInput(
            f"input {spec.name!r}: expected nested lists of {spec.dtype}, got {kind_of(value)}"
        )
    if source.only_numbers and DATATYPES[spec.dtype].kind == "f":
        # Twice as fast as having numpy look for the type; without the promise it would read "1", null and true.
        array = _floats(value, DATATYPES[spec.dtype])
        if array is not None:
            return array
    if not spec.nullable:
        return _numbers(value, spec, source)
    absent = [item is None for item in value]
    array = _numbers([0 if item is None else item for item in value], spec, source)
    array[absent] = np.nan
    return array


def fitted(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Numbers as `spec` wants them, the same array when it is so already; NaN stays where it is nullable.

    Raises InvalidInput for another kind of values, and for numbers that the type cannot hold.
    """
    target = DATATYPES[spec.dtype]
    if array.dtype.kind not in _FITTING_KINDS.get(target.kind, ""):
        raise InvalidInput(f"input {spec.name!r}: expected values of {spec.dtype}, got {array.dtype}")
    if target.kind in "iu" and array.dtype != target and array.size:
        bounds = np.iinfo(target)
        if array.min() < bounds.min or array.max() > bounds.max:
            raise InvalidInput(
                f"input {spec.name!r}: a number is outside {spec.dtype} ({bounds.min} to {bounds.max})"
            )
    converted = array
    if array.dtype != target:
        with np.errstate(over="ignore"):
            converted = array.astype(target)
    if target.kind == "f" and not np.isfinite(converted).all():
        _explain_not_finite(array, spec)
    return converted


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), f"the number {value!r}"[:80])


def brief(value: Any) -> str:
    """A caller's own words as they stand in a message: all of them, when they are few."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _floats(value: list[Any], target: np.dtype) -> np.ndarray | None:
    """`value`, which holds numbers and lists only; None when something about it has to be explained."""
    try:
        if value and type(value[0]) is not list and len(value) <= _PACKED and target.char in _PACKS:
            # A third of the time that numpy takes, which first looks at every item for its type.
            packed = struct.pack(f"{len(value)}{target.char}", *value)
            array = np.frombuffer(packed, target)
        else:
            with np.errstate(over="ignore"):
                array = np.array(value, dtype=target)
    except (TypeError, ValueError, OverflowError, struct.error):
        return None
    return array if np.isfinite(array).all() else None


def _numbers(value: list[Any], spec: TensorSpec, source: Source) -> np.ndarray:
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:
        if "maximum number of dimension" in str(error):
            raise InvalidInput(f"input {spec.name!r}: lists are nested deeper than 64") from None
        raise InvalidInput(
            f"input {spec.name!r}: rows have different lengths; every row must have the same shape"
        ) from None
    target = DATATYPES[spec.dtype]
    if array.size == 0:
        return array.astype(target)
    kinds = _FITTING_KINDS[target.kind]
    odd = None
    if array.dtype.kind not in kinds:
        odd = _first_odd(value, kinds)
    elif target.kind != "b" and source.may_hold_booleans():
        odd = _first_boolean(value)
    if odd is not None:
        raise InvalidInput(f"input {spec.name!r}: expected numbers of {spec.dtype}, got {odd}")
    return fitted(array, spec)


def _texts(value: Any, spec: TensorSpec) -> np.ndarray:
    if not isinstance(value, list):
        raise InvalidInput(f"input {spec.name!r}: expected a list of strings, got {kind_of(value)}")
    for item in value:
        if not isinstance(item, str) and not (spec.nullable and item is None):
            raise InvalidInput(f"input {spec.name!r}: expected strings, got {kind_of(item)}")
    # With one more, which is taken off again, numpy does not look into an empty list for a type.
    return np.array([*value, None], dtype=object)[:-1]


def _explain_not_finite(array: np.ndarray, spec: TensorSpec) -> None:
    """Raise for an infinity, and for NaN where nothing may be missing."""
    sent = array.dtype.kind == "f"
    if sent and np.isinf(array).any():
        raise InvalidInput(f"input {spec.name!r}: a number is infinite; send finite numbers")
    if sent and np.isnan(array).any() and not spec.nullable:
        raise InvalidInput(
            f"input {spec.name!r}: a number is NaN; send finite numbers, nothing may be missing"
        )
    with np.errstate(over="ignore"):
        if np.isinf(array.astype(DATATYPES[spec.dtype])).any():
            raise InvalidInput(f"input {spec.name!r}: a number is too large for {spec.dtype}")


def _first_boolean(value: list[Any]) -> str | None:
    """A boolean among numbers, which numpy takes for 0 or 1."""
    pending = [value]
    while pending:
        for item in pending.pop():
            if isinstance(item, list):
                pending.append(item)
            elif item is True or item is False:
                return kind_of(item)
    return None


def _first_odd(value: Any, kinds: str) -> str:
    """The first leaf that is not a number of `kinds`; it explains the refusal better than the array's type."""
    while isinstance(value, list):
        value = next(
            (item for item in value if isinstance(item, list) or _leaf_kind(item) not in kinds), None
        )
    return kind_of(value)


def _leaf_kind(item: Any) -> str:
    return np.array(item).dtype.kind
