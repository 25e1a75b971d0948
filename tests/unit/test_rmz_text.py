"""The text model gives back what it was given, and knows what headers look like."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.bundle.rmz import text
from raymaas.errors import IntegrityError


@settings(max_examples=40)
@given(plain=st.binary(max_size=200).map(lambda data: data.replace(b"\0", b"")))
def test_any_text_comes_back(plain: bytes) -> None:
    assert text.decode(text.encode(plain)) == plain


def test_a_header_costs_two_bits_for_each_letter_and_every_coding_begins_alike() -> None:
    plain = (
        b'{"config":{"classes":10,"dropout":0.2,"hidden":[300,100],"in_features":784,"input_scale":1.0},"use":"mlp"}\n'
        b"hidden.0.weight 300,784 R3 4231\nhidden.0.bias 300 R8 294\nhidden.1.weight 100,300 R3 1883\n"
        b"hidden.1.bias 100 R8 101\nhead.weight 10,100 r3 338\nhead.bias 10 n8 12\n"
    )
    coded = text.encode(plain)
    assert text.encode(plain) == coded
    assert len(coded) < 50 < len(plain) / 5


def test_a_text_of_the_greatest_length_comes_back_and_a_longer_one_does_not_end() -> None:
    plain = b"w" * text.LONGEST
    assert text.decode(text.encode(plain)) == plain
    with pytest.raises(IntegrityError, match="does not end"):
        text.encode(plain + b"w")


@settings(max_examples=40)
@given(coded=st.binary(max_size=60))
def test_any_bytes_are_a_text_or_refused(coded: bytes) -> None:
    try:
        plain = text.decode(coded)
    except IntegrityError:
        return
    assert b"\0" not in plain
    assert len(plain) <= text.LONGEST
