"""Tensors as bytes, in the words and the layout of the Open Inference Protocol v2 and its binary extension.

Little-endian, row-major, no padding. A BOOL is one byte. A BYTES element is its length in four bytes, then its
UTF-8. BF16, which numpy does not have, is read as float32. Source: Triton's binary tensor data extension.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from raymaas.errors import InvalidInput

LENGTH_HEADER = "inference-header-content-length"
BINARY_MEDIA = "application/octet-stream"
BINARY_SIZE = "binary_data_size"
PLAIN = "raymaas_plain"
"""Parameter of a request in tensors whose values are converted as those of the plain form are."""

DATATYPES: Mapping[str, np.dtype] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<f4"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in DATATYPES.items() if name != "BF16"}
_ITEM_BYTES = {name: dtype.itemsize for name, dtype in DATATYPES.items()} | {"BF16": 2}
_LENGTH = struct.Struct("<I")
_ALIGNED = 8
_CHEAP_BYTES = 4096  # copied sooner than looked at


def datatype_of(array: np.ndarray) -> str | None:
    """The protocol's name for what `array` holds; None when it has none. Objects are taken to be texts."""
    return "BYTES" if array.dtype.kind == "U" else _NAMES.get(array.dtype.newbyteorder("<"))


def item_bytes(datatype: str) -> int:
    """What one element takes, of every datatype but BYTES."""
    return _ITEM_BYTES[datatype]


def to_bytes(array: np.ndarray) -> bytes | memoryview:
    """`array` as the protocol lays it out; without a copy where it is large and lies like that already."""
    if array.dtype.kind in "OU":
        texts = [str(item).encode() for item in array.flat]
        return b"".join(piece for text in texts for piece in (_LENGTH.pack(len(text)), text))
    if array.nbytes <= _CHEAP_BYTES and array.dtype in _NAMES:
        return array.tobytes()
    flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).data


def from_bytes(raw: memoryview, datatype: str, shape: Sequence[int]) -> np.ndarray:
    """The array that `raw` is; it looks into `raw` where that is aligned, so it may be read-only.

    `shape` holds at most as many sizes as numpy has dimensions. Raises InvalidInput, without naming the tensor,
    when the bytes are not those of `datatype` and `shape`.
    """
    elements = prod(shape)
    if datatype == "BYTES":
        return _texts(raw, elements).reshape(shape)
    expected = elements * _ITEM_BYTES[datatype]
    if len(raw) != expected:
        raise InvalidInput(f"{datatype} {list(shape)} takes {expected} bytes, {len(raw)} came")
    if datatype == "BOOL":
        # Any byte but 0 is true; numpy would keep it, and compute with it.
        return np.not_equal(np.frombuffer(raw, np.uint8), 0).reshape(shape)
    if datatype == "BF16":
        widened: np.ndarray = np.left_shift(np.frombuffer(raw, "<u2").astype("<u4"), 16).view("<f4")
        return widened.reshape(shape)
    array: np.ndarray = np.frombuffer(raw, DATATYPES[datatype]).reshape(shape)
    return array if array.flags.aligned else array.copy()


def frame(header: bytes, tensors: Sequence[bytes | memoryview]) -> tuple[bytes, int]:
    """A body of the binary form, and the length of its JSON header, padded so that what follows is aligned."""
    padded = header + b" " * (-len(header) % _ALIGNED)
    return b"".join((padded, *tensors)), len(padded)


def unframe(body: bytes, header_length: str) -> tuple[bytes, memoryview]:
    """The JSON header of a body and the bytes behind it. Raises InvalidInput for a length that cannot be."""
    digits = header_length.isascii() and header_length.isdigit() and len(header_length) < 20
    length = int(header_length) if digits else -1
    if not 0 <= length <= len(body):
        raise InvalidInput(
            f"Inference-Header-Content-Length must be the length of the JSON header, 0 to {len(body)} here, "
            f"got {header_length[:40]!r}"
        )
    return body[:length], memoryview(body)[length:]


def _texts(raw: memoryview, elements: int) -> np.ndarray:
    texts: list[str] = []
    at, end = 0, len(raw)
    while at < end:
        begin = at + _LENGTH.size
        size = _LENGTH.unpack_from(raw, at)[0] if begin <= end else end
        at = begin + size
        if at > end:
            raise InvalidInput(f"element {len(texts)} of BYTES ends beyond the tensor's {end} bytes")
        try:
            texts.append(str(raw[begin:at], "utf-8"))
        except UnicodeDecodeError:
            raise InvalidInput(f"element {len(texts)} of BYTES is not UTF-8") from None
    if len(texts) != elements:
        raise InvalidInput(f"its shape holds {elements} elements, the data has {len(texts)}")
    array = np.empty(elements, dtype=object)
    array[:] = texts
    return array
