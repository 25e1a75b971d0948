"""Reading TensorBoard event files, by nothing but their specification: TFRecord framing and protobuf's wire format."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any


def records(data: bytes) -> Iterator[bytes]:
    """The messages of a TFRecord file, both checksums of each verified."""
    while data:
        length, checksum = struct.unpack_from("<QI", data)
        message = data[12 : 12 + length]
        assert masked_crc32c(data[:8]) == checksum
        assert masked_crc32c(message) == struct.unpack_from("<I", data, 12 + length)[0]
        yield message
        data = data[16 + length :]


def masked_crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4), rotated and offset as TensorFlow's record format does."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(data: bytes) -> list[dict[str, Any]]:
    """Of each `Event` its step, and either the file's version, or scalar values and images by tag."""
    return [_event(record) for record in records(data)]


def _event(message: bytes) -> dict[str, Any]:
    fields = dict(_fields(message))
    if 3 in fields:
        return {"file_version": fields[3].decode()}
    values, images = {}, {}
    for number, value in _fields(fields[5]):
        assert number == 1
        of_value = dict(_fields(value))
        tag = of_value[1].decode()
        if 4 in of_value:
            image = dict(_fields(of_value[4]))
            images[tag] = (image[2], image[1], image[4])
        else:
            values[tag] = of_value[2]
    return {"step": fields.get(2, 0), "at": fields[1], "values": values, "images": images}


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: protobuf's wire types 0 (varint), 1 (double), 2 (bytes) and 5 (float)."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(message):
        key = varint()
        match key & 7:
            case 0:
                value: Any = varint()
            case 1:
                (value,) = struct.unpack_from("<d", message, place)
                place += 8
            case 2:
                length = varint()
                value = message[place : place + length]
                place += length
            case 5:
                (value,) = struct.unpack_from("<f", message, place)
                place += 4
            case other:
                raise AssertionError(f"wire type {other}")
        yield key >> 3, value
