"""Damaged and hostile coded files are refused with a sentence, and cost no memory by what they claim.

The files here are built from the layout in the docstring of raymaas.bundle.rmz.container, not with its writer.
"""

import hashlib
import tracemalloc
import zlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.bundle.rmz.container import breakdown, read, write
from raymaas.bundle.rmz.header import DICTIONARY, CoderName
from raymaas.bundle.rmz.tensors import Coded, Quantized, Raw
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.jobs import Component

ARCHITECTURE = {"config": {"hidden": [8]}, "use": "mlp"}
RAW = {"bytes": 8, "coder": "none", "dtype": "fp32", "kind": "raw", "name": "w", "shape": [2]}
LEVELS = {"bits": 4, "bytes": 4, "coder": "none", "kind": "quantized", "name": "w", "per": "tensor",
          "scale": "fp16", "shape": [4], "zero_point": False}  # fmt: skip
ONE = np.array(1, np.float16).tobytes()


def sha16(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def deflated(plain: bytes, dictionary: bytes = b"") -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=dictionary)
    return packer.compress(plain) + packer.flush()


def sealed(packed_header: bytes, streams: bytes, *, numbers: bytes = b"", version: int = 1) -> bytes:
    body = b"RMZ" + bytes([version]) + len(packed_header).to_bytes(4, "little") + packed_header + streams
    body += sha16(numbers)
    return body + sha16(body)


def crafted(tensors: list[dict[str, Any]], streams: bytes, *, numbers: bytes = b"") -> bytes:
    plain = orjson.dumps({"architecture": ARCHITECTURE, "tensors": tensors}, option=orjson.OPT_SORT_KEYS)
    return sealed(deflated(plain, DICTIONARY), streams, numbers=numbers)


@pytest.fixture(scope="module")
def network() -> bytes:
    rng = np.random.default_rng(0)
    alive = rng.random((24, 64)) < 0.1
    tensors: dict[str, Coded] = {
        "hidden.0.weight": Quantized(
            (rng.integers(-8, 8, alive.shape) * alive).astype(np.int8), rng.random(24).astype(np.float16), 4
        ),
        "hidden.0.bias": Quantized(rng.integers(-99, 99, 24).astype(np.int8), np.array(0.01, np.float16), 8),
        "head.weight": Raw(rng.standard_normal((10, 24)).astype(np.float32)),
        "head.bias": Raw(np.zeros(10, np.float32)),
    }
    coders = dict.fromkeys(tensors, "zlib") | {"hidden.0.weight": "range"}
    data = write(Component(use="mlp", config={"hidden": [24]}), tensors, coders=coders)
    assert data[3] == 1
    return data


def test_a_file_made_from_the_written_layout_is_read() -> None:
    floats = np.array([1.5, -2], "<f4").tobytes()
    got = read(
        crafted([RAW, LEVELS | {"name": "q"}], floats + ONE + b"\x9f\x07", numbers=floats + b"\1\7\xf8\xff")
    )
    assert got.architecture == Component(use="mlp", config={"hidden": [8]})
    assert got.dense()["w"].tolist() == [1.5, -2]
    assert got.dense()["q"].tolist() == [1, 7, -8, -1]


def test_a_thousand_flipped_bytes_are_all_refused(network: bytes) -> None:
    rng = np.random.default_rng(1)
    for place, flip in zip(rng.integers(0, len(network), 1000), rng.integers(1, 256, 1000), strict=True):
        damaged = bytearray(network)
        damaged[place] ^= flip
        with pytest.raises(IntegrityError):
            read(bytes(damaged))


def test_every_flipped_bit_of_the_head_and_the_digests_is_refused(network: bytes) -> None:
    for place in (*range(60), *range(len(network) - 40, len(network))):
        for bit in range(8):
            damaged = bytearray(network)
            damaged[place] ^= 1 << bit
            with pytest.raises(IntegrityError):
                read(bytes(damaged))


def test_every_truncation_and_any_addition_is_refused(network: bytes) -> None:
    for length in range(len(network)):
        with pytest.raises(IntegrityError):
            read(network[:length])
    for extra in (b"\0", b"RMZ", network):
        with pytest.raises(IntegrityError):
            read(network + extra)


@settings(max_examples=150)
@given(data=st.data())
def test_a_forger_who_mends_the_file_digest_gets_no_other_weights_in(
    network: bytes, data: st.DataObject
) -> None:
    forged = bytearray(network[:-16])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(3, len(forged) - 1))
        forged[place] = data.draw(st.integers(0, 255))
    try:
        got = read(bytes(forged) + sha16(bytes(forged)))
    except (IntegrityError, InvalidInput):
        return
    # Scales and the architecture are not decoded, so only levels and raw numbers are covered here.
    honest = read(network).tensors
    for mine, theirs in zip(got.tensors.values(), honest.values(), strict=True):
        one = mine.array if isinstance(mine, Raw) else mine.levels
        other = theirs.array if isinstance(theirs, Raw) else theirs.levels
        assert one.tobytes() == other.tobytes()


@given(garbage=st.binary(max_size=300))
def test_garbage_is_refused(garbage: bytes) -> None:
    for data in (
        garbage,
        b"RMZ\1" + garbage,
        sealed(garbage, b""),
        sealed(deflated(garbage, DICTIONARY), b""),
    ):
        with pytest.raises(IntegrityError):
            read(data)


def test_a_newer_format_is_refused_by_its_number() -> None:
    with pytest.raises(InvalidInput, match="format 3"):
        read(sealed(b"whatever comes", b"", version=3))


@pytest.mark.parametrize(
    ("tensors", "streams", "sentence"),
    [
        ([RAW | {"bytes": 7}], bytes(7), "7 bytes where its shape needs 8"),
        ([RAW], bytes(7), "lengths"),
        ([RAW], bytes(9), "lengths"),
        ([RAW, RAW], bytes(16), "same name"),
        ([RAW | {"shape": [-2]}], bytes(8), "shape"),
        ([RAW | {"shape": [2.0]}], bytes(8), "canonical|shape"),
        ([RAW | {"shape": ["2"]}], bytes(8), "canonical|shape"),
        ([RAW | {"shape": [1 << 31]}], bytes(8), "shape"),
        ([RAW | {"shape": [1] * 9}], bytes(4), "shape"),
        ([RAW | {"bytes": -8}], b"", "bytes"),
        ([RAW | {"name": "../w"}], bytes(8), "name"),
        ([RAW | {"name": ""}], bytes(8), "name"),
        ([RAW | {"name": "w\n"}], bytes(8), "name"),
        ([RAW | {"dtype": "fp8"}], bytes(8), "dtype"),
        ([RAW | {"coder": "range"}], bytes(8), "coder"),
        ([RAW | {"coder": "zstd"}], bytes(8), "format 2"),
        ([LEVELS | {"coder": "range2"}], ONE + bytes(2), "format 2"),
        (
            [
                {
                    "bytes": 4,
                    "coder": "none",
                    "dtype": "fp16",
                    "kind": "codebook",
                    "name": "w",
                    "shape": [2],
                    "values": 1,
                }
            ],
            bytes(4),
            "format 2",
        ),
        ([RAW | {"coder": "lzma"}], bytes(8), "coder"),
        ([RAW | {"coder": "zlib"}], bytes(8), "inflated"),
        ([RAW | {"kind": "pickle"}], bytes(8), "kind|tensors"),
        ([RAW | {"more": 1}], bytes(8), "more"),
        ([LEVELS | {"bits": 0}], ONE + bytes(2), "bits"),
        ([LEVELS | {"bits": 9}], ONE + bytes(2), "bits"),
        ([LEVELS | {"shape": [], "per": "channel"}], ONE + bytes(2), "without dimensions"),
        ([LEVELS | {"bytes": 1}], bytes(1), "where its shape needs 2"),
        ([LEVELS | {"zero_point": True, "bytes": 5}], ONE + b"\x08" + bytes(2), "zero_point of 4 bits"),
        ([LEVELS | {"scale": "fp16"}], np.array(np.nan, "<f2").tobytes() + bytes(2), "every scale"),
        ([LEVELS | {"scale": "fp16"}], np.array(-np.inf, "<f2").tobytes() + bytes(2), "every scale"),
        ([LEVELS | {"coder": "range", "bytes": 2}], ONE, "density"),
        ([LEVELS | {"coder": "range", "bytes": 5}], ONE + b"\xff\0\0", "density"),
        ([LEVELS | {"coder": "range", "bytes": 5}], ONE + b"\x40\x08\0", "density"),
        ([LEVELS | {"coder": "range", "bytes": 6}], ONE + b"\x60\x07\0\0", "4 bits"),
        ([LEVELS | {"coder": "range", "bytes": 44}], ONE + b"\x40\0" + bytes(40), "left over"),
        ([LEVELS], ONE + bytes(2), "not the ones that were written"),
    ],
)
def test_a_hostile_table_is_refused(tensors: list[dict[str, Any]], streams: bytes, sentence: str) -> None:
    with pytest.raises(IntegrityError, match=sentence):
        read(crafted(tensors, streams))


def test_levels_wider_than_their_bits_are_refused_from_zlib() -> None:
    body = ONE + deflated(b"\1\2\3\x08")
    with pytest.raises(IntegrityError, match=r"lie in -8\.\.7"):
        read(crafted([LEVELS | {"coder": "zlib", "bytes": len(body)}], body))


@pytest.mark.parametrize(
    "plain",
    [
        b'{"architecture":{"config":{},"use":"mlp"},"tensors":[], "x":1}',
        b'{"architecture":{"config":{},"use":"mlp"}, "tensors":[]}',
        b'{"architecture":{"config":{},"use":"mlp"},"tensors":[],"tensors":[]}',
        b'{"architecture":{"config":{"a":NaN},"use":"mlp"},"tensors":[]}',
        b'{"architecture":{"config":{"a":' + b"[" * 5000 + b"]" * 5000 + b'},"use":"mlp"},"tensors":[]}',
        b'{"tensors":[]}',
        b"[]",
        b"\xff\xfe",
    ],
)
def test_a_header_that_is_not_the_one_encoding_of_a_header_is_refused(plain: bytes) -> None:
    with pytest.raises(IntegrityError, match="header"):
        read(sealed(deflated(plain, DICTIONARY), b""))


def test_a_header_longer_than_the_file_or_ending_early_is_refused() -> None:
    whole = deflated(b'{"architecture":{"config":{},"use":"mlp"},"tensors":[]}', DICTIONARY)
    assert read(sealed(whole, b"")).tensors == {}
    for packed in (whole[:-3], whole + b"\0", b""):
        with pytest.raises(IntegrityError, match="header"):
            read(sealed(packed, b""))
    body = b"RMZ\1\xff\xff\xff\xff" + whole + bytes(16)
    with pytest.raises(IntegrityError, match="longer than the file"):
        read(body + sha16(body))


def peak_bytes_of_refusal(data: bytes, error: type[Exception], **limits: int) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(error):
            read(data, **limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HUGE = [65536, 65536]


@pytest.mark.parametrize(
    ("tensors", "streams", "error"),
    [
        ([RAW | {"shape": HUGE}], bytes(8), InvalidInput),
        ([RAW | {"shape": [0, 1 << 30, 1 << 30]}], bytes(8), InvalidInput),
        ([LEVELS | {"shape": HUGE, "coder": "range", "bytes": 4}], ONE + b"\x20\0", InvalidInput),
        ([RAW | {"shape": [1 << 24]}], bytes(8), IntegrityError),
        ([RAW | {"shape": [1 << 24], "coder": "zlib"}], bytes(8), IntegrityError),
        ([LEVELS | {"shape": [1 << 24]}], ONE + bytes(2), IntegrityError),
        ([LEVELS | {"shape": [1 << 24], "per": "channel"}], ONE + bytes(2), IntegrityError),
        ([RAW | {"bytes": 1 << 62}], bytes(8), IntegrityError),
    ],
)
def test_a_claim_costs_no_memory(
    tensors: list[dict[str, Any]], streams: bytes, error: type[Exception]
) -> None:
    assert peak_bytes_of_refusal(crafted(tensors, streams), error) < 2_000_000


def test_a_bomb_is_inflated_no_further_than_its_shape_or_the_limit_of_a_header() -> None:
    bomb = deflated(bytes(50_000_000))
    in_a_stream = crafted([RAW | {"coder": "zlib", "bytes": len(bomb)}], bomb)
    assert peak_bytes_of_refusal(in_a_stream, IntegrityError) < 4 * len(bomb)
    as_header = sealed(deflated(b'{"a":"' + bytes(50_000_000), DICTIONARY), b"")
    assert peak_bytes_of_refusal(as_header, IntegrityError) < 10_000_000


def test_a_header_full_of_brackets_stays_within_its_limit() -> None:
    many = b",".join([b"[]"] * 170_000)
    plain = b'{"architecture":{"config":{"a":[' + many + b']},"use":"mlp"},"tensors":[]} '
    assert len(plain) < 1 << 19
    data = sealed(deflated(plain, DICTIONARY), b"")
    assert peak_bytes_of_refusal(data, IntegrityError) < 64 << 20


@pytest.mark.parametrize(
    ("coder", "bits"), [("none", 1), ("none", 8), ("zlib", 8), ("range", 4), ("none", 64), ("zlib", 64)]
)
def test_reading_needs_at_most_16_bytes_for_each_number(coder: CoderName, bits: int) -> None:
    count = 200_000
    numbers: Coded = Raw(np.zeros(count))
    if bits <= 8:
        numbers = Quantized(np.zeros(count, np.int8), np.array(1, np.float16), bits)
    data = write(Component(use="mlp"), {"w": numbers}, coders={"w": coder})
    tracemalloc.start()
    read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Beside the numbers: the stream cut out of the file, one block of levels, the model's contexts.
    assert peak < 16 * count + len(data) + 1_500_000


def test_the_limit_of_elements_is_the_callers(network: bytes) -> None:
    with pytest.raises(InvalidInput, match="max_elements"):
        read(network, max_elements=100)
    assert sum(breakdown(network).values()) == len(network)


def test_breakdown_refuses_what_read_refuses(network: bytes) -> None:
    with pytest.raises(IntegrityError):
        breakdown(network[:-1])
