"""The second level coder gives back what it was given, and gains where weights resemble their neighbours."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaas.bundle.rmz import levels, neighbours
from raymaas.bundle.rmz.mixing import Mixer, Weights
from raymaas.bundle.rmz.rangecoder import CERTAIN, SLOWEST, Coder, Decoder, Encoder, Odds
from raymaas.errors import IntegrityError


def pictures(rows: int, *, side: int, seed: int) -> np.ndarray:
    """Levels [rows, side * side]: in each row a few blobs of one sign, on a frame that is always empty."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    kept = np.zeros((rows, side, side))
    for picture in kept:
        for _ in range(3):
            near = (y - rng.integers(5, side - 5)) ** 2 + (x - rng.integers(5, side - 5)) ** 2 < 9
            picture += near * (rng.random((side, side)) < 0.5) * rng.choice([-2, -1, 1, 2])
    return kept.reshape(rows, -1).clip(-3, 3).astype(np.int16)


@given(
    most=st.sampled_from([1, 2, 3, 7, 8, 100, 255]),
    shape=st.lists(st.integers(0, 14), max_size=4).map(tuple),
    density=st.sampled_from([0.0, 0.03, 0.3, 1.0]),
    dead=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_levels_come_back(most: int, shape: tuple[int, ...], density: float, dead: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = np.asarray(rng.integers(-most, most + 1, shape) * (rng.random(shape) < density), np.int16)
    if array.ndim > 1:
        array[:, rng.random(shape[1]) < dead] = 0
        array[rng.random(shape[0]) < dead] = 0
    stream = neighbours.encode(array, shape=shape)
    assert np.array_equal(neighbours.decode(stream, shape=shape), array.reshape(-1))


@pytest.mark.parametrize("shape", [(1,), (9000,), (3, 5000), (40, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("value", [-255, 0, 1])
def test_constant_levels_come_back_small(value: int, shape: tuple[int, ...]) -> None:
    array = np.full(shape, value, np.int16)
    stream = neighbours.encode(array, shape=shape)
    assert np.array_equal(neighbours.decode(stream, shape=shape), array.reshape(-1))
    assert len(stream) < 64


@pytest.mark.parametrize("side", [20, 70])
def test_pictures_cost_a_sixth_less_than_with_the_first_coder_and_come_back(side: int) -> None:
    array = pictures(40, side=side, seed=0)
    stream = neighbours.encode(array, shape=array.shape)
    assert np.array_equal(neighbours.decode(stream, shape=array.shape), array.reshape(-1))
    assert stream[2] == side  # the length of a line was found
    assert len(stream) < 0.83 * len(levels.encode(array, shape=array.shape))


def test_the_stream_is_that_of_format_2_for_ever() -> None:
    """Of a matrix with neighbours in two segments, dead lines and wide levels, by what this coder first wrote."""
    y, x = np.mgrid[:70, :70]
    blobs = [((y - 9 - 4 * n) ** 2 + (x - 60 + 4 * n) ** 2 < 9 * n) * (9 * n - 40) for n in range(12)]
    array = np.reshape(blobs, (12, 4900)).astype(np.int16)
    stream = neighbours.encode(array, shape=array.shape)
    assert stream[2] == 70
    assert hashlib.sha256(stream).hexdigest()[:16] == "4beb50e48a23e765"


def test_a_kernel_resembles_itself_in_every_channel() -> None:
    kernels = pictures(30 * 16, side=15, seed=1).reshape(30, 16, 15, 15)[:, :, 5:10, 5:10]
    stream = neighbours.encode(kernels, shape=kernels.shape)
    assert np.array_equal(neighbours.decode(stream, shape=kernels.shape), kernels.reshape(-1))
    assert stream[2] % 5 == 0
    assert len(stream) < len(levels.encode(kernels, shape=kernels.shape))


def test_without_neighbours_there_is_no_lag_and_little_is_lost() -> None:
    rng = np.random.default_rng(0)
    array = (rng.choice([-3, -2, -1, 1, 2, 3], (100, 300)) * (rng.random((100, 300)) < 0.08)).astype(np.int16)
    stream = neighbours.encode(array, shape=array.shape)
    assert stream[2] == 0
    assert len(stream) < 1.005 * len(levels.encode(array, shape=array.shape))


def test_columns_and_rows_that_died_cost_next_to_nothing() -> None:
    rng = np.random.default_rng(0)
    small = (rng.choice([-1, 1], (30, 40)) * (rng.random((30, 40)) < 0.4)).astype(np.int16)
    large = np.zeros((300, 400), np.int16)
    large[100:130, 200:240] = small
    stream = neighbours.encode(large, shape=large.shape)
    assert np.array_equal(neighbours.decode(stream, shape=large.shape), large.reshape(-1))
    assert len(stream) < len(neighbours.encode(small, shape=small.shape)) + 30


def test_columns_of_large_weights_make_magnitudes_cheap() -> None:
    rng = np.random.default_rng(0)
    each = np.where(rng.random(200) < 0.5, 7, 1)
    array = (each * rng.choice([-1, 1], (60, 200))).astype(np.int16)
    mixed: np.ndarray = rng.permuted(array, axis=1)
    assert len(neighbours.encode(array, shape=array.shape)) < 0.85 * len(
        neighbours.encode(mixed, shape=mixed.shape)
    )


@given(stream=st.binary(max_size=60), shape=st.sampled_from([(), (7,), (0,), (12, 9), (4, 2, 3), (9, 600)]))
def test_any_bytes_decode_to_levels_in_range_or_are_refused(stream: bytes, shape: tuple[int, ...]) -> None:
    try:
        decoded = neighbours.decode(stream, shape=shape)
    except IntegrityError:
        return
    assert decoded.size == np.prod(shape)
    assert abs(decoded).max(initial=0) <= 255


@pytest.mark.parametrize("head", [b"", b"\x40\0", b"\xff\0\0", b"\x40\x10\0", b"\x40\0\1"])
def test_a_head_that_makes_no_sense_is_refused(head: bytes) -> None:
    with pytest.raises(IntegrityError, match="density, top and lag"):
        neighbours.decode(head, shape=(3, 9))


@given(
    decisions=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 1), st.integers(0, 1)), max_size=300
    ),
    p=st.integers(1, CERTAIN - 1),
    divisor=st.integers(2, SLOWEST),
)
def test_mixed_decisions_come_back_at_any_odds(
    decisions: list[tuple[int, int, int, int]], p: int, divisor: int
) -> None:
    def mixer(make: type[Encoder] | None, stream: bytes = b"") -> tuple[Coder, Mixer]:
        odds = Odds(4)
        odds.p[0], odds.divisor[0] = p, divisor
        coder: Coder = make(odds) if make else Decoder(odds, stream)
        return coder, Mixer(coder, odds, Weights(2))

    encoder, writing = mixer(Encoder)
    for one, other, chosen, bit in decisions:
        assert writing.code(one, other, chosen, bit) == bit
    assert isinstance(encoder, Encoder)
    decoder, reading = mixer(None, encoder.finish())
    assert [reading.code(one, other, chosen, 0) for one, other, chosen, _ in decisions] == [
        bit for *_, bit in decisions
    ]
    assert isinstance(decoder, Decoder)
    decoder.finish()


def test_the_mixture_learns_which_of_two_to_believe() -> None:
    """One context knows the bit nine times in ten, the other is noise: the mixture costs as much as the first alone."""
    rng = np.random.default_rng(0)
    told, noise = rng.integers(0, 2, 20_000), rng.integers(0, 2, 20_000)
    bits = np.where(rng.random(20_000) < 0.9, told, 1 - told)
    odds = Odds(4)
    encoder = Encoder(odds)
    mixer = Mixer(encoder, odds, Weights(1))
    for one, other, bit in zip(told.tolist(), noise.tolist(), bits.tolist(), strict=True):
        mixer.code(one, 2 + other, 0, bit)
    least = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1)) * 20_000 / 8
    assert len(encoder.finish()) < 1.01 * least
