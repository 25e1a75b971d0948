"""Coder "range", of format 1: which decisions a quantized weight is made of, and what each depends on.

After DeepCABAC (Wiedemann et al. 2019), a level is coded as: is it other than 0, its sign, its magnitude. What a
pruned network gives away is *where* weights are left: whole inputs and whole units die. So the first decision
depends on how dense its column was in the rows before, how dense its row is against what those columns
promised, and whether its left neighbour is 0. The magnitude m takes Elias' gamma form (1975): the length of m
in unary, then its bits below the first, every one of them with its own context.

    stream       byte 0: e + 64, where the odds of a nonzero level are about 2^(e/2), -32 <= e <= 32
                 byte 1: top, the bit length of the greatest magnitude less 1 (0 when all are 0), 0..7
                 the rest: decisions, as raymaas.bundle.rmz.rangecoder codes them
    steps        matrix, column and row steps and their start: see raymaas.bundle.rmz.density
    contexts     (column * 5 + row) * 2 + (left neighbour is not 0): nonzero; then SIGN; PREFIX + length so far;
                 TREE + (length << 7) + bits so far with a 1 before them
    start        nonzero contexts: as their steps say, divisor 10; all others 1/2, divisor 2
"""

from __future__ import annotations

import numpy as np

from raymaas.bundle.rmz.density import COLUMN_STEPS, ROW_STEP_OF, ROW_STEPS, STEEPEST, Density, matrix_of
from raymaas.bundle.rmz.rangecoder import Coder, Decoder, Encoder, Odds
from raymaas.errors import IntegrityError

_SIGN = COLUMN_STEPS * ROW_STEPS * 2
_PREFIX = _SIGN + 1
_TREE = _PREFIX + 8
_CONTEXTS = _TREE + (8 << 7)

_SEGMENT = 4096
"""Columns held as Python lists at a time, which bounds the memory."""


def encode(levels: np.ndarray, *, shape: tuple[int, ...]) -> bytes:
    """The stream of `levels`, which number as `shape` says and lie in -255..255."""
    levels_RC = levels.reshape(matrix_of(shape))
    density = Density.of(levels_RC)
    top = int(np.abs(levels_RC).max(initial=1)).bit_length() - 1
    encoder = Encoder(_starting_odds(density))
    _code_matrix(encoder, levels_RC, density=density, top=top)
    return bytes([density.exponent + 64, top]) + encoder.finish()


def decode(stream: bytes, *, shape: tuple[int, ...]) -> np.ndarray:
    """The int16 levels of `stream`, flat. IntegrityError when it is not a whole stream and nothing more.

    Needs about 6 bytes a level beside the stream, whatever the stream holds.
    """
    if len(stream) < 2 or abs(stream[0] - 64) > STEEPEST or stream[1] > 7:
        raise IntegrityError("a range-coded stream does not begin with its density and top")
    density, top = Density(stream[0] - 64), stream[1]
    levels_RC = np.zeros(matrix_of(shape), np.int16)
    decoder = Decoder(_starting_odds(density), stream[2:])
    _code_matrix(decoder, levels_RC, density=density, top=top)
    decoder.finish()
    return levels_RC.reshape(-1)


def _starting_odds(density: Density) -> Odds:
    odds = Odds(_CONTEXTS)
    for context in range(_SIGN):
        column, row = divmod(context // 2, ROW_STEPS)
        odds.p[context], odds.divisor[context] = density.start(column, row), 10
    return odds


def _code_matrix(coder: Coder, levels_RC: np.ndarray, *, density: Density, top: int) -> None:
    """Code every level in reading order; a decoder writes them where an encoder read them."""
    rows, columns = levels_RC.shape
    seen_C = np.zeros(columns, np.int32)
    for row in range(rows):
        promised, found, left = 4 << 16, 4, 0
        for start in range(0, columns, _SEGMENT):
            part = slice(start, start + _SEGMENT)
            seen_S = seen_C[part].astype(np.int64)
            step_S = density.column_steps(seen_S, rows=row)
            share_S = density.promises(seen_S, rows=row)
            until_S = promised + np.cumsum(share_S) - share_S
            promised = int(until_S[-1] + share_S[-1])
            coded, found, left = _code_segment(
                coder,
                levels_RC[row, part].tolist(),
                (step_S * (ROW_STEPS * 2)).tolist(),
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
    code, row_step_of = coder.code, ROW_STEP_OF
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
