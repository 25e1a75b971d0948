"""The stream of one tensor: its grid first, then its numbers as the chosen coder writes them."""

from __future__ import annotations

import zlib

import numpy as np

from raymaas.bundle.rmz import bits as packed_bits
from raymaas.bundle.rmz import levels as level_model
from raymaas.bundle.rmz.header import CoderName, QuantizedEntry, RawEntry
from raymaas.bundle.rmz.tensors import RAW_TYPES, Coded, Quantized, Raw, RawType
from raymaas.errors import IntegrityError, InvalidInput


def encode(name: str, coded: Coded, *, coder: CoderName | None) -> tuple[RawEntry | QuantizedEntry, bytes]:
    """Table entry and stream, with `coder` or, for None, the one that gives the fewest bytes.

    InvalidInput for the range coder on a raw tensor.
    """
    known: tuple[CoderName, ...] = ("none", "zlib") if isinstance(coded, Raw) else ("none", "zlib", "range")
    if coder is not None and coder not in known:
        raise InvalidInput(f"coder {coder!r} cannot code tensor {name!r}; it takes {', '.join(known)}")
    bodies = {each: _encode_body(coded, each) for each in (known if coder is None else (coder,))}
    chosen = min(bodies, key=lambda each: len(bodies[each]))
    stream = _grid(coded) + bodies[chosen]
    common = {"name": name, "shape": coded.shape, "bytes": len(stream), "coder": chosen}
    if isinstance(coded, Raw):
        return RawEntry.parse(common | {"dtype": _type_name(coded.array)}, source=f"tensor {name!r}"), stream
    grid = {
        "bits": coded.bits,
        "per": "channel" if coded.scale.ndim else "tensor",
        "scale": _type_name(coded.scale),
        "zero_point": coded.zero_point is not None,
    }
    return QuantizedEntry.parse(common | grid, source=f"tensor {name!r}"), stream


def decode(entry: RawEntry | QuantizedEntry, stream: bytes) -> Coded:
    """The tensor `encode` was given; IntegrityError when `stream` is not exactly one of that entry.

    Needs at most 16 bytes for each number of the entry, whatever the stream holds.
    """
    if isinstance(entry, RawEntry):
        numpy_type = RAW_TYPES[entry.dtype]
        plain = stream if entry.coder == "none" else _inflate(stream, entry.count * numpy_type.itemsize)
        return Raw(_array(plain, numpy_type, entry.shape))
    scale_type = RAW_TYPES[entry.scale]
    channels = entry.shape[0] if entry.per == "channel" else 1
    scale_end = channels * scale_type.itemsize
    grid_end = scale_end + (channels if entry.zero_point else 0)
    grid_shape = entry.shape[:1] if entry.per == "channel" else ()
    scale = _array(stream[:scale_end], scale_type, grid_shape)
    zero_point = (
        _array(stream[scale_end:grid_end], np.dtype(np.int8), grid_shape) if entry.zero_point else None
    )
    try:
        return Quantized(_decode_levels(entry, stream[grid_end:], zero_point), scale, entry.bits, zero_point)
    except InvalidInput as error:
        raise IntegrityError(str(error)) from None


def numbers(coded: Coded) -> np.ndarray:
    """What the content digest covers of a tensor: raw numbers, or levels as int8, contiguous in reading order."""
    return np.ascontiguousarray(coded.array if isinstance(coded, Raw) else coded.levels)


def _type_name(array: np.ndarray) -> RawType:
    return next(name for name, numpy_type in RAW_TYPES.items() if numpy_type == array.dtype)


def _grid(coded: Coded) -> bytes:
    if isinstance(coded, Raw):
        return b""
    return coded.scale.tobytes() + (b"" if coded.zero_point is None else coded.zero_point.tobytes())


def _encode_body(coded: Coded, coder: CoderName) -> bytes:
    if coder == "zlib":
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
        return packer.compress(numbers(coded).tobytes()) + packer.flush()
    if isinstance(coded, Raw):
        return coded.array.tobytes()
    if coder == "range":
        return level_model.encode(coded.centred(), shape=coded.shape)
    return packed_bits.pack(coded.levels.reshape(-1), bits=coded.bits)


def _decode_levels(entry: QuantizedEntry, body: bytes, zero_point: np.ndarray | None) -> np.ndarray:
    if entry.coder == "none":
        return packed_bits.unpack(body, count=entry.count, bits=entry.bits).reshape(entry.shape)
    if entry.coder == "zlib":
        return _array(_inflate(body, entry.count), np.dtype(np.int8), entry.shape)
    levels = level_model.decode(body, shape=entry.shape).reshape(entry.shape)
    if zero_point is not None:
        levels += zero_point.reshape(zero_point.shape + (1,) * (levels.ndim - zero_point.ndim))
    half = 1 << (entry.bits - 1)
    if levels.size and not (-half <= int(levels.min()) and int(levels.max()) < half):
        raise IntegrityError(f"a range-coded level does not have {entry.bits} bits")
    return levels.astype(np.int8)


def _inflate(body: bytes, expected: int) -> bytes:
    unpacker = zlib.decompressobj(-15)
    try:
        plain = unpacker.decompress(body, expected + 1)
    except zlib.error as error:
        raise IntegrityError(f"a zlib stream cannot be inflated: {error}") from None
    if len(plain) != expected or not unpacker.eof or unpacker.unused_data:
        raise IntegrityError(f"a zlib stream is not exactly {expected} bytes inflated")
    return plain


def _array(plain: bytes, numpy_type: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    expected = int(np.prod(shape, dtype=np.int64)) * numpy_type.itemsize
    if len(plain) != expected:
        raise IntegrityError(f"a stream gives {len(plain)} bytes where its shape needs {expected}")
    return np.frombuffer(plain, numpy_type).reshape(shape).copy()
