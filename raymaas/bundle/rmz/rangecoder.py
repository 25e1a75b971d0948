"""The adaptive binary range coder: yes-or-no decisions to bytes and back, each with its own learned odds.

Range coding: G. N. N. Martin, Range encoding (1979); its binary form with one adaptive probability per context
as in CABAC (Marpe, Schwarz, Wiegand 2003). The probability of a context moves by 1/d towards each bit it saw,
d counting up to `SLOWEST`: a running mean first (Krichevsky and Trofimov 1981), later a moving one. Only
integers are used, so every machine decodes the same.

`Encoder.code` and `Decoder.code` share a signature. A model of the data is written once against `Coder` and
runs in both directions, so that the two cannot disagree.

    low, range   the interval; after each decision 2^24 <= range <= 2^32 - 1
    decision     bound = (range >> 16) * (p >> 6 | 1), p being the 22-bit probability of a 1; where that is
                 given, not learned, it has 16 bits: bound = (range >> 16) * p
                 bit 1 takes [0, bound) of the interval, bit 0 the rest
    while range < 2^24, the top byte of low leaves (carrying into bytes already out) and both shift by 8
    end          the shortest bytes within the interval; the decoder reads zeros after the last one
"""

from __future__ import annotations

from typing import Protocol

from raymaas.errors import IntegrityError

CERTAIN = 1 << 22
"""The probability 1; a context's probability lies strictly between 0 and this."""

SLOWEST = 1024
"""The greatest divisor of an adaptation step."""


class Odds:
    """What a coder has learned: for every context the probability of a 1, and the divisor of its next step.

    `code` trusts its caller here: 0 < p < CERTAIN and 2 <= divisor <= SLOWEST.
    """

    def __init__(self, contexts: int) -> None:
        self.p = [CERTAIN >> 1] * contexts
        self.divisor = [2] * contexts


class Coder(Protocol):
    """One direction of coding."""

    def code(self, context: int, bit: int) -> int:
        """The decision at this place: `bit` when encoding; when decoding `bit` is ignored."""
        ...

    def given(self, likely: int, bit: int) -> int:
        """The same of a decision that is 1 with probability `likely` / 2^16, which lies strictly within 0 and 1."""
        ...


class Encoder:
    """Writes decisions."""

    def __init__(self, odds: Odds) -> None:
        self._p, self._divisor = odds.p, odds.divisor
        self._low, self._range = 0, 0xFFFFFFFF
        self._out = bytearray()

    def code(self, context: int, bit: int) -> int:
        p, divisor = self._p[context], self._divisor[context]
        bound = (self._range >> 16) * (p >> 6 | 1)
        if bit:
            interval = bound
            self._p[context] = p + (CERTAIN - p) // divisor
        else:
            self._low += bound
            interval = self._range - bound
            self._p[context] = p - p // divisor
        if divisor < SLOWEST:
            self._divisor[context] = divisor + 1
        while interval < 0x1000000:
            self._emit(self._low >> 24)
            self._low = (self._low & 0xFFFFFF) << 8
            interval <<= 8
        self._range = interval
        return bit

    def given(self, likely: int, bit: int) -> int:
        bound = (self._range >> 16) * likely
        if bit:
            interval = bound
        else:
            self._low += bound
            interval = self._range - bound
        while interval < 0x1000000:
            self._emit(self._low >> 24)
            self._low = (self._low & 0xFFFFFF) << 8
            interval <<= 8
        self._range = interval
        return bit

    def finish(self) -> bytes:
        """The stream; the encoder is spent."""
        units = (1 << (32 - 8 * kept) for kept in range(5))
        rounded = ((self._low + unit - 1) // unit * unit for unit in units)
        value = next(value for value in rounded if value < self._low + self._range)
        self._emit(value >> 24)
        self._out += (value & 0xFFFFFF).to_bytes(3, "big")
        return bytes(self._out.rstrip(b"\0"))

    def _emit(self, byte: int) -> None:
        """Append `byte`; its ninth bit is a carry into what is already out."""
        if byte > 0xFF:
            place = len(self._out) - 1
            while self._out[place] == 0xFF:
                self._out[place] = 0
                place -= 1
            self._out[place] += 1
        self._out.append(byte & 0xFF)


class Decoder:
    """Reads the decisions of a stream back, with `odds` as the encoder had them at its start.

    Any bytes decode to something, in constant memory; the caller checks what came out.
    """

    def __init__(self, odds: Odds, stream: bytes) -> None:
        self._p, self._divisor = odds.p, odds.divisor
        self._bytes = iter(stream)
        self._range, self._code = 0xFFFFFFFF, 0
        for _ in range(4):
            self._code = self._code << 8 | next(self._bytes, 0)

    def code(self, context: int, bit: int) -> int:
        p, divisor = self._p[context], self._divisor[context]
        bound = (self._range >> 16) * (p >> 6 | 1)
        if self._code < bound:
            decided, interval = 1, bound
            self._p[context] = p + (CERTAIN - p) // divisor
        else:
            self._code -= bound
            decided, interval = 0, self._range - bound
            self._p[context] = p - p // divisor
        if divisor < SLOWEST:
            self._divisor[context] = divisor + 1
        while interval < 0x1000000:
            self._code = self._code << 8 | next(self._bytes, 0)
            interval <<= 8
        self._range = interval
        return decided

    def given(self, likely: int, bit: int) -> int:
        bound = (self._range >> 16) * likely
        if self._code < bound:
            decided, interval = 1, bound
        else:
            self._code -= bound
            decided, interval = 0, self._range - bound
        while interval < 0x1000000:
            self._code = self._code << 8 | next(self._bytes, 0)
            interval <<= 8
        self._range = interval
        return decided

    def finish(self) -> None:
        """IntegrityError when the stream goes on after the last decision."""
        if next(self._bytes, None) is not None:
            raise IntegrityError("bytes are left over after the last decision of a range-coded stream")
