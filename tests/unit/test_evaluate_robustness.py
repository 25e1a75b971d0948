"""Disturbed rows: what is done to them, how much, and that it does not depend on the blocks they come in."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.evaluate.robustness import FILLED, MISSING, NOISE, Disturbance, disturbances, shifted
from raymaas.evaluate.spread import spreads

Inputs = Mapping[str, np.ndarray]


def cut(inputs: Inputs, *places: int) -> list[dict[str, np.ndarray]]:
    rows = len(next(iter(inputs.values())))
    bounds = [0, *places, rows]
    return [{name: values[a:b] for name, values in inputs.items()} for a, b in pairwise(bounds)]


def disturbed(
    inputs: Inputs, *places: int, nullable: frozenset[str] = frozenset()
) -> list[tuple[Disturbance, Inputs]]:
    """Each disturbance and all rows after it, when they come in blocks that are cut there."""
    blocks, made = cut(inputs, *places), []
    for one in disturbances(spreads(blocks), nullable=nullable):
        change = one.begin()
        changed = [change(block) for block in blocks]
        made.append((one, {name: np.concatenate([block[name] for block in changed]) for name in inputs}))
    return made


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 17, (50, 8, 8)).astype(np.float32)


def table() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    age = draw.normal(3, 2, 400).astype(np.float32)
    age[::7] = np.nan
    return {
        "age": age,
        "height": draw.normal(3, 2, (400, 5)).astype(np.float32),
        "town": np.array(["a", None] * 200, dtype=object),
    }


def test_images_get_noise_brightness_and_shifts_and_stay_within_their_range() -> None:
    x_NHW = images()
    made = [(one, inputs["x"]) for one, inputs in disturbed({"x": x_NHW})]
    assert len(made) == 9
    assert len({one.disturbance for one, _ in made}) == 3
    for _, changed_NHW in made:
        assert (changed_NHW.dtype, changed_NHW.shape) == (np.float32, x_NHW.shape)
        assert changed_NHW.min() >= 0
        assert changed_NHW.max() <= 16
    noise = [np.abs(changed_NHW - x_NHW).mean() for _, changed_NHW in made[:3]]
    assert noise == sorted(noise)
    assert noise[0] > 0
    np.testing.assert_allclose(made[3][1], x_NHW * 0.5)


@pytest.mark.parametrize("places", [(1,), (13, 13, 30)])
def test_the_blocks_that_rows_come_in_change_nothing(places: tuple[int, ...]) -> None:
    for inputs in ({"x": images()}, table()):
        nullable = frozenset({"age"})
        whole, blocks = (disturbed(inputs, *cuts, nullable=nullable) for cuts in ((), places))
        assert len(whole) == 9
        for (_, ours), (_, theirs) in zip(whole, blocks, strict=True):
            for name in inputs.keys() - {"town"}:
                np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


def test_tables_lose_values_where_they_may_and_else_get_their_columns_mean() -> None:
    inputs = table()
    had = ~np.isnan(inputs["age"])
    made = disturbed(inputs, nullable=frozenset({"age"}))
    assert all((changed["town"] == inputs["town"]).all() for _, changed in made)
    by_name = {
        name: [pair for pair in made if pair[0].disturbance == name] for name in (NOISE, MISSING, FILLED)
    }
    assert sum(map(len, by_name.values())) == len(made) == 9
    for one, changed in by_name[NOISE]:
        added = (changed["height"] - inputs["height"]).std(axis=0) / inputs["height"].std(axis=0)
        np.testing.assert_allclose(added, one.severity, rtol=0.15)
    for one, changed in by_name[MISSING]:
        assert np.isnan(changed["age"][had]).mean() == pytest.approx(one.severity, abs=0.06)
        np.testing.assert_array_equal(changed["height"], inputs["height"])
    for one, changed in by_name[FILLED]:
        lost = changed["height"] != inputs["height"]
        assert lost.mean() == pytest.approx(one.severity, abs=0.03)
        column = np.broadcast_to(inputs["height"].mean(axis=0), lost.shape)
        np.testing.assert_allclose(changed["height"][lost], column[lost], rtol=1e-5)
        np.testing.assert_array_equal(changed["age"], inputs["age"])


def test_spread_is_that_of_the_values_that_are_there() -> None:
    inputs = table()
    found = spreads(cut(inputs, 1, 200))
    assert set(found) == {"age", "height"}
    assert float(found["age"].mean) == pytest.approx(np.nanmean(inputs["age"]), rel=1e-6)
    assert float(found["age"].deviation) == pytest.approx(np.nanstd(inputs["age"]), rel=1e-6)
    np.testing.assert_allclose(found["height"].deviation, inputs["height"].std(axis=0, dtype=np.float64))
    assert (found["height"].least, found["height"].greatest) == (
        inputs["height"].min(),
        inputs["height"].max(),
    )
    nothing = spreads([{"a": np.full(3, np.nan, np.float32)}, {"a": np.float32([np.nan, 2, 4])}])["a"]
    assert (float(nothing.mean), float(nothing.deviation)) == (3, 1)


@given(st.integers(0, 12), st.integers(0, 5))
@settings(max_examples=30)
def test_a_shift_moves_each_image_to_one_side_and_fills_up(pixels: int, seed: int) -> None:
    x_NCHW = np.random.default_rng(seed).uniform(1, 2, (6, 2, 7, 9)).astype(np.float32)
    moved = shifted(x_NCHW, pixels, fill=-1, draw=np.random.default_rng(seed))
    for before, after in zip(x_NCHW, moved, strict=True):
        padded = np.pad(before, ((0, 0), (pixels, pixels), (pixels, pixels)), constant_values=-1)
        sides = [(pixels, 0), (pixels, 2 * pixels), (0, pixels), (2 * pixels, pixels)]
        assert any((padded[:, y : y + 7, x : x + 9] == after).all() for y, x in sides)
