"""Coder "range2", of format 2: as "range", and a weight resembles those around it in its row.

Rows of a first layer are pictures, and those of a convolution hold its kernels: a weight is likely where its
neighbours to the left and in the line above are, and has their sign. The length of a line is not known here; the
encoder looks for it and writes it down. Columns and rows without any weight are told beforehand, so that no
decision is spent on them. How large a weight is depends on its sign and on those of its column so far.

    stream       byte 0: e + 64, where the odds of a nonzero level among those coded are about 2^(e/2)
                 byte 1: top, the bit length of the greatest magnitude less 1, 0..7; plus 8 when some are left out
                 byte 2: lag, the length of a line, 2..255; 0 for no neighbours
                 the rest: decisions, as raymaas.bundle.rmz.rangecoder codes them
    steps        matrix, column and row steps and their start: see raymaas.bundle.rmz.density; rows and columns left
                 out are not counted
    left out     when some are: first for each column, then for each row, whether its levels are coded
                 a column's context: COLUMN + (the one to its left is coded) + 2 (the one lag to its left is, if any);
                 a row's: ROW
    nonzero      context DENSE + column * 5 + row; where there is a lag, mixed (raymaas.bundle.rmz.mixing) with
                 AROUND + 1 [left is not 0] + 2 [left of it] + 4 [above: lag columns to the left] + 8 [above left]
                 + 16 [above right] + 32 [above above], by the weights min(2, how many of these six)
    sign         SIGN + 4 + the sum of the signs of left, above, above left and above right; SIGN + 4 without a lag
    magnitude    in Elias' gamma form. Size: 9 [negative] + `_SIZE_OF`[min(128, 64 (t * n + 2 s) / ((k + 2) s))], where
                 s is the sum of all n magnitudes so far, both 1 at first, and t that of the k in this column in rows
                 before: how its mean, of two more that are as all, compares with that of all
                 MAGNITUDE + 36 size + length so far; then + 8 + 4 (length - 1) + bits so far with a 1 before them, for
                 two bits; all further ones are as likely as not
    start        DENSE as its steps say, divisor 10; AROUND as the middle steps say, divisor 4; others 1/2, divisor 2
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from raymaas.bundle.rmz.density import COLUMN_STEPS, ROW_STEP_OF, ROW_STEPS, STEEPEST, Density, matrix_of
from raymaas.bundle.rmz.mixing import Mixer, Weights
from raymaas.bundle.rmz.rangecoder import Coder, Decoder, Encoder, Odds
from raymaas.errors import IntegrityError

_DENSE = 0
_AROUND = COLUMN_STEPS * ROW_STEPS
_SIGN = _AROUND + 64
_COLUMN = _SIGN + 9
_ROW = _COLUMN + 4
_MAGNITUDE = _ROW + 1
_CONTEXTS = _MAGNITUDE + 18 * 36

_SIZE_OF = [0] * 39 + [1] * 7 + [2] * 8 + [3] * 10 + [4] * 13 + [5] * 14 + [6] * 17 + [7] * 20 + [8]
"""By 64 * mean / overall, cut off at 128: the bounds are 2^(k/4), k = -3..4."""

_WEIGHTS_OF = [min(2, around.bit_count()) for around in range(64)]

_SOME_OUT = 8

_SEGMENT, _LONGEST = 4096, 255
"""Columns held as Python lists at a time, which bounds the memory; the greatest lag."""

_LOOKED_AT, _STANDS_OUT = 1 << 19, 16
"""Levels in which a lag is looked for; what the square of agreeing pairs less others must be, over all such pairs."""


def encode(levels: np.ndarray, *, shape: tuple[int, ...]) -> bytes:
    """The stream of `levels`, which number as `shape` says and lie in -255..255."""
    levels_RC = levels.reshape(matrix_of(shape))
    lag = _lag_of(levels_RC)
    return min((_encoded(levels_RC, lag) for lag in sorted({0, lag})), key=len)


def decode(stream: bytes, *, shape: tuple[int, ...]) -> np.ndarray:
    """The int16 levels of `stream`, flat. IntegrityError when it is not a whole stream and nothing more.

    Needs about 14 bytes a level beside the stream, whatever the stream holds.
    """
    if len(stream) < 3 or abs(stream[0] - 64) > STEEPEST or stream[1] > 15 or stream[2] == 1:
        raise IntegrityError("a range-coded stream does not begin with its density, top and lag")
    levels_RC = np.zeros(matrix_of(shape), np.int16)
    density, top, lag = Density(stream[0] - 64), stream[1] & 7, stream[2]
    odds = _starting_odds(density)
    decoder = Decoder(odds, stream[3:])
    matrix = _Matrix(decoder, odds, density=density, top=top, lag=lag)
    rows, columns = levels_RC.shape
    column_C, row_R = np.ones(columns, np.bool_), np.ones(rows, np.bool_)
    if stream[1] & _SOME_OUT:
        matrix.code_which(column_C, row_R)
    matrix.code(levels_RC, column_C, row_R)
    decoder.finish()
    return levels_RC.reshape(-1)


def _encoded(levels_RC: np.ndarray, lag: int) -> bytes:
    alive_RC = levels_RC != 0
    column_C, row_R = np.asarray(alive_RC.any(axis=0)), np.asarray(alive_RC.any(axis=1))
    coded = int(column_C.sum()) * int(row_R.sum())
    # Telling costs a decision for each; where a column is one or two levels, that saves none.
    some_out = min(levels_RC.shape) > 2 and 16 * coded < 15 * levels_RC.size
    if not some_out:
        column_C[:], row_R[:] = True, True
    density = Density.of(levels_RC[np.ix_(row_R, column_C)])
    top = int(np.abs(levels_RC).max(initial=1)).bit_length() - 1
    odds = _starting_odds(density)
    encoder = Encoder(odds)
    matrix = _Matrix(encoder, odds, density=density, top=top, lag=lag)
    if some_out:
        matrix.code_which(column_C, row_R)
    matrix.code(levels_RC, column_C, row_R)
    return bytes([density.exponent + 64, top + _SOME_OUT * some_out, lag]) + encoder.finish()


def _lag_of(levels_RC: np.ndarray) -> int:
    """The distance at which signs in a row agree most for the pairs there are; 0 for none that stands out."""
    sign_RC = np.sign(levels_RC[: max(1, _LOOKED_AT // max(1, levels_RC.shape[1]))]).astype(np.int8)
    best, lag = float(_STANDS_OUT), 0
    for distance in range(2, min(_LONGEST, sign_RC.shape[1] // 2) + 1):
        pairs = sign_RC[:, distance:] * sign_RC[:, :-distance]
        agreeing = int(pairs.sum(dtype=np.int64))
        if agreeing > 0 and agreeing**2 > best * int(np.count_nonzero(pairs)):
            best, lag = agreeing**2 / int(np.count_nonzero(pairs)), distance
    return lag


def _starting_odds(density: Density) -> Odds:
    odds = Odds(_CONTEXTS)
    for context in range(_DENSE, _AROUND):
        odds.p[context], odds.divisor[context] = density.start(*divmod(context - _DENSE, ROW_STEPS)), 10
    for context in range(_AROUND, _SIGN):
        odds.p[context], odds.divisor[context] = density.start(), 4
    return odds


class _Matrix:
    """The decisions of one matrix, in either direction: a decoder writes levels where an encoder read them."""

    def __init__(self, coder: Coder, odds: Odds, *, density: Density, top: int, lag: int) -> None:
        self._coder, self._mixer = coder, Mixer(coder, odds, Weights(3))
        self._density, self._top, self._lag = density, top, lag
        self._sum, self._count = 1, 1  # of magnitudes, and how many

    def code_which(self, column_C: np.ndarray, row_R: np.ndarray) -> None:
        """Whether each column and row is coded."""
        code, lag = self._coder.code, self._lag
        for column in range(len(column_C)):
            left = int(column_C[column - 1]) if column else 0
            above = int(column_C[column - lag]) if lag and column >= lag else 0
            column_C[column] = code(_COLUMN + left + 2 * above, int(column_C[column]))
        for row in range(len(row_R)):
            row_R[row] = code(_ROW, int(row_R[row]))

    def code(self, levels_RC: np.ndarray, column_C: np.ndarray, row_R: np.ndarray) -> None:
        """Every level of the columns and rows that are coded, in reading order."""
        columns = levels_RC.shape[1]
        seen_C, sums_C = np.zeros(columns, np.int32), np.zeros(columns, np.int32)
        for rows, row in enumerate(np.flatnonzero(row_R).tolist()):
            promised, found = 4 << 16, 4
            around = _Around(self._lag)
            for start in range(0, columns, _SEGMENT):
                part = slice(start, start + _SEGMENT)
                place_K = np.flatnonzero(column_C[part])
                level_S = levels_RC[row, part]
                seen_K = seen_C[part][place_K].astype(np.int64)
                share_K = self._density.promises(seen_K, rows=rows)
                until_K = promised + np.cumsum(share_K) - share_K
                promised += int(share_K.sum())
                around.move_on(len(level_S))
                coded, found = self._code_segment(
                    level_S[place_K].tolist(),
                    zip(
                        place_K.tolist(),
                        (self._density.column_steps(seen_K, rows=rows) * ROW_STEPS).tolist(),
                        until_K.tolist(),
                        seen_K.tolist(),
                        sums_C[part][place_K].tolist(),
                        strict=True,
                    ),
                    around,
                    found=found,
                )
                level_S[place_K] = coded
                seen_C[part] += level_S != 0
                sums_C[part] += np.abs(level_S)

    def _code_segment(
        self,
        given: list[int],
        told: Iterable[tuple[int, int, int, int, int]],
        around: _Around,
        *,
        found: int,
    ) -> tuple[list[int], int]:
        """The levels of one stretch of a row, then `found` behind it."""
        code, mixed, lag = self._coder.code, self._mixer.code, self._lag
        row_step_of, weights_of = ROW_STEP_OF, _WEIGHTS_OF
        coded = []
        for level, (place, dense, until, nonzeros, total) in zip(given, told, strict=True):
            ratio = (found << 20) // until
            dense += row_step_of[ratio if ratio < 46 else 46]
            if lag:
                pattern = around.alive[place]
                alive = mixed(dense, _AROUND + pattern, weights_of[pattern], level != 0)
            else:
                alive = code(dense, level != 0)
            if not alive:
                coded.append(0)
                continue
            found += 1
            negative = code(_SIGN + 4 + (around.signs[place] if lag else 0), level < 0)
            mean = ((total * self._count + 2 * self._sum) << 6) // ((nonzeros + 2) * self._sum)
            size = 9 * negative + _SIZE_OF[min(128, mean)]
            magnitude = self._code_magnitude(abs(level), _MAGNITUDE + 36 * size)
            self._count += 1
            self._sum += magnitude
            if lag:
                around.mark(place, -1 if negative else 1)
            coded.append(-magnitude if negative else magnitude)
        return coded, found

    def _code_magnitude(self, magnitude: int, contexts: int) -> int:
        code, length = self._coder.code, 0
        while length < self._top and code(contexts + length, magnitude >> (length + 1) != 0):
            length += 1
        prefix = 1
        for shift in range(length - 1, -1, -1):
            bit = magnitude >> shift & 1
            learned = prefix < 4
            bit = (
                code(contexts + 4 + 4 * length + prefix, bit) if learned else self._coder.given(1 << 15, bit)
            )
            prefix = prefix << 1 | bit
        return prefix


class _Around:
    """What the levels of a row say of those to come: which neighbours are not 0, and the sum of their signs."""

    def __init__(self, lag: int) -> None:
        self.alive: list[int] = []
        self.signs: list[int] = []
        self._lag, self._length = lag, 0

    def move_on(self, length: int) -> None:
        """Places count from the next segment on, which is that long."""
        over = length + 2 * self._lag
        for places in (self.alive, self.signs):
            del places[: self._length]
            places.extend([0] * (over - len(places)))
        self._length = length

    def mark(self, place: int, sign: int) -> None:
        alive, signs, above = self.alive, self.signs, place + self._lag
        alive[place + 1] |= 1
        alive[place + 2] |= 2
        alive[above] |= 4
        alive[above + 1] |= 8
        alive[above - 1] |= 16
        alive[above + self._lag] |= 32
        for near in (place + 1, above, above + 1, above - 1):
            signs[near] += sign
