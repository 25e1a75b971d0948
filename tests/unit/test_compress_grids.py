import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raymaas.bundle.rmz.tensors import Quantized
from raymaas.compress.grids import Grid, grid_for

NUMBERS = st.floats(-100, 100, width=32)
WEIGHTS = arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=NUMBERS)


def normal() -> torch.Tensor:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    return weight


@given(WEIGHTS, st.sampled_from(["symmetric", "uniform"]), st.integers(2, 8), st.booleans())
def test_a_file_decodes_to_the_very_numbers_of_the_grid(values, name, bits, per_channel) -> None:
    weight = torch.tensor(values)
    grid = grid_for(weight, name, bits=bits, per_channel=per_channel)
    kept = Quantized(grid.levels(weight), grid.kept_scale(), bits, grid.zero_point.to(torch.int8).numpy())

    np.testing.assert_array_equal(kept.dense(), grid.value(weight).numpy())
    np.testing.assert_array_equal(grid.levels(grid.value(weight)), grid.levels(weight))
    np.testing.assert_array_equal(grid.value(torch.zeros_like(weight)).numpy(), 0)


@pytest.mark.parametrize("per_channel", [False, True])
def test_symmetric_scales_clip_where_that_costs_least(per_channel: bool) -> None:
    weight = normal()
    grid = grid_for(weight, "symmetric", bits=3, per_channel=per_channel)
    largest = weight.abs().max() / 3

    assert grid.scale.shape == ((6,) if per_channel else ())
    assert (grid.low, grid.high) == (-3, 3)
    clipped, naive = (grid.value(weight) - weight, (weight / largest).round() * largest - weight)
    assert clipped.square().sum() < naive.square().sum()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_uniform_grid_uses_all_its_levels_from_the_least_weight_to_the_greatest(bits: int) -> None:
    weight = torch.linspace(-1, 3, 4001)
    grid = grid_for(weight, "uniform", bits=bits, per_channel=False)

    levels = grid.levels(weight)
    assert len(np.unique(levels)) == 2**bits
    paper = torch.round((weight + 1) / 4 * (2**bits - 1))
    assert (torch.tensor(levels).int() - grid.low - paper).abs().max() <= 1
    assert (grid.value(weight) - weight).abs().max() <= 1.01 * float(grid.scale)


@pytest.mark.parametrize("name", ["symmetric", "uniform"])
@pytest.mark.parametrize("size", [1e-7, 3e7])
def test_weights_beyond_half_precision_keep_their_size(name, size: float) -> None:
    weight = normal() * size
    grid = grid_for(weight, name, bits=8, per_channel=True)

    assert grid.kept_scale().dtype == np.float32
    torch.testing.assert_close(grid.value(weight), weight, rtol=0, atol=0.05 * size)


@pytest.mark.parametrize("name", ["symmetric", "uniform"])
@pytest.mark.parametrize("constant", [0.0, 2.0, -0.5])
def test_weights_that_are_all_the_same_keep_their_value(name, constant: float) -> None:
    weight = torch.full((3, 4), constant)
    grid = grid_for(weight, name, bits=4, per_channel=True)

    torch.testing.assert_close(grid.value(weight), weight, rtol=1e-3, atol=0)


def test_the_gradient_goes_straight_through_within_the_levels_and_stops_beyond() -> None:
    grid = Grid(torch.tensor(0.5), torch.tensor(0.0), -1, 1)
    weight = torch.tensor([0.3, -0.74, 50.0, -0.76])

    assert grid.gradient(weight, torch.full((4,), 2.0)).tolist() == [2.0, 2.0, 0.0, 0.0]
