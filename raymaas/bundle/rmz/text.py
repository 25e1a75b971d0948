"""Short text of a known kind in few bytes: a model that has read such text before, and the range coder.

A byte is eight decisions from its most significant bit on. Each is mixed (raymaas.bundle.rmz.mixing) of two contexts:
the bits of the byte so far with the byte before and the number of the field, and the same with the three bytes before.
On the first line that is field 4; on others fields 0 to 3 are ended by a space each, and the last goes on.

    contexts     numbered in the order in which they are met, first the one of the field; each starts at 1/2, divisor 2
    weights      2 [the first context was met before] + [the second was]
    before all   three zero bytes; then the texts of `PRIOR` are coded, one after the other and the bytes thrown away,
                 so that the text begins with what was learned of them, and after them
    text         ends with a zero byte, and has none within
"""

from __future__ import annotations

import functools

from raymaas.bundle.rmz.mixing import Mixer, Weights
from raymaas.bundle.rmz.rangecoder import CERTAIN, Coder, Decoder, Encoder, Odds
from raymaas.errors import IntegrityError

LONGEST = 1 << 13
"""Bytes of a text: coding that many takes half a second and 40 MiB."""

_LAST_FIELD, _FIRST_LINE = 3, 4

PRIOR = b"""\
{"config":{"classes":10,"dropout":0.0,"hidden":[128],"in_features":64,"input_scale":1.0},"use":"mlp"}
hidden.0.weight 128,64 R4 1032
hidden.0.bias 128 R8 124
hidden.1.weight 64,128 R4 954
hidden.1.bias 64 n8 66
head.weight 10,64 R4 332
head.bias 10 n8 12
\0{"config":{"classes":10,"dropout":0.0,"hidden":[256,64],"in_features":784,"input_scale":1.0},"use":"mlp"}
hidden.0.weight 256,784 R3 4212
hidden.0.bias 256 R8 248
head.weight 10,64 R3 318
head.bias 10 n8 12
\0{"config":{"classes":10,"dropout":0.0,"input_scale":1.0,"shape":[1,28,28],"widths":[6,16,120,84]},"use":"lenet5"}
c1.weight 6,1,5,5 R3 82
c1.bias 6 n8 8
c3.weight 16,6,5,5 R3 903
c3.bias 16 n8 18
c5.weight 120,400 R3 2861
c5.bias 120 R8 117
f6.weight 84,120 R3 998
f6.bias 84 R8 86
head.weight 10,84 R3 175
head.bias 10 n8 12
\0{"config":{"classes":10,"input_scale":1.0,"layers":["conv3x3-32","pool","dropout-0.1","dense-128"],"shape":[28,28]},\
"use":"cnn"}
layers.0.weight 32,1,3,3 R4c 162
layers.0.bias 32 R8 34
layers.3.weight 64,32,3,3 R4c 2190
layers.3.bias 64 R8 66
\0{"config":{"attention":16,"depth":2,"dropout":0.1,"feed_forward":16,"heads":2,"width":16},"use":"gpt"}
position_TE 10,16 nfp16 320
embed.weight 257,16 R4 1874
blocks.0.attention_norm.weight 16 nfp16 32
blocks.0.attention_norm.bias 16 nfp16 32
blocks.0.attention.query_key_value.weight 48,16 R4c 438
blocks.0.attention.query_key_value.bias 48 R8 50
blocks.0.attention.out.weight 16,16 R4c 201
blocks.0.feed_norm.weight 16 nfp16 32
blocks.0.up.weight 16,16 R4c 201
blocks.0.down.weight 16,16 R4c 201
blocks.1.attention_norm.weight 16 nfp16 32
norm.weight 16 nfp16 32
\0{"config":{"blocks":[1,2],"classes":10,"input_scale":1.0,"norm_groups":[8,4],"shape":[3,32,32],"stem":"3x3"},\
"use":"resnet"}
stem.0.weight 8,3,3,3 R4c 162
blocks.0.conv1.weight 8,8,3,3 R4c 402
blocks.0.norm1.weight 8 nfp16 16
blocks.0.norm1.bias 8 nfp16 16
blocks.0.conv2.weight 8,8,3,3 R4c 402
blocks.1.shortcut.0.weight 12,8,1,1 R4c 80
\0{"config":{"cell":"gru","embedding":8,"hidden":16,"layers":1,"shape":[9],"vocabulary":20},"use":"text_recurrent"}
cells.weight_ih_l0 48,8 R4c 304
cells.weight_hh_l0 48,16 R4c 500
cells.bias_ih_l0 48 R8 50
cells.bias_hh_l0 48 R8 50
\0{"config":{"binarize":true,"draws":8,"hidden":[16],"latent":4,"likelihood":"bernoulli","shape":[28,28]},"use":"vae"}
fixed_KZ 8,4 zfp32 120
encoder.0.weight 16,784 R4 1432
encoder.0.bias 16 n8 18
decoder.2.weight 784,16 Rk15 1540
decoder.2.bias 784 R8 640
\0{"config":{"in_features":12,"target_mean":2.0,"target_scale":3.0},"use":"logistic"}
linear.weight 10,12 R4 80
linear.bias 10 n8 12
\0"""
"""Bytes of format 2 for ever: a change makes every file written before unreadable."""


def encode(text: bytes) -> bytes:
    """`text` in few bytes; it has no zero byte and is at most `LONGEST` bytes long."""
    model = _experienced()
    encoder = Encoder(model.odds)
    model.code(encoder, text + b"\0")
    return encoder.finish()


def decode(coded: bytes) -> bytes:
    """The text that `encode` was given. IntegrityError when `coded` is not one whole text."""
    model = _experienced()
    decoder = Decoder(model.odds, coded)
    text = model.code(decoder, None)
    decoder.finish()
    return text[:-1]


def _experienced() -> _Model:
    return _prior().copy()


@functools.cache
def _prior() -> _Model:
    model = _Model()
    for part in PRIOR.split(b"\0")[:-1]:
        model.code(Encoder(model.odds), part + b"\0")
    return model


class _Model:
    """What was learned, and where in a text it is."""

    def __init__(self) -> None:
        self.odds, self._weights = Odds(0), Weights(4)
        self._numbers: dict[int, int] = {}
        self._before, self._field = 0, _FIRST_LINE

    def copy(self) -> _Model:
        """Another that has learned the same."""
        other = _Model()
        other.odds.p, other.odds.divisor = self.odds.p.copy(), self.odds.divisor.copy()
        other._weights.one, other._weights.other = self._weights.one.copy(), self._weights.other.copy()
        other._numbers, other._before = self._numbers.copy(), self._before
        return other

    def code(self, coder: Coder, text: bytes | None) -> bytes:
        """A whole text, with its zero byte: the one given to an encoder, or None for what a decoder finds."""
        mixer, coded = Mixer(coder, self.odds, self._weights), bytearray()
        while not coded or coded[-1]:
            if len(coded) > LONGEST:
                raise IntegrityError(f"a coded text does not end within {LONGEST} bytes")
            byte = self._code_byte(mixer, text[len(coded)] if text is not None else 0)
            coded.append(byte)
            self._before = (self._before << 8 | byte) & 0xFFFFFF
            if byte in b"\0\n":
                self._field = 0 if byte else _FIRST_LINE
            elif byte == ord(" ") and self._field < _LAST_FIELD:
                self._field += 1
        return bytes(coded)

    def _code_byte(self, mixer: Mixer, given: int) -> int:
        field = (1 << 32 | self._field << 8 | self._before & 0xFF) << 8
        three = self._before << 8
        prefix = 1
        for shift in range(7, -1, -1):
            one, known = self._number(field | prefix)
            other, also = self._number(three | prefix)
            prefix = prefix << 1 | mixer.code(one, other, 2 * known + also, given >> shift & 1)
        return prefix & 0xFF

    def _number(self, context: int) -> tuple[int, bool]:
        """The number of a context, and whether it was met before."""
        odds, number = self.odds, self._numbers.get(context)
        if number is not None:
            return number, True
        self._numbers[context] = number = len(odds.p)
        odds.p.append(CERTAIN >> 1)
        odds.divisor.append(2)
        return number, False
