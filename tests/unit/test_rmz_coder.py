"""The entropy coder gives back what it was given, whatever that is, and is worth its time."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaas.bundle.rmz import bits, levels
from raymaas.bundle.rmz.rangecoder import CERTAIN, SLOWEST, Decoder, Encoder, Odds
from raymaas.errors import IntegrityError


def biased_odds(p: int, divisor: int) -> Odds:
    odds = Odds(3)
    odds.p[0], odds.divisor[0] = p, divisor
    return odds


@given(
    decisions=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=400),
    p=st.integers(1, CERTAIN - 1),
    divisor=st.integers(2, SLOWEST),
)
def test_decisions_come_back_at_any_odds(decisions: list[tuple[int, int]], p: int, divisor: int) -> None:
    encoder = Encoder(biased_odds(p, divisor))
    for context, bit in decisions:
        assert encoder.code(context, bit) == bit
    decoder = Decoder(biased_odds(p, divisor), encoder.finish())
    assert [decoder.code(context, 0) for context, _ in decisions] == [bit for _, bit in decisions]
    decoder.finish()


@pytest.mark.parametrize("seed", range(8))
def test_long_runs_of_unlikely_decisions_carry_through_bytes_already_written(seed: int) -> None:
    # Zeros push the low end up against the top of its interval, which is where carries run through 0xFF bytes.
    rng = np.random.default_rng(seed)
    decisions = (rng.random(30_000) < rng.choice([0.0005, 0.5, 0.9995], 30_000)).astype(int).tolist()
    encoder = Encoder(Odds(1))
    for bit in decisions:
        encoder.code(0, bit)
    decoder = Decoder(Odds(1), encoder.finish())
    assert [decoder.code(0, 0) for _ in decisions] == decisions


def test_likely_decisions_cost_next_to_nothing() -> None:
    encoder = Encoder(Odds(1))
    for _ in range(100_000):
        encoder.code(0, 0)
    assert len(encoder.finish()) < 20


def test_what_follows_the_last_decision_is_refused() -> None:
    encoder = Encoder(Odds(1))
    for bit in [1, 0, 0, 1, 1, 1, 0, 1] * 10:
        encoder.code(0, bit)
    decoder = Decoder(Odds(1), encoder.finish() + b"\1\2\3\4\5")
    for _ in range(80):
        decoder.code(0, 0)
    with pytest.raises(IntegrityError, match="left over"):
        decoder.finish()


@given(
    width=st.integers(1, 8),
    shape=st.lists(st.integers(0, 12), max_size=4).map(tuple),
    density=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_levels_come_back_from_packing_and_from_the_model(
    width: int, shape: tuple[int, ...], density: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    half = 1 << (width - 1)
    array = rng.integers(-half, half, shape, dtype=np.int16) * (rng.random(shape) < density)
    array = np.asarray(array, np.int16)
    packed = bits.pack(array.reshape(-1), bits=width)
    assert len(packed) == bits.packed_bytes(array.size, bits=width)
    assert np.array_equal(bits.unpack(packed, count=array.size, bits=width), array.reshape(-1))
    assert np.array_equal(levels.decode(levels.encode(array, shape=shape), shape=shape), array.reshape(-1))


@pytest.mark.parametrize("value", [-255, -128, -1, 0, 1, 127, 255])
@pytest.mark.parametrize("shape", [(1,), (9000,), (3, 5000), (40, 3), (2, 3, 4, 5)])
def test_constant_levels_come_back_small(value: int, shape: tuple[int, ...]) -> None:
    array = np.full(shape, value, np.int16)
    stream = levels.encode(array, shape=shape)
    assert np.array_equal(levels.decode(stream, shape=shape), array.reshape(-1))
    assert len(stream) < 64


def test_one_level_in_a_desert_comes_back() -> None:
    array = np.zeros((300, 784), np.int16)
    array[299, 783] = -255
    stream = levels.encode(array, shape=array.shape)
    assert np.array_equal(levels.decode(stream, shape=array.shape), array.reshape(-1))
    assert len(stream) < 30


@given(stream=st.binary(max_size=60), shape=st.sampled_from([(), (7,), (0,), (12, 9), (4, 2, 3)]))
def test_any_bytes_decode_to_levels_in_range_or_are_refused(stream: bytes, shape: tuple[int, ...]) -> None:
    try:
        decoded = levels.decode(stream, shape=shape)
    except IntegrityError:
        return
    assert decoded.size == np.prod(shape)
    assert abs(decoded).max(initial=0) <= 255


def pruned_gaussian(shape: tuple[int, int], *, sparsity: float, seed: int) -> np.ndarray:
    weights = np.random.default_rng(seed).standard_normal(shape)
    weights[abs(weights) < np.quantile(abs(weights), sparsity)] = 0
    levels: np.ndarray = np.round(weights * 7 / abs(weights).max()).astype(np.int16)
    return levels


@pytest.mark.parametrize("sparsity", [0.9, 0.95])
def test_pruned_weights_come_within_two_percent_of_their_entropy_and_far_below_zlib(sparsity: float) -> None:
    array = pruned_gaussian((100, 300), sparsity=sparsity, seed=0)
    stream = levels.encode(array, shape=array.shape)
    _, counts = np.unique(array, return_counts=True)
    entropy_bytes = -float(np.sum(counts * np.log2(counts / array.size))) / 8
    assert len(stream) < 1.02 * entropy_bytes
    assert len(zlib.compress(array.astype(np.int8).tobytes(), 9)) > 1.3 * len(stream)


def test_weights_gathered_in_few_rows_and_columns_cost_less_than_scattered_ones() -> None:
    rng = np.random.default_rng(0)
    alive = np.outer(rng.random(120) < 0.3, rng.random(200) < 0.3) & (rng.random((120, 200)) < 0.6)
    array = np.where(alive, rng.choice([-2, -1, 1, 2], alive.shape), 0).astype(np.int16)
    scattered = rng.permutation(array.reshape(-1)).reshape(array.shape)
    gathered_bytes = len(levels.encode(array, shape=array.shape))
    assert gathered_bytes < 0.75 * len(levels.encode(scattered, shape=array.shape))


def test_packing_refuses_a_wrong_length_and_a_set_filling() -> None:
    packed = bits.pack(np.array([1, -2, 3], np.int8), bits=3)
    with pytest.raises(IntegrityError, match="cannot be"):
        bits.unpack(packed + b"\0", count=3, bits=3)
    with pytest.raises(IntegrityError, match="filling"):
        bits.unpack(packed[:-1] + bytes([packed[-1] | 1]), count=3, bits=3)
