"""Damaged and hostile files of format 2 are refused with a sentence, and cost no memory by what they claim.

The files here are built from the layout in the docstrings of raymaas.bundle.rmz.container and .table, with the text
model alone of its writer: no other writer of that is worth having.
"""

import hashlib
import tracemalloc
import zlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.bundle.rmz import text
from raymaas.bundle.rmz.container import breakdown, read, write
from raymaas.bundle.rmz.tensors import Codebook, Coded, Quantized, Raw
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.jobs import Component

FIRST = b'{"config":{"hidden":[8]},"use":"mlp"}\n'
ONE, BOOK = np.array(1, "<f2").tobytes(), np.array([-1, 0, 2], "<f2").tobytes()


def sha16(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:16]


def deflated(plain: bytes, dictionary: bytes = text.PRIOR) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=dictionary)
    return packer.compress(plain) + packer.flush()


def groups(number: int) -> bytes:
    """Seven bits in each byte, from the lowest on."""
    return bytes([number & 127 | 128]) + groups(number >> 7) if number >> 7 else bytes([number])


def sealed(length: bytes, rest: bytes, *, numbers: bytes = b"") -> bytes:
    body = b"RMZ\2" + length + rest + sha16(numbers)
    return body + sha16(body)


def crafted(lines: bytes, streams: bytes, *, numbers: bytes = b"") -> bytes:
    packed = text.encode(FIRST + lines)
    return sealed(groups(2 * len(packed)), packed + streams, numbers=numbers)


@pytest.fixture(scope="module")
def network() -> bytes:
    rng = np.random.default_rng(0)
    alive = rng.random((24, 64)) < 0.1
    tensors: dict[str, Coded] = {
        "hidden.0.weight": Quantized(
            (rng.integers(-8, 8, alive.shape) * alive).astype(np.int8), rng.random(24).astype(np.float16), 4
        ),
        "hidden.1.weight": Codebook(
            (rng.integers(0, 5, (9, 24)) * alive[:9, :24]).astype(np.uint8),
            np.array([0, 0.5, 1, 2, 4], np.float32),
        ),
        "head.weight": Raw(rng.standard_normal((10, 9)).astype(np.float32)),
        "head.bias": Raw(np.zeros(10, np.float32)),
    }
    coders = {"hidden.0.weight": "range2", "hidden.1.weight": "range2", "head.weight": "zstd"}
    return write(Component(use="mlp", config={"hidden": [24, 9]}), tensors, coders=coders)


def test_a_file_made_from_the_written_layout_is_read() -> None:
    frame = pa.Codec("zstd").compress(np.array([1.5, -2], "<f4").tobytes(), asbytes=True)
    assert frame.startswith(b"\x28\xb5\x2f\xfd")
    lines = f"w 2 sfp32 {len(frame) - 4}\nq 4 n4 4\nb 2,2 nk3 7\nlast - n8fz 6\n".encode()
    floats = np.array([1.5, -2], "<f4").tobytes()
    got = read(
        crafted(
            lines,
            frame[4:] + ONE + b"\x9f\x07" + BOOK + b"\x24" + np.array(2, "<f4").tobytes() + b"\3\x85",
            numbers=floats + b"\1\7\xf8\xff" + b"\0\2\1\0" + b"\5",
        )
    )
    assert got.architecture == Component(use="mlp", config={"hidden": [8]})
    assert got.dense()["w"].tolist() == [1.5, -2]
    assert got.dense()["q"].tolist() == [1, 7, -8, -1]
    assert got.dense()["b"].tolist() == [[-1, 2], [0, -1]]
    assert got.dense()["last"].tolist() == 2 * (5 - 3)


def test_a_thousand_flipped_bytes_are_all_refused(network: bytes) -> None:
    rng = np.random.default_rng(1)
    for place, flip in zip(rng.integers(0, len(network), 1000), rng.integers(1, 256, 1000), strict=True):
        damaged = bytearray(network)
        damaged[place] ^= flip
        with pytest.raises(IntegrityError):
            read(bytes(damaged))


def test_every_truncation_and_any_addition_is_refused(network: bytes) -> None:
    for length in range(len(network)):
        with pytest.raises(IntegrityError):
            read(network[:length])
    for extra in (b"\0", b"RMZ", network):
        with pytest.raises(IntegrityError):
            read(network + extra)


@settings(max_examples=80)
@given(data=st.data())
def test_a_forger_who_mends_the_file_digest_gets_no_other_weights_in(
    network: bytes, data: st.DataObject
) -> None:
    forged = bytearray(network[:-16])
    for _ in range(data.draw(st.integers(1, 3))):
        forged[data.draw(st.integers(4, len(forged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del forged[data.draw(st.integers(4, len(forged) - 1)) :]
    try:
        got = read(bytes(forged) + sha16(bytes(forged)))
    except (IntegrityError, InvalidInput):
        return
    # Scales, values and the architecture are not decoded, so only levels, places and raw numbers are covered here.
    for mine, theirs in zip(got.tensors.values(), read(network).tensors.values(), strict=True):
        assert mine.numbers.tobytes() == theirs.numbers.tobytes()


@given(garbage=st.binary(max_size=120))
def test_garbage_is_refused(garbage: bytes) -> None:
    for data in (
        b"RMZ\2" + garbage,
        sealed(b"", garbage),
        sealed(groups(2 * len(garbage)), garbage),
        sealed(groups(2 * len(deflated(garbage)) + 1), deflated(garbage)),
    ):
        with pytest.raises(IntegrityError):
            read(data)


@pytest.mark.parametrize(
    ("lines", "streams", "sentence"),
    [
        (b"w 2 nfp32 7\n", bytes(7), "7 bytes where its shape needs 8"),
        (b"w 2 nfp32 8\n", bytes(9), "lengths"),
        (b"w 2 nfp32 8\nw 2 nfp32 8\n", bytes(16), "same name"),
        (b"w 2 nfp32 08\n", bytes(8), "form"),
        (b"w 02 nfp32 8\n", bytes(8), "form"),
        (b"w -2 nfp32 8\n", bytes(8), "form"),
        (b"w 2, nfp32 8\n", bytes(8), "form"),
        (b"w  nfp32 8\n", bytes(8), "form"),
        (b"w 2 nfp32  8\n", bytes(8), "form"),
        (b"w 2 nfp32 8 \n", bytes(8), "form"),
        (b"w 2 xfp32 8\n", bytes(8), "form"),
        (b"w 2 n4zc 8\n", bytes(8), "form"),
        (b"\n", b"", "form"),
        (b"w 2 nfp32 8", bytes(8), "end with a line"),
        (b"\xc3\xa9 2 nfp32 8\n", bytes(8), "malformed"),
        (b"../w 2 nfp32 8\n", bytes(8), "name"),
        (b"w 2 nfp8 8\n", bytes(8), "dtype"),
        (b"w 2 Rfp32 8\n", bytes(8), "coder"),
        (b"w 2 n9 8\n", bytes(8), "bits"),
        (b"w 2 n0 8\n", bytes(8), "bits"),
        (b"w 2 nk0 8\n", bytes(8), "values"),
        (b"w 2 nk257 8\n", bytes(8), "values"),
        (b"w - n4c 3\n", ONE + bytes(1), "without dimensions"),
        (b"w 9999999999 nfp32 8\n", bytes(8), "shape"),
        (b"w 2 nk3 6\n", bytes(6), "greater than the one before"),
        (b"w 2 nk3 3\n", bytes(3), "where its shape needs 6"),
        (b"w 2 nk3 7\n", BOOK + b"\xc0", "beyond the 3 values"),
        (b"w 2 nk3 7\n", BOOK + b"\x01", "filling"),
        (b"w 2 zk3 10\n", BOOK + deflated(b"\3\3", b"")[:4], "beyond|inflated"),
        (b"w 2 rk3 8\n", BOOK + b"\x40\x03", "beyond|left over"),
        (b"w 2 Rk3 9\n", BOOK + b"\x40\x01\0", "beyond the 3 values"),
        (
            b"w 1 Rk256 516\n",
            np.arange(-128, 128, dtype="<f2").tobytes() + b"\x60\x07\0\0",
            "beyond the 256 values",
        ),
        (b"w 4 R4 2\n", ONE, "density"),
        (b"w 4 R4 5\n", ONE + b"\x40\0\1", "density"),
        (b"w 4 R4 6\n", ONE + b"\x60\x07\0\0", "4 bits"),
        (b"w 4 R4 45\n", ONE + b"\x40\0\0" + bytes(40), "left over"),
        (b"w 4 s4 2\n", ONE, "cannot hold 4"),
        (b"w 4 s4 6\n", ONE + b"abcd", "zstd"),
        (b"w 2 nfp32 8\n", np.ones(2, "<f4").tobytes(), "not the ones that were written"),
    ],
)
def test_a_hostile_table_is_refused(lines: bytes, streams: bytes, sentence: str) -> None:
    with pytest.raises(IntegrityError, match=sentence):
        read(crafted(lines, streams))


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"{}",
        b"[]",
        b'{"config":{}, "use":"mlp"}',
        b'{"use":"mlp","config":{}}',
        b'{"config":{},"config":{},"use":"mlp"}',
        b'{"config":{"a":NaN},"use":"mlp"}',
        b'{"config":{"a":100000000000000000000000},"use":"mlp"}',
        b'{"config":{"a":' + b"[" * 2000 + b"]" * 2000 + b'},"use":"mlp"}',
        b'{"config":{},"use":"mlp"} ',
        b"\xff\xfe",
    ],
)
def test_an_architecture_that_is_not_the_one_encoding_of_one_is_refused(first: bytes) -> None:
    packed = text.encode(first + b"\n")
    with pytest.raises(IntegrityError, match="header"):
        read(sealed(groups(2 * len(packed)), packed))


def test_the_length_of_a_header_has_one_form_and_an_end() -> None:
    packed = text.encode(FIRST)
    assert read(sealed(groups(2 * len(packed)), packed)).tensors == {}
    for length in (bytes([2 * len(packed) | 128, 0]), b"\xff" * 5, b"\xff" * 4 + b"\x7f", b"\xff\x7f"):
        with pytest.raises(IntegrityError, match=r"length of its header|longer than the file"):
            read(sealed(length, packed))


def test_a_header_is_deflated_only_when_it_is_long() -> None:
    short, long = deflated(FIRST), text.encode(FIRST + b"w" * (text.LONGEST - len(FIRST)))
    with pytest.raises(IntegrityError, match="one of its length"):
        read(sealed(groups(2 * len(short) + 1), short))
    with pytest.raises(IntegrityError, match="end with a line"):
        read(sealed(groups(2 * len(long)), long))


def peak_bytes_of_refusal(data: bytes, error: type[Exception]) -> int:
    text.decode(text.encode(b"what is learned once is no cost of this file"))
    tracemalloc.start()
    try:
        with pytest.raises(error):
            read(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("lines", "streams", "error"),
    [
        (b"w 65536,65536 R4 5\n", ONE + b"\x20\0\0", InvalidInput),
        (b"w 0,1073741824,1073741824 nk3 8\n", BOOK + bytes(2), InvalidInput),
        (b"w 16777216 nk3 8\n", BOOK + bytes(2), IntegrityError),
        (b"w 16777216 sfp32 8\n", bytes(8), IntegrityError),
        (b"w 16777216 s4 8\n", ONE + bytes(6), IntegrityError),
        (b"w 16777216 n4c 8\n", bytes(8), IntegrityError),
        (b"w 2 nfp32 4611686018427387904\n", bytes(8), IntegrityError),
    ],
)
def test_a_claim_costs_no_memory(lines: bytes, streams: bytes, error: type[Exception]) -> None:
    before = pa.total_allocated_bytes()
    assert peak_bytes_of_refusal(crafted(lines, streams), error) < 3_000_000
    assert pa.total_allocated_bytes() == before


def test_a_frame_that_unpacks_to_more_than_its_shape_is_refused() -> None:
    frame = pa.Codec("zstd").compress(bytes(50_000_000), asbytes=True)[4:]
    data = crafted(f"w 20000 sfp32 {len(frame)}\n".encode(), frame)
    assert peak_bytes_of_refusal(data, IntegrityError) < 3_000_000


def test_a_header_of_too_many_lines_or_without_an_end_stays_within_its_limit() -> None:
    many = deflated(FIRST + b"w 2 nfp32 8\n" * 40_000)
    assert peak_bytes_of_refusal(sealed(groups(2 * len(many) + 1), many), IntegrityError) < 8 << 20
    endless = np.random.default_rng(0).integers(1, 256, 30_000, np.uint8).tobytes()
    assert peak_bytes_of_refusal(sealed(groups(2 * len(endless)), endless), IntegrityError) < 64 << 20


@pytest.mark.parametrize(
    ("kind", "coder"),
    [("raw", "zstd"), ("quantized", "range2"), ("codebook", "range2"), ("codebook", "none")],
)
def test_reading_needs_at_most_16_bytes_for_each_number(kind: str, coder: str) -> None:
    count = 150_000
    zeros = np.zeros(count, np.uint8)
    numbers: dict[str, Coded] = {
        "raw": Raw(np.zeros(count)),
        "quantized": Quantized(zeros.astype(np.int8), np.array(1, np.float16), 4),
        "codebook": Codebook(zeros, np.arange(9, dtype=np.float16)),
    }
    data = write(Component(use="mlp"), {"w": numbers[kind]}, coders={"w": coder})
    tracemalloc.start()
    read(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Beside the numbers: the stream cut out of the file, a segment as lists, what the models learned.
    assert peak < 16 * count + len(data) + 2_500_000


def test_breakdown_refuses_what_read_refuses(network: bytes) -> None:
    assert sum(breakdown(network).values()) == len(network)
    with pytest.raises(IntegrityError):
        breakdown(network[:-1])
