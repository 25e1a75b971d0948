"""The model of a quantized weight matrix: which decisions a level is made of, and what each depends on.

After DeepCABAC (Wiedemann et al. 2019), a level is coded as: is it other than 0, its sign, its magnitude. What a
pruned network gives away is *where* weights are left: whole inputs and whole units die. So the first decision
depends on how dense its column was in the rows before, how dense its row is against what those columns
promised, and whether its left neighbour is 0. The magnitude m takes Elias' gamma form (1975): the length of m
in unary, then its bits below the first, every one of them with its own context.

    stream       byte 0: e + 64, where the odds of a nonzero level are about 2^(e/2), -32 <= e <= 32
                 byte 1: top, the bit length of the greatest magnitude less 1 (0 when all are 0), 0..7
                 the rest: decisions, as raymaas.bundle.rmz.rangecoder codes them
    matrix       rows = shape[0], columns = the rest; one row when that gives fewer than 8 columns
    column       ratio of (nonzeros in this column so far + 8 g) / (rows so far + 8) to g, the density of e,
                 in 13 steps of half octaves: how many b of `_COLUMN_BOUNDS` have
                 b * (rows + 8) <= nonzeros * (256 / g) + 2048
    row          ratio of (nonzeros in this row so far + 4) to (what the columns promised so far + 4), in 5
                 steps of octaves: `_ROW_STEP_OF`[min(46, (nonzeros + 4) * 2^20 / (promised + 4 * 2^16))], where
                 a column promises (nonzeros * 2^16 + 8 * (2^16 g)) / (rows + 8)
    contexts     (column * 5 + row) * 2 + (left neighbour is not 0): nonzero; then SIGN; PREFIX + length so far;
                 TREE + (length << 7) + bits so far with a 1 before them
    start        nonzero contexts: probability from the odds 2^(e/2) * column step * row step,
                 kept 2^-10 away from 0 and 1, divisor 10; all others 1/2, divisor 2

Every division rounds down, also 256 / g and 2^16 g; powers of 2^(1/2) are in units of 2^-64.
"""

from __future__ import annotations

import math

import numpy as np

from raymaas.bundle.rmz.rangecoder import CERTAIN, Coder, Decoder, Encoder, Odds
from raymaas.errors import IntegrityError

_COLUMN_STEPS, _ROW_STEPS = 13, 5
_SIGN = _COLUMN_STEPS * _ROW_STEPS * 2
_PREFIX = _SIGN + 1
_TREE = _PREFIX + 8
_CONTEXTS = _TREE + (8 << 7)

_COLUMN_BOUNDS = np.array([38, 54, 76, 108, 152, 215, 304, 431, 609, 861, 1218, 1722], np.int64)
"""256 * 2^((k + 0.5) / 2) for k = -6..5: where one column step ends and the next begins."""

_ROW_STEP_OF = [0] * 6 + [1] * 6 + [2] * 11 + [3] * 23 + [4]
"""Row step by 16 * ratio, cut off at 46; the bounds are 2^-1.5, 2^-0.5, 2^0.5 and 2^1.5."""

_SEGMENT = 4096
"""Columns held as Python lists at a time, which bounds the memory."""

_STEEPEST = 32


def encode(levels: np.ndarray, *, shape: tuple[int, ...]) -> bytes:
    """The stream of `levels`, which number as `shape` says and lie in -255..255."""
    levels_RC = levels.reshape(_matrix(shape))
    nonzero = int(np.count_nonzero(levels_RC))
    exponent = _half_octaves(nonzero, levels_RC.size - nonzero)
    top = int(np.abs(levels_RC).max(initial=1)).bit_length() - 1
    encoder = Encoder(_starting_odds(exponent))
    _code_matrix(encoder, levels_RC, exponent=exponent, top=top)
    return bytes([exponent + 64, top]) + encoder.finish()


def decode(stream: bytes, *, shape: tuple[int, ...]) -> np.ndarray:
    """The int16 levels of `stream`, flat. IntegrityError when it is not a whole stream and nothing more.

    Needs about 6 bytes a level beside the stream, whatever the stream holds.
    """
    if len(stream) < 2 or abs(stream[0] - 64) > _STEEPEST or stream[1] > 7:
        raise IntegrityError("a range-coded stream does not begin with its density and top")
    exponent, top = stream[0] - 64, stream[1]
    levels_RC = np.zeros(_matrix(shape), np.int16)
    decoder = Decoder(_starting_odds(exponent), stream[2:])
    _code_matrix(decoder, levels_RC, exponent=exponent, top=top)
    decoder.finish()
    return levels_RC.reshape(-1)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    rows, count = shape[0] if shape else 1, math.prod(shape)
    return (rows, count // rows) if rows and count // rows >= 8 else (1, count)


def _half_octaves(nonzero: int, zero: int) -> int:
    """2 log2(nonzero / zero), rounded down and kept within -32..32."""
    if not (nonzero and zero):
        return _STEEPEST if nonzero else -_STEEPEST
    squared = (nonzero * nonzero << 128) // (zero * zero)
    return min(max(squared.bit_length() - 129, -_STEEPEST), _STEEPEST)


def _power(half_octaves: int) -> int:
    """2^(half_octaves / 2) in units of 2^-64."""
    whole, half = divmod(half_octaves, 2)
    return (0x16A09E667F3BCC908 if half else 1 << 64) << 64 + whole >> 64


def _starting_odds(exponent: int) -> Odds:
    odds = Odds(_CONTEXTS)
    for context in range(_SIGN):
        column, row = divmod(context // 2, _ROW_STEPS)
        likely = _power(exponent + (column - 6) + 2 * (row - 2))
        p = CERTAIN * likely // (likely + (1 << 64))
        odds.p[context] = min(max(p, 1 << 12), CERTAIN - (1 << 12))
        odds.divisor[context] = 10
    return odds


def _code_matrix(coder: Coder, levels_RC: np.ndarray, *, exponent: int, top: int) -> None:
    """Code every level in reading order; a decoder writes them where an encoder read them."""
    rows, columns = levels_RC.shape
    odds = _power(exponent)
    density = (odds << 16) // (odds + (1 << 64))  # in units of 2^-16
    relative = ((odds + (1 << 64)) << 8) // odds  # 1 / density in units of 2^-8
    seen_C = np.zeros(columns, np.int32)
    for row in range(rows):
        promised, found, left = 4 << 16, 4, 0
        for start in range(0, columns, _SEGMENT):
            part = slice(start, start + _SEGMENT)
            seen_S = seen_C[part].astype(np.int64)
            step_S = np.searchsorted(_COLUMN_BOUNDS * (row + 8), seen_S * relative + (8 << 8), side="right")
            share_S = ((seen_S << 16) + 8 * density) // (row + 8)
            until_S = promised + np.cumsum(share_S) - share_S
            promised = int(until_S[-1] + share_S[-1])
            coded, found, left = _code_segment(
                coder,
                levels_RC[row, part].tolist(),
                (step_S * (_ROW_STEPS * 2)).tolist(),
                until_S.tolist(),
                found=found,
                left=left,
                top=top,
            )
            levels_RC[row, part] = coded
            seen_C[part] += levels_RC[row, part] != 0


def _code_segment(
    coder: Coder,
    given: list[int],
    columns: list[int],
    promised: list[int],
    *,
    found: int,
    left: int,
    top: int,
) -> tuple[list[int], int, int]:
    """The levels of one stretch of a row, then `found` and `left` behind it."""
    code, row_step_of = coder.code, _ROW_STEP_OF
    coded = []
    for level, column, until in zip(given, columns, promised, strict=True):
        ratio = (found << 20) // until
        if code(column + 2 * row_step_of[ratio if ratio < 46 else 46] + left, level != 0):
            negative = code(_SIGN, level < 0)
            magnitude = _code_magnitude(coder, abs(level), top=top)
            coded.append(-magnitude if negative else magnitude)
            found, left = found + 1, 1
        else:
            coded.append(0)
            left = 0
    return coded, found, left


def _code_magnitude(coder: Coder, magnitude: int, *, top: int) -> int:
    length = 0
    while length < top and coder.code(_PREFIX + length, magnitude >> (length + 1) != 0):
        length += 1
    prefix = 1
    for shift in range(length - 1, -1, -1):
        prefix = prefix << 1 | coder.code(_TREE + (length << 7) + prefix, magnitude >> shift & 1)
    return prefix
