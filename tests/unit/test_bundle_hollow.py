"""Hollow graphs: what the coded weights hold is not in them, filling gives the graph back, and lies are refused."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import orjson
import pytest
from onnx import TensorProto, helper, numpy_helper

from raymaas.bundle.hollow import TABLE, filled, parsed
from raymaas.bundle.hollowing import hollowed
from raymaas.bundle.rmz.tensors import Codebook, Coded, Quantized, Raw
from raymaas.errors import IntegrityError

FLIPS = 3000

draw = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return draw.normal(size=shape).astype(np.float32)


def levels(*shape: int) -> np.ndarray:
    return draw.integers(-8, 8, shape).astype(np.int8)


TENSORS: dict[str, Coded] = {
    "dense": Raw(floats(20, 30)),
    "cells": Raw(floats(24, 10)),
    "bias": Raw(floats(48)),
    "grid": Quantized(levels(40, 20), floats(40) ** 2 + 1e-3, bits=4),
    "book": Codebook(draw.integers(0, 5, (12, 8)).astype(np.uint8), np.arange(-2, 3).astype(np.float16)),
    "off": Quantized(levels(16, 3, 3), np.float32(0.25), bits=4, zero_point=np.array(-3, np.int8)),
}


def rounded(weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(weights / scale[:, None]), -128, 127).astype(np.int8)


def full(**initializers: np.ndarray) -> bytes:
    """A graph that holds them; what it would compute does not matter here."""
    kept = [numpy_helper.from_array(array, name) for name, array in initializers.items()]
    graph = helper.make_graph([], "g", [], [], initializer=kept)
    return helper.make_model(graph, producer_name="test").SerializeToString(deterministic=True)


def values(graph: bytes) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in parsed(graph).graph.initializer}


CELLS, SCALE = TENSORS["cells"].dense(), (np.abs(TENSORS["dense"].dense()).max(axis=1) / 127)


@pytest.mark.parametrize(
    "initializers",
    [
        {"w": TENSORS["dense"].dense()},
        {"w": np.ascontiguousarray(TENSORS["dense"].dense().T)},
        {"w": TENSORS["off"].dense().reshape(16, 1, 9)},
        {"w": TENSORS["book"].dense()},
        {"gates": np.concatenate([CELLS[8:16], CELLS[:8], CELLS[16:]])[None]},
        {"biases": np.concatenate([TENSORS["bias"].dense()[24:], TENSORS["bias"].dense()[:24]])[None]},
        {"w_quantized": TENSORS["grid"].levels, "w_scale": TENSORS["grid"].scale},
        {"w_quantized": np.ascontiguousarray(TENSORS["grid"].levels.T)},
        {"w_quantized": TENSORS["off"].centred().astype(np.int8), "z": np.zeros(200, np.int8)},
    ],
    ids=[
        "dense",
        "transposed",
        "shaped",
        "book",
        "gates",
        "biases",
        "levels",
        "levels transposed",
        "centred",
    ],
)
def test_what_the_coded_weights_hold_is_taken_out_and_comes_back_byte_for_byte(initializers) -> None:
    graph = full(**initializers)

    hollow = hollowed(graph, TENSORS)

    assert all(not each.raw_data for each in parsed(hollow).graph.initializer)
    assert len(hollow) < 400
    assert filled(hollow, TENSORS) == graph


def test_weights_without_a_grid_are_rounded_to_the_graphs_own_scales() -> None:
    graph = full(w_quantized=rounded(TENSORS["dense"].dense(), SCALE), w_scale=SCALE)

    hollow = hollowed(graph, TENSORS)

    assert values(filled(hollow, TENSORS))["w_quantized"].any()
    assert filled(hollow, TENSORS) == graph
    assert len(hollow) < 300


def test_what_they_do_not_hold_stays() -> None:
    strange = floats(20, 30)
    graph = full(strange=strange, w=TENSORS["dense"].dense(), small=np.ones(3, np.float32))

    hollow = hollowed(graph, TENSORS)

    assert filled(hollow, TENSORS) == graph
    assert np.array_equal(values(filled(hollow, TENSORS))["strange"], strange)
    assert len(hollow) > strange.nbytes


def test_a_graph_that_is_not_hollow_is_left_as_it_is() -> None:
    graph = full(w=TENSORS["dense"].dense())

    assert filled(graph, {}) == graph


def test_other_weights_of_the_same_shapes_make_another_graph() -> None:
    """So a file that is not the version's own is found by its probes, as any other weights are."""
    hollow = hollowed(full(w=TENSORS["dense"].dense()), TENSORS)
    other = TENSORS | {"dense": Raw(floats(20, 30))}

    assert np.array_equal(values(filled(hollow, other))["w"], other["dense"].dense())


def hostile(line: dict[str, object], *, change: Callable[[Any], None] = lambda proto: None) -> bytes:
    """A graph with an empty initializer `w` of 20 x 30 floats, and a table of one line."""
    proto = parsed(full(w=TENSORS["dense"].dense(), s=np.zeros(20, np.float32)))
    proto.graph.initializer[0].ClearField("raw_data")
    change(proto)
    told = {"initializer": "w", "form": "dense", "pieces": [["dense", 0, 20]]} | line
    proto.metadata_props.add(key=TABLE, value=orjson.dumps([told]).decode())
    return proto.SerializeToString()


def huge(proto: Any) -> None:
    proto.graph.initializer[0].dims[:] = [1 << 40, 1 << 40]


def negative(proto: Any) -> None:
    proto.graph.initializer[0].dims[:] = [-20, -30]


def nothing(proto: Any) -> None:
    proto.graph.initializer[0].dims[:] = [0, 30]


def tiny_scale(proto: Any) -> None:
    integers(proto)
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full(20, 1e-45, np.float32), "s"))


def elsewhere(proto: Any) -> None:
    initializer = proto.graph.initializer[0]
    initializer.data_location = TensorProto.EXTERNAL
    initializer.external_data.add(key="location", value="../secret")


def integers(proto: Any) -> None:
    proto.graph.initializer[0].data_type = TensorProto.INT8


def scale_elsewhere(proto: Any) -> None:
    integers(proto)
    scale = proto.graph.initializer[1]
    scale.ClearField("raw_data")
    scale.data_location = TensorProto.EXTERNAL
    scale.external_data.add(key="location", value="/etc/hostname")


def doubled(proto: Any) -> None:
    proto.metadata_props.add(key=TABLE, value="[]")


LIES = {
    "unknown initializer": ({"initializer": "v"}, None),
    "an initializer that is full": ({"initializer": "s", "pieces": [["bias", 0, 20]]}, None),
    "unknown tensor": ({"pieces": [["strange", 0, 20]]}, None),
    "rows there are not": ({"pieces": [["dense", 0, 21]]}, None),
    "rows backwards": ({"pieces": [["dense", 20, 0]]}, None),
    "too few numbers": ({"pieces": [["dense", 0, 10]]}, None),
    "far too many pieces": ({"pieces": [["dense", 0, 20]] * 100_000}, None),
    "rows of several lengths": ({"pieces": [["cells", 0, 24], ["dense", 0, 12]]}, None),
    "no such form": ({"form": "secret"}, None),
    "levels of what has none": ({"form": "levels"}, integers),
    "another type": ({}, integers),
    "a scale there is not": ({"form": "rounded", "scale": "t"}, integers),
    "a scale of zeros": ({"form": "rounded", "scale": "s"}, integers),
    "a scale in a file elsewhere": ({"form": "rounded", "scale": "s"}, scale_elsewhere),
    "huge": ({}, huge),
    "huge zeros": (
        {"form": "zeros", "pieces": []},
        lambda proto: (integers(proto), huge(proto)),
    ),
    "negative": ({}, negative),
    "negative zeros": (
        {"form": "zeros", "pieces": []},
        lambda proto: (integers(proto), negative(proto)),
    ),
    "no rows of huge ones": (
        {"form": "zeros", "pieces": []},
        lambda proto: (integers(proto), huge(proto), proto.graph.initializer[0].dims.append(0)),
    ),
    "nothing": ({"pieces": []}, nothing),
    "a scale that makes them infinite": ({"form": "rounded", "scale": "s"}, tiny_scale),
    "a file elsewhere": ({}, elsewhere),
    "two tables": ({}, doubled),
    "another field": ({"run": "rm"}, None),
}


@pytest.mark.parametrize(("line", "change"), LIES.values(), ids=LIES.keys())
def test_a_table_that_does_not_fit_is_refused(line: dict[str, object], change: Any) -> None:
    graph = hostile(line, change=change) if change else hostile(line)
    with pytest.raises(IntegrityError, match="hollow graph"):
        filled(graph, TENSORS)


def test_a_table_that_uses_the_weights_over_and_over_is_refused() -> None:
    proto = parsed(full(**{f"w{number}": TENSORS["dense"].dense() for number in range(40)}))
    lines = []
    for initializer in proto.graph.initializer:
        initializer.ClearField("raw_data")
        lines.append({"initializer": initializer.name, "form": "dense", "pieces": [["dense", 0, 20]]})
    proto.metadata_props.add(key=TABLE, value=orjson.dumps(lines).decode())
    with pytest.raises(IntegrityError, match="too often"):
        filled(proto.SerializeToString(), TENSORS)


def test_a_tensor_in_many_pieces_takes_memory_once() -> None:
    weights = Quantized(np.ones((500, 200), np.int8), np.float32(0.25), bits=4)
    proto = parsed(full(w=weights.dense()))
    proto.graph.initializer[0].ClearField("raw_data")
    line = {"initializer": "w", "form": "dense", "pieces": [["grid", row, row + 1] for row in range(500)]}
    proto.metadata_props.add(key=TABLE, value=orjson.dumps([line]).decode())
    tracemalloc.start()
    try:
        filled(proto.SerializeToString(), {"grid": weights})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * weights.dense().nbytes


@pytest.mark.parametrize("damaged", [b"not a graph", full(w=floats(4, 4))[:-30]])
def test_bytes_that_are_no_graph_are_refused(damaged: bytes) -> None:
    with pytest.raises(IntegrityError, match="ONNX graph cannot be read"):
        filled(damaged, TENSORS)


@pytest.mark.parametrize("table", ["{", "3", '[["w"]]', '{"w": 1}', '[{"initializer": "w"}]'])
def test_a_table_that_is_none_is_refused(table: str) -> None:
    proto = onnx.ModelProto()
    proto.metadata_props.add(key=TABLE, value=table)
    with pytest.raises(IntegrityError, match="malformed"):
        filled(proto.SerializeToString(), TENSORS)


def test_whatever_bytes_are_flipped_the_graph_is_filled_or_refused() -> None:
    whole = full(
        w=np.ascontiguousarray(TENSORS["dense"].dense().T),
        q_quantized=rounded(TENSORS["dense"].dense(), SCALE),
        q_scale=SCALE,
        w_quantized=TENSORS["grid"].levels,
        w_scale=TENSORS["grid"].scale,
        z=np.zeros(200, np.int8),
    )
    hollow = np.frombuffer(hollowed(whole, TENSORS), np.uint8)
    for seed in range(FLIPS):
        chance, flipped = np.random.default_rng(seed), hollow.copy()
        for place in chance.integers(len(hollow), size=chance.integers(1, 4)):
            flipped[place] ^= 1 << int(chance.integers(8))
        with contextlib.suppress(IntegrityError):
            assert len(filled(flipped.tobytes(), TENSORS)) < 2 * len(whole)
