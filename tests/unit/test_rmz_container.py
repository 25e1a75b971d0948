"""A coded file gives back exactly what it was written from, and says where its bytes go."""

import base64
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaas.bundle.rmz.container import breakdown, read, write
from raymaas.bundle.rmz.header import CoderName
from raymaas.bundle.rmz.streams import coders_for
from raymaas.bundle.rmz.tensors import RAW_TYPES, Codebook, Coded, Quantized, Raw
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Component

MLP = Component(use="mlp", config={"in_features": 64, "classes": 10, "hidden": [128]})

FORMAT_1 = """
Uk1aAXYAAADDmxSREx/+5IY3caH52dDEkBRvw1TgTgYovjUy0TExwB/8xnCnGJuS4pLEtLTMvFR84Y6SIIEuMTTDmyaNEA4hIVEW
wAoU4qLfSMcIZ3BALLfAyJhE5HuQgah5XgeW7TFMRStNgI4wM8FhbHFJakExSmEZWwsAHyEgI5AkkSWRJpInSSjJKEkpyilKKsoq
SivLKyUsZiymLOYsJi1mLaYt5i0mLmYuOQMBRKK23r3gqudSV+GhZIEtkuVTuZoKphmmc8nuZv36ptRMm7SV8pLUFSmmKE2iquXw
jRUO0havqALllzWg5Zo1nIk+IPPRc8qiZ+STBHz0XyJB/kxVkSw4y9FHAACAPgI5AQQz3fW2zIEpjsiaiWohrGMe+GWXSeB8i0KI
PWEAODljYBgFgwkAAAcAAAAAAAAAqGLn0q1z4jZsnV99M1pR/QoCuCdzh8qKLYyEGkMPlPo=
"""

FORMAT_2 = """
Uk1aAlKC1bz/ZNqM9Nt31uatroA8k/jO/3sJac3HPK2tp0Y1YcU1OOn2/8Ddfh8hPgkM2gqt4qLq4dVKGO5HrYGSPlPiQHnp+0ua
MtpoO0UP9CQmBDTbdfn70vYphsSTTHy0H8wQgknvbPU7YYsqQThJOMj55W75qq0/oKgGCgtEVCPPgxP/LawAyBHUfS1LJSVJ0Mre
+bVxIaqOgs6C5804d0Ltfpeu7wv5/M+8q+u2DcoYt3fLq0rLn0IAtncTEGIAugC4AAAANAA8YAkFKVSngIr6yxepAvxDUhcl1VMA
bmCAAcUAAIgAAEBAAADAvwAAgD5vEoM6AAEA2Uw1l5q2/zxvQzQIqLhsdtj70FhUdh0cdXALyRgfBIccoD50
"""


def assert_same(got: Coded, given: Coded) -> None:
    assert type(got) is type(given)
    arrays: list[tuple[np.ndarray | None, np.ndarray | None]]
    if isinstance(got, Raw):
        assert isinstance(given, Raw)
        arrays = [(got.array, given.array)]
    elif isinstance(got, Codebook):
        assert isinstance(given, Codebook)
        arrays = [(got.places, given.places), (got.values, given.values)]
    else:
        assert isinstance(given, Quantized)
        assert got.bits == given.bits
        arrays = [(got.levels, given.levels), (got.scale, given.scale), (got.zero_point, given.zero_point)]
    for mine, theirs in arrays:
        assert (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            assert (mine.dtype, mine.shape, mine.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())


def tensors_of_format_1() -> dict[str, Coded]:
    place = np.arange(24 * 40).reshape(24, 40)
    sparse = np.where(place * 2654435761 % 1009 < 90, place % 15 - 8, 0).astype(np.int8)
    shifted = np.where(place % 7 == 0, place % 3, 2).astype(np.int8)[:, :16]
    return {
        "range": Quantized(sparse, np.linspace(0.01, 0.1, 24).astype(np.float16), 4),
        "affine": Quantized(shifted, np.array(0.25, np.float32), 3, np.array(2, np.int8)),
        "packed": Quantized(np.array([[-2, 1], [0, -1]], np.int8), np.array(0.5, np.float16), 2),
        "zeros": Raw(np.zeros((10, 10), np.float32)),
        "steps": Raw(np.array(7, np.int64)),
    }


def test_a_file_of_format_1_from_the_past_is_read() -> None:
    got = read(base64.b64decode(FORMAT_1))
    assert got.architecture == MLP
    for name, tensor in tensors_of_format_1().items():
        assert_same(got.tensors[name], tensor)


def tensors_of_format_2() -> dict[str, Coded]:
    y, x = np.mgrid[:12, :12]
    blobs = [((y - 3 - n % 5) ** 2 + (x - 4 - n % 3) ** 2 < 6 + n % 4) * (n % 5 - 2) for n in range(24)]
    words = np.array([3.0, -1.5, 0.25, 1e-3] * 40, np.float32)
    return {
        "pictures": Quantized(np.reshape(blobs, (24, 144)).astype(np.int8), np.array(0.01, np.float16), 3),
        "book": Codebook(
            (np.arange(200).reshape(10, 20) * 7919 % 5).astype(np.uint8),
            np.array([-0.75, -0.5, 0, 0.25, 1], np.float16),
        ),
        "words": Raw(words),
    }


def test_a_file_of_format_2_from_the_past_is_read() -> None:
    data = base64.b64decode(FORMAT_2)
    got = read(data)
    assert data[3] == 2
    assert got.architecture == MLP
    for name, tensor in tensors_of_format_2().items():
        assert_same(got.tensors[name], tensor)


def test_what_needs_nothing_new_is_still_written_as_before() -> None:
    tensors = tensors_of_format_1()
    coders: dict[str, CoderName] = {
        "range": "range", "affine": "range", "packed": "none", "zeros": "zlib", "steps": "none"
    }  # fmt: skip
    assert write(MLP, tensors, coders=coders) == base64.b64decode(FORMAT_1)


def test_a_header_of_format_2_is_smaller_and_taken_where_coders_are_left_to_choose() -> None:
    one: Coded = Quantized(np.array([1, -2, 3], np.int8), np.array(1, np.float16), 3)
    old, new = write(MLP, {"head.bias": one}, coders={"head.bias": "none"}), write(MLP, {"head.bias": one})
    assert (old[3], new[3]) == (1, 2)
    assert len(new) < len(old)


SHAPES = st.one_of(
    st.sampled_from([(), (0,), (3, 0, 2), (1,), (8, 1, 3, 3)]),
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
)


@st.composite
def quantized(draw: st.DrawFn) -> Quantized:
    shape, bits = draw(SHAPES), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    half = 1 << (bits - 1)
    grid = draw(st.sampled_from([(), shape[:1]]))
    zero_point = draw(st.sampled_from([None, rng.integers(-half, half, grid).astype(np.int8)]))
    resting = np.zeros(grid, np.int8) if zero_point is None else zero_point
    resting = resting.reshape(resting.shape + (1,) * (len(shape) - resting.ndim))
    alive = rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    extreme = rng.choice([-half, half - 1], shape)
    filling = draw(st.sampled_from([extreme, rng.integers(-half, half, shape)]))
    return Quantized(
        levels=np.asarray(np.where(alive, filling, resting), np.int8),
        scale=np.asarray(rng.random(grid), draw(st.sampled_from([np.float16, np.float32]))),
        bits=bits,
        zero_point=zero_point,
    )


@st.composite
def raw(draw: st.DrawFn) -> Raw:
    shape, dtype = draw(SHAPES), draw(st.sampled_from(sorted(RAW_TYPES.values(), key=str)))
    count = int(np.prod(shape))
    # Any bytes at all, so also infinities and not-a-numbers with a payload.
    data = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return Raw(np.frombuffer(data, dtype).reshape(shape))


@st.composite
def codebook(draw: st.DrawFn) -> Codebook:
    shape, dtype = draw(SHAPES), draw(st.sampled_from([np.float16, np.float32]))
    width = 16 if dtype == np.float16 else 32
    number = st.floats(allow_nan=False, allow_infinity=False, width=width)
    most = draw(st.sampled_from([1, 7, 256]))
    values = np.array(sorted(draw(st.sets(number, min_size=1, max_size=most))), dtype)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rest = abs(values).argmin()
    alive = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 1.0]))
    places = np.where(alive, rng.integers(0, len(values), shape), rest)
    return Codebook(np.asarray(places, np.uint8), values)


@given(
    tensors=st.dictionaries(
        st.from_regex(r"[a-z0-9_.]{1,12}", fullmatch=True),
        st.one_of(quantized(), codebook(), raw()),
        max_size=4,
    )
)
def test_every_tensor_comes_back_bit_for_bit(tensors: dict[str, Coded]) -> None:
    data = write(MLP, tensors)
    got = read(data)
    assert got.architecture == MLP
    assert list(got.tensors) == list(tensors)
    for name, tensor in tensors.items():
        assert_same(got.tensors[name], tensor)
    assert write(MLP, tensors) == data
    assert sum(breakdown(data).values()) == len(data)


@given(tensor=st.one_of(quantized(), codebook(), raw()), data=st.data())
def test_every_coder_gives_the_same_back(tensor: Coded, data: st.DataObject) -> None:
    coder = data.draw(st.sampled_from(coders_for(tensor)))
    assert_same(read(write(MLP, {"w": tensor}, coders={"w": coder})).tensors["w"], tensor)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("sparsity", [0, 0.5, 0.97, 1])
def test_a_whole_layer_comes_back_at_every_width_and_sparsity(bits: int, sparsity: float) -> None:
    rng = np.random.default_rng(bits)
    half = 1 << (bits - 1)
    levels = rng.integers(-half, half, (100, 64)) * (rng.random((100, 64)) >= sparsity)
    layer = Quantized(levels.astype(np.int8), rng.random(100).astype(np.float16), bits)
    assert_same(read(write(MLP, {"hidden.0.weight": layer})).tensors["hidden.0.weight"], layer)


def test_the_smallest_coder_is_chosen() -> None:
    rng = np.random.default_rng(0)
    sparse = (rng.integers(-8, 8, (64, 64)) * (rng.random((64, 64)) < 0.1)).astype(np.int8)
    tensors: dict[str, Coded] = {
        "sparse": Quantized(sparse, np.array(0.1, np.float16), 4),
        "noise": Quantized(rng.integers(-128, 128, (64, 64), np.int8), np.array(0.1, np.float16), 8),
        "ramp": Raw(np.zeros(1000, np.float32)),
    }
    chosen = breakdown(write(MLP, tensors))
    for name, tensor in tensors.items():
        each = coders_for(tensor)
        alone = [breakdown(write(MLP, {name: tensor}, coders={name: c}))[f"tensors.{name}"] for c in each]
        assert chosen[f"tensors.{name}"] == min(alone)
    assert chosen["tensors.noise"] == 64 * 64 + 2


def test_a_small_network_pays_little_beside_its_weights() -> None:
    rng = np.random.default_rng(0)
    scale = np.array(0.01, np.float16)
    tensors: dict[str, Coded] = {}
    for name, shape in {"hidden.0": (300, 784), "hidden.1": (100, 300), "head": (10, 100)}.items():
        alive = rng.random(shape) < 0.02
        tensors[f"{name}.weight"] = Quantized((rng.choice([-1, 1], shape) * alive).astype(np.int8), scale, 3)
        tensors[f"{name}.bias"] = Quantized(rng.integers(-9, 9, shape[:1]).astype(np.int8), scale, 8)
    parts = breakdown(write(MLP, tensors))
    assert parts["header"] + parts["digests"] < 100


def test_weights_are_the_float32_product_of_level_and_scale() -> None:
    levels = np.array([[-4, 0, 3], [1, 2, -1]], np.int8)
    scale = np.array([0.1, 3e-5], np.float16)
    tensors: dict[str, Coded] = {
        "per_channel": Quantized(levels, scale, 3, np.array([1, -1], np.int8)),
        "half": Raw(np.array([0.1], np.float16)),
        "steps": Raw(np.array(7, np.int64)),
    }
    dense = read(write(MLP, tensors)).dense()
    expected = [
        [np.float32(scale[c]) * np.float32(int(level) - (1, -1)[c]) for level in levels[c]] for c in (0, 1)
    ]
    assert dense["per_channel"].dtype == np.float32
    assert np.array_equal(dense["per_channel"], np.array(expected, np.float32))
    assert dense["half"].dtype == np.float32
    assert dense["half"][0] == np.float32(np.float16(0.1))
    assert dense["steps"].dtype == np.int64
    assert int(dense["steps"]) == 7


def test_weights_of_a_codebook_are_its_very_values_and_rest_at_zero() -> None:
    book = Codebook(np.array([[2, 0], [1, 2]], np.uint8), np.array([-0.1, 0, 0.3], np.float16))
    assert book.dense().dtype == np.float32
    assert book.dense().tolist() == [[np.float16(0.3), np.float16(-0.1)], [0, np.float16(0.3)]]
    assert book.centred().tolist() == [[1, -1], [0, 1]]
    assert (book.bits, book.beside_bytes) == (2, 6)


def test_a_network_of_many_tensors_has_a_header_that_is_deflated() -> None:
    one: Coded = Quantized(np.zeros((2, 3), np.int8), np.array(1, np.float16), 4)
    tensors = {f"blocks.{n}.attention.out.weight": one for n in range(300)}
    data = write(MLP, tensors, coders=dict.fromkeys(tensors, "range2"))
    assert data[4] & 1
    assert list(read(data).tensors) == list(tensors)
    assert breakdown(data)["header"] < 7 * len(tensors)


def test_the_greatest_scale_stays_finite() -> None:
    top = Quantized(np.array([127], np.int8), np.array(2.0**120, np.float32), 8, np.array(-128, np.int8))
    assert np.isfinite(top.dense()).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Quantized(np.zeros(3, np.int8), np.array(np.nan, np.float32), 4), "every scale"),
        (lambda: Quantized(np.zeros(3, np.int8), np.array(np.inf, np.float16), 4), "every scale"),
        (lambda: Quantized(np.zeros(3, np.int8), np.array(-1, np.float16), 4), "every scale"),
        (lambda: Quantized(np.zeros(3, np.int8), np.ones(2, np.float16), 4), "shape"),
        (lambda: Quantized(np.zeros(3, np.int8), np.array(1.0), 4), "float64"),
        (lambda: Quantized(np.full(3, 8, np.int8), np.array(1, np.float16), 4), "lie in -8..7"),
        (lambda: Quantized(np.zeros(3, np.int32), np.array(1, np.float16), 4), "int8"),
        (lambda: Quantized(np.zeros(3, np.int8), np.array(1, np.float16), 9), "1 to 8 bits"),
        (
            lambda: Quantized(np.zeros(3, np.int8), np.array(1, np.float16), 4, np.zeros(3, np.int8)),
            "zero_point must have the shape",
        ),
        (lambda: Codebook(np.zeros(3, np.uint8), np.zeros(0, np.float16)), "1 to 256 numbers"),
        (lambda: Codebook(np.zeros(3, np.uint8), np.zeros((1, 1), np.float16)), "1 to 256 numbers"),
        (lambda: Codebook(np.zeros(3, np.uint8), np.arange(3)), "float16 or float32"),
        (
            lambda: Codebook(np.zeros(3, np.uint8), np.array([0, 0], np.float16)),
            "greater than the one before",
        ),
        (lambda: Codebook(np.zeros(3, np.uint8), np.array([0, np.inf], np.float16)), "finite"),
        (lambda: Codebook(np.zeros(3, np.int8), np.zeros(1, np.float16)), "uint8"),
        (
            lambda: Codebook(np.full(3, 2, np.uint8), np.arange(2, dtype=np.float16)),
            "place 2 is beyond the 2",
        ),
        (lambda: Raw(np.array(["a"])), "cast it"),
        (lambda: Raw(np.zeros(2, ">f4")), "cast it"),
    ],
)
def test_a_tensor_that_makes_no_sense_is_refused(make: Callable[[], Coded], sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        make()


def test_what_a_reader_would_refuse_is_not_written() -> None:
    one: Coded = Raw(np.zeros(1, np.float32))
    with pytest.raises(InvalidInput, match="name"):
        write(MLP, {"a/b": one})
    with pytest.raises(InvalidInput, match="name"):
        write(MLP, {"n" * 201: one})
    with pytest.raises(InvalidInput, match="shape"):
        write(MLP, {"deep": Raw(np.zeros((1,) * 9, np.float32))})
    with pytest.raises(InvalidInput, match="tensors"):
        write(MLP, {str(n): one for n in range(2049)})
    with pytest.raises(InvalidInput, match="takes none, zlib, zstd"):
        write(MLP, {"w": one}, coders={"w": "range"})
    with pytest.raises(InvalidInput, match="'v'"):
        write(MLP, {"w": one}, coders={"v": "zlib"})
    with pytest.raises(InvalidInput):
        write(Component.model_construct(use="mlp", config={"rate": float("nan")}), {})
    with pytest.raises(InvalidInput):
        write(Component(use="mlp", config={"n": 1 << 80}), {})
