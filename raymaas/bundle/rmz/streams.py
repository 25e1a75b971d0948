"""The stream of one tensor: what stands beside its numbers first, then the numbers as the chosen coder writes them."""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa

from raymaas.bundle.rmz import bits as packed_bits
from raymaas.bundle.rmz import levels as level_model
from raymaas.bundle.rmz import neighbours
from raymaas.bundle.rmz.header import AnyEntry, CodebookEntry, CoderName, QuantizedEntry, RawEntry
from raymaas.bundle.rmz.tensors import RAW_TYPES, Codebook, Coded, Quantized, Raw, RawType
from raymaas.errors import IntegrityError, InvalidInput

_OF_BYTES: tuple[CoderName, ...] = ("none", "zlib", "zstd")
_OF_LEVELS: tuple[CoderName, ...] = ("none", "zlib", "range", "zstd", "range2")

_ZSTD_MAGIC, _ZSTD_LEVEL = b"\x28\xb5\x2f\xfd", 22

_ZSTD_DENSEST = 1 << 15
"""Bytes that one byte of a frame stands for, at most: a block of 4 bytes holds up to 128 KiB."""


def coders_for(coded: Coded) -> tuple[CoderName, ...]:
    """What it can be written with; of those that take as many bytes, the first is the smallest."""
    return _OF_BYTES if isinstance(coded, Raw) else _OF_LEVELS


def encode(name: str, coded: Coded, *, coder: CoderName | None) -> tuple[AnyEntry, bytes]:
    """Table entry and stream, with `coder` or, for None, the one that gives the fewest bytes.

    InvalidInput for a coder of levels on a raw tensor.
    """
    known = coders_for(coded)
    if coder is not None and coder not in known:
        raise InvalidInput(f"coder {coder!r} cannot code tensor {name!r}; it takes {', '.join(known)}")
    bodies = {each: _encode_body(coded, each) for each in (known if coder is None else (coder,))}
    chosen = min(bodies, key=lambda each: len(bodies[each]))
    stream = _beside(coded) + bodies[chosen]
    source = f"tensor {name!r}"
    common = {"name": name, "shape": coded.shape, "bytes": len(stream), "coder": chosen}
    match coded:
        case Raw():
            return RawEntry.parse(common | {"dtype": _type_name(coded.array)}, source=source), stream
        case Codebook():
            values = {"values": len(coded.values), "dtype": _type_name(coded.values)}
            return CodebookEntry.parse(common | values, source=source), stream
        case Quantized():
            grid = {
                "bits": coded.bits,
                "per": "channel" if coded.scale.ndim else "tensor",
                "scale": _type_name(coded.scale),
                "zero_point": coded.zero_point is not None,
            }
            return QuantizedEntry.parse(common | grid, source=source), stream


def decode(entry: AnyEntry, stream: bytes) -> Coded:
    """The tensor `encode` was given; IntegrityError when `stream` is not exactly one of that entry.

    Needs at most 16 bytes for each number of the entry, whatever the stream holds.
    """
    try:
        match entry:
            case RawEntry():
                return _decode_raw(entry, stream)
            case CodebookEntry():
                return _decode_codebook(entry, stream)
            case QuantizedEntry():
                return _decode_quantized(entry, stream)
    except InvalidInput as error:
        raise IntegrityError(str(error)) from None


def numbers(coded: Coded) -> np.ndarray:
    """What the content digest covers of a tensor: raw numbers, levels as int8, places as uint8, in reading order."""
    return np.ascontiguousarray(coded.numbers)


def _type_name(array: np.ndarray) -> RawType:
    return next(name for name, numpy_type in RAW_TYPES.items() if numpy_type == array.dtype)


def _beside(coded: Coded) -> bytes:
    match coded:
        case Raw():
            return b""
        case Codebook():
            return coded.values.tobytes()
        case Quantized():
            return coded.scale.tobytes() + (b"" if coded.zero_point is None else coded.zero_point.tobytes())


def _encode_body(coded: Coded, coder: CoderName) -> bytes:
    match coder:
        case "zlib":
            packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
            return packer.compress(numbers(coded).tobytes()) + packer.flush()
        case "zstd":
            packed = pa.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(
                numbers(coded).tobytes(), asbytes=True
            )
            return bytes(packed).removeprefix(_ZSTD_MAGIC)
        case "range":
            return level_model.encode(coded.centred(), shape=coded.shape)
        case "range2":
            return neighbours.encode(coded.centred(), shape=coded.shape)
    match coded:
        case Raw():
            return coded.array.tobytes()
        case Codebook():
            half = 1 << (coded.bits - 1)
            return packed_bits.pack(coded.places.reshape(-1).astype(np.int16) - half, bits=coded.bits)
        case Quantized():
            return packed_bits.pack(coded.levels.reshape(-1), bits=coded.bits)


def _decode_raw(entry: RawEntry, stream: bytes) -> Raw:
    numpy_type = RAW_TYPES[entry.dtype]
    return Raw(_array(_plain(entry, stream, entry.count * numpy_type.itemsize), numpy_type, entry.shape))


def _decode_quantized(entry: QuantizedEntry, stream: bytes) -> Quantized:
    scale_type = RAW_TYPES[entry.scale]
    channels = entry.shape[0] if entry.per == "channel" else 1
    scale_end = channels * scale_type.itemsize
    grid_end = scale_end + (channels if entry.zero_point else 0)
    grid_shape = entry.shape[:1] if entry.per == "channel" else ()
    scale = _array(stream[:scale_end], scale_type, grid_shape)
    zero_point = (
        _array(stream[scale_end:grid_end], np.dtype(np.int8), grid_shape) if entry.zero_point else None
    )
    body = stream[grid_end:]
    if entry.coder == "none":
        levels = packed_bits.unpack(body, count=entry.count, bits=entry.bits).reshape(entry.shape)
    elif entry.coder in _OF_BYTES:
        levels = _array(_plain(entry, body, entry.count), np.dtype(np.int8), entry.shape)
    else:
        centred = _centred(entry, body)
        if zero_point is not None:
            centred += zero_point.reshape(zero_point.shape + (1,) * (centred.ndim - zero_point.ndim))
        half = 1 << (entry.bits - 1)
        levels = _within(centred, -half, half - 1, f"a range-coded level does not have {entry.bits} bits")
        levels = levels.astype(np.int8)
    return Quantized(levels, scale, entry.bits, zero_point)


def _decode_codebook(entry: CodebookEntry, stream: bytes) -> Codebook:
    numpy_type = RAW_TYPES[entry.dtype]
    values_end = entry.values * numpy_type.itemsize
    # Checks the values, and knows their width and where they rest.
    book = Codebook(np.zeros(0, np.uint8), _array(stream[:values_end], numpy_type, (entry.values,)))
    body = stream[values_end:]
    if entry.coder == "none":
        offset = packed_bits.unpack(body, count=entry.count, bits=book.bits).astype(np.int16)
        places = (offset + (1 << (book.bits - 1))).reshape(entry.shape)
    elif entry.coder in _OF_BYTES:
        places = _array(_plain(entry, body, entry.count), np.dtype(np.uint8), entry.shape)
    else:
        places = _centred(entry, body) + np.int16(book.rest)
    places = _within(
        places, 0, entry.values - 1, f"a place is beyond the {entry.values} values of its codebook"
    )
    return Codebook(places.astype(np.uint8), book.values)


def _centred(entry: QuantizedEntry | CodebookEntry, body: bytes) -> np.ndarray:
    """What a range coder gives, int16."""
    decode = level_model.decode if entry.coder == "range" else neighbours.decode
    return decode(body, shape=entry.shape).reshape(entry.shape)


def _within(numbers: np.ndarray, low: int, high: int, sentence: str) -> np.ndarray:
    if numbers.size and not (low <= int(numbers.min()) and int(numbers.max()) <= high):
        raise IntegrityError(sentence)
    return numbers


def _plain(entry: AnyEntry, body: bytes, expected: int) -> bytes:
    """The `expected` bytes that a coder of bytes was given."""
    match entry.coder:
        case "zlib":
            return _inflate(body, expected)
        case "zstd":
            return _unpack_zstd(body, expected)
    return body


def _inflate(body: bytes, expected: int) -> bytes:
    unpacker = zlib.decompressobj(-15)
    try:
        plain = unpacker.decompress(body, expected + 1)
    except zlib.error as error:
        raise IntegrityError(f"a zlib stream cannot be inflated: {error}") from None
    if len(plain) != expected or not unpacker.eof or unpacker.unused_data:
        raise IntegrityError(f"a zlib stream is not exactly {expected} bytes inflated")
    return plain


def _unpack_zstd(body: bytes, expected: int) -> bytes:
    # Memory is allocated by what is expected, so that must be possible at all.
    if expected > len(body) * _ZSTD_DENSEST:
        raise IntegrityError(f"a zstd stream of {len(body)} bytes cannot hold {expected}")
    try:
        return bytes(pa.Codec("zstd").decompress(_ZSTD_MAGIC + body, expected, asbytes=True))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"a zstd stream is not exactly {expected} bytes unpacked: {error}") from None


def _array(plain: bytes, numpy_type: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    expected = int(np.prod(shape, dtype=np.int64)) * numpy_type.itemsize
    if len(plain) != expected:
        raise IntegrityError(f"a stream gives {len(plain)} bytes where its shape needs {expected}")
    return np.frombuffer(plain, numpy_type).reshape(shape).copy()
