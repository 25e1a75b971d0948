"""Mixing: two learned probabilities of one decision made into a better one, by weights that are learned as well.

Logistic mixing (M. Mahoney, Adaptive Weighing of Context Models for Lossless Data Compression, 2005): the logit of
the mixture is a weighted sum of the two logits, and the weights follow the gradient of the coding cost. Only
integers are used, so every machine decodes the same.

    logit        log2(p / (1 - p)) in units of 2^-8, within -3584..3584, 2^14 to 1 either way
    squash       of a logit: p in units of 2^-16, floor(2^16 o / (o + 2^64)), where o is 2^(logit / 256)
                 in units of 2^-64, made of the 256th root of 2 by one product, rounded down, for each step
    stretch      of a 22-bit p: the least logit whose squash is at least (p >> 8) << 2, or 3584
    mixture      squash((w1 x1 + w2 x2) >> 24), kept within those bounds; both weights begin with 2^23
    after a bit  w += x (bit * 2^16 - p) >> 9, p being the mixture; then both probabilities learn as they would alone
"""

from __future__ import annotations

import functools
import math

import numpy as np

from raymaas.bundle.rmz.rangecoder import CERTAIN, SLOWEST, Coder, Odds

_STEEPEST = 14 * 256
_HALF = 1 << 23


class Weights:
    """What a mixer has learned: some pairs of weights to choose from."""

    def __init__(self, pairs: int) -> None:
        self.one, self.other = [_HALF] * pairs, [_HALF] * pairs


class Mixer:
    """Codes decisions by two contexts of `odds` each, and a pair of `weights`; both learn."""

    def __init__(self, coder: Coder, odds: Odds, weights: Weights) -> None:
        self._given = coder.given
        self._p, self._divisor = odds.p, odds.divisor
        self._one, self._other = weights.one, weights.other
        self._stretch, self._squash = _tables()

    def code(self, one: int, other: int, chosen: int, bit: int) -> int:
        """As `Coder.code`, of the two contexts and with the chosen pair."""
        p, divisors, stretch = self._p, self._divisor, self._stretch
        p_one, p_other = p[one], p[other]
        x_one, x_other = stretch[p_one >> 8], stretch[p_other >> 8]
        place = ((self._one[chosen] * x_one + self._other[chosen] * x_other) >> 24) + _STEEPEST
        if not 0 <= place <= 2 * _STEEPEST:
            place = 0 if place < 0 else 2 * _STEEPEST
        likely = self._squash[place]
        divisor_one, divisor_other = divisors[one], divisors[other]
        if self._given(likely, bit):
            decided, error = 1, 0x10000 - likely
            p[one] = p_one + (CERTAIN - p_one) // divisor_one
            p[other] = p_other + (CERTAIN - p_other) // divisor_other
        else:
            decided, error = 0, -likely
            p[one] = p_one - p_one // divisor_one
            p[other] = p_other - p_other // divisor_other
        self._one[chosen] += x_one * error >> 9
        self._other[chosen] += x_other * error >> 9
        if divisor_one < SLOWEST:
            divisors[one] = divisor_one + 1
        if divisor_other < SLOWEST:
            divisors[other] = divisor_other + 1
        return decided


@functools.cache
def _tables() -> tuple[list[int], list[int]]:
    """Stretch by p >> 8, and squash by logit + 3584."""
    root = 1 << 64
    root += root  # 2 in units of 2^-64
    for _ in range(8):
        root = math.isqrt(root << 64)
    odds = (1 << 64) >> (_STEEPEST // 256)
    squash = []
    for _ in range(2 * _STEEPEST + 1):
        squash.append((odds << 16) // (odds + (1 << 64)))
        odds = odds * root >> 64
    stretch = np.searchsorted(np.array(squash), np.arange(CERTAIN >> 8) << 2) - _STEEPEST
    return np.minimum(stretch, _STEEPEST).tolist(), squash
