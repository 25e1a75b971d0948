"""Where nonzero levels are expected: by the density of a matrix, of a column so far, and of a row so far.

    density      odds of a nonzero level, 2^(e/2), -32 <= e <= 32; their share is g
    matrix       rows = shape[0], columns = the rest; one row when that gives fewer than 8 columns
    column       ratio of (nonzeros in this column so far + 8 g) / (rows so far + 8) to g, in 13 steps of half
                 octaves: how many b of `_COLUMN_BOUNDS` have b * (rows + 8) <= nonzeros * (256 / g) + 2048
    row          ratio of (nonzeros in this row so far + 4) to (what the columns promised so far + 4), in 5
                 steps of octaves: `ROW_STEP_OF`[min(46, (nonzeros + 4) * 2^20 / (promised + 4 * 2^16))], where
                 a column promises (nonzeros * 2^16 + 8 * (2^16 g)) / (rows + 8)
    start        of a column and row step: probability from the odds 2^(e/2) * column step * row step, kept
                 2^-10 away from 0 and 1

Every division rounds down, also 256 / g and 2^16 g; powers of 2^(1/2) are in units of 2^-64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raymaas.bundle.rmz.rangecoder import CERTAIN

COLUMN_STEPS, ROW_STEPS = 13, 5

_COLUMN_BOUNDS = np.array([38, 54, 76, 108, 152, 215, 304, 431, 609, 861, 1218, 1722], np.int64)
"""256 * 2^((k + 0.5) / 2) for k = -6..5: where one column step ends and the next begins."""

ROW_STEP_OF = [0] * 6 + [1] * 6 + [2] * 11 + [3] * 23 + [4]
"""Row step by 16 * ratio, cut off at 46; the bounds are 2^-1.5, 2^-0.5, 2^0.5 and 2^1.5."""

STEEPEST = 32


@dataclass(frozen=True)
class Density:
    """The odds 2^(exponent/2) of a nonzero level, and what they make of what was seen of a matrix."""

    exponent: int

    @classmethod
    def of(cls, levels: np.ndarray) -> Density:
        """2 log2(nonzeros / zeros), rounded down and kept within -32..32."""
        nonzero = int(np.count_nonzero(levels))
        zero = levels.size - nonzero
        if not (nonzero and zero):
            return cls(STEEPEST if nonzero else -STEEPEST)
        squared = (nonzero * nonzero << 128) // (zero * zero)
        return cls(min(max(squared.bit_length() - 129, -STEEPEST), STEEPEST))

    def start(self, column: int = 6, row: int = 2) -> int:
        """The probability of a nonzero level at those steps, the middle ones by default, in units of 1 / CERTAIN."""
        likely = _power(self.exponent + (column - 6) + 2 * (row - 2))
        p = CERTAIN * likely // (likely + (1 << 64))
        return min(max(p, 1 << 12), CERTAIN - (1 << 12))

    def column_steps(self, seen_C: np.ndarray, *, rows: int) -> np.ndarray:
        """Of columns that had so many nonzeros in so many rows; `seen_C` is int64."""
        odds = _power(self.exponent)
        relative = ((odds + (1 << 64)) << 8) // odds  # 1 / g in units of 2^-8
        return np.searchsorted(_COLUMN_BOUNDS * (rows + 8), seen_C * relative + (8 << 8), side="right")

    def promises(self, seen_C: np.ndarray, *, rows: int) -> np.ndarray:
        """How many nonzeros each such column promises in the next row, in units of 2^-16."""
        odds = _power(self.exponent)
        share = (odds << 16) // (odds + (1 << 64))
        promised: np.ndarray = ((seen_C << 16) + 8 * share) // (rows + 8)
        return promised


def matrix_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns that a tensor is coded as."""
    rows, count = shape[0] if shape else 1, math.prod(shape)
    return (rows, count // rows) if rows and count // rows >= 8 else (1, count)


def _power(half_octaves: int) -> int:
    """2^(half_octaves / 2) in units of 2^-64."""
    whole, half = divmod(half_octaves, 2)
    return (0x16A09E667F3BCC908 if half else 1 << 64) << 64 + whole >> 64
