"""Levels packed at their own width: the coder that needs no model, and the bound the others must beat."""

from __future__ import annotations

import numpy as np

from raymaas.errors import IntegrityError

_BLOCK = 1 << 16
"""Levels unpacked at a time, as 8 bytes each; a multiple of 8, so that every block begins with a byte."""


def packed_bytes(count: int, *, bits: int) -> int:
    """The length of `count` packed levels."""
    return (count * bits + 7) // 8


def pack(levels_N: np.ndarray, *, bits: int) -> bytes:
    """Each level plus 2^(bits-1) as `bits` bits, most significant first, without gaps; zero bits at the end."""
    offset_N = (levels_N.astype(np.int16) + (1 << (bits - 1))).astype(np.uint8)
    return np.packbits(np.unpackbits(offset_N[:, None], axis=1)[:, 8 - bits :]).tobytes()


def unpack(packed: bytes, *, count: int, bits: int) -> np.ndarray:
    """The int8 levels that `pack` was given; IntegrityError when the length or the filling is not as packed."""
    if len(packed) != packed_bytes(count, bits=bits):
        raise IntegrityError(f"{len(packed)} bytes cannot be {count} levels of {bits} bits")
    filling = 8 * len(packed) - count * bits
    if packed and packed[-1] & ((1 << filling) - 1):
        raise IntegrityError(f"the filling after {count} levels of {bits} bits is not zero")
    levels_N = np.empty(count, np.int8)
    for start in range(0, count, _BLOCK):
        block_B = levels_N[start : start + _BLOCK]
        begin = start * bits // 8
        part = np.frombuffer(packed[begin : begin + packed_bytes(block_B.size, bits=bits)], np.uint8)
        bit_Bb = np.unpackbits(part, count=block_B.size * bits).reshape(-1, bits)
        offset_B = np.packbits(np.pad(bit_Bb, ((0, 0), (8 - bits, 0))), axis=1)[:, 0]
        block_B[:] = offset_B.astype(np.int16) - (1 << (bits - 1))
    return levels_N
