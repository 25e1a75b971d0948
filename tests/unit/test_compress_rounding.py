"""Rounding by error and bits together, on grids and in codebooks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raymaas.compress.clusters import Clusters
from raymaas.compress.grids import CheapGrid, GridName, grid_for
from raymaas.compress.rounding import CheapRounding, cheap_rounding, code_bits


def pruned(rows: int = 30, columns: int = 50) -> torch.Tensor:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    return weight * (weight.abs() > 0.2)


def cost(weight: torch.Tensor, value: torch.Tensor, *, step: float, rate: float) -> float:
    """Squared steps and the bits of an ideal code, of all weights together."""
    _, places = value.unique(return_inverse=True)
    taken = torch.bincount(places.flatten())
    bits = float(-(taken * (taken / taken.sum()).log2()).sum())
    return float(((weight - value) / step).square().sum()) + rate * bits


@given(
    values=arrays(np.float32, 6, elements=st.integers(-40, 40), unique=True),
    costs=arrays(np.float32, 6, elements=st.floats(0, 90, width=16)),
    x=arrays(np.float32, 20, elements=st.floats(-60, 60, width=32)),
)
def test_every_number_goes_where_it_costs_least(values, costs, x) -> None:
    values_K, costs_K, x_N = torch.tensor(np.sort(values)), torch.tensor(costs), torch.tensor(x)
    places_N = CheapRounding(values_K, costs_K).places(x_N)
    all_NK = (x_N[:, None] - values_K).square() + costs_K
    chosen_N = all_NK.gather(1, places_N[:, None])[:, 0]
    torch.testing.assert_close(chosen_N, all_NK.amin(dim=1), rtol=1e-4, atol=1e-2)


def test_a_value_that_never_pays_is_left_out() -> None:
    rounding = CheapRounding(torch.arange(3.0), torch.tensor([0.0, 5.0, 0.0]))
    assert rounding.places_J.tolist() == [0, 2]
    assert rounding.places(torch.tensor([0.9, 1.1])).tolist() == [0, 2]


def test_bits_are_those_of_an_ideal_code() -> None:
    bits = code_bits(torch.tensor([0] * 7999 + [1] * 2000), 3)
    assert bits[:2].tolist() == pytest.approx([-np.log2(0.8), -np.log2(0.2)], abs=0.001)
    assert bits[2] > 14


@given(
    values=arrays(np.float32, (3, 5), elements=st.floats(-100, 100, width=32)),
    name=st.sampled_from(["symmetric", "uniform"]),
    per_channel=st.booleans(),
)
def test_a_rate_of_next_to_nothing_rounds_to_the_nearest(values, name: GridName, per_channel: bool) -> None:
    weight = torch.tensor(values)
    grid = grid_for(weight, name, bits=3, per_channel=per_channel)
    cheap = CheapGrid(grid, rate=1e-9).value(weight)
    # Halfway between two levels either is the nearest.
    torch.testing.assert_close(
        (cheap - weight).abs(), (grid.value(weight) - weight).abs(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", ["symmetric", "uniform"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_rate_lowers_error_and_bits_together_and_keeps_what_is_zero(
    name: GridName, per_channel: bool
) -> None:
    weight = pruned()
    grid = grid_for(weight, name, bits=4, per_channel=per_channel)
    cheap = CheapGrid(grid, rate=0.3)
    value = cheap.value(weight)

    assert (value[weight == 0] == 0).all()
    assert (value == 0).sum() > (grid.value(weight) == 0).sum()
    if not per_channel:
        step = float(grid.scale)
        assert cost(weight, value, step=step, rate=0.3) < cost(
            weight, grid.value(weight), step=step, rate=0.3
        )
    kept = cheap.kept(value)
    np.testing.assert_array_equal(kept.dense(), value.numpy())


def test_the_only_zero_stays_zero_whatever_it_costs() -> None:
    weight = 0.3 + 0.01 * torch.arange(200.0).view(10, 20)
    weight[3, 4] = 0
    grid = grid_for(weight, "symmetric", bits=8, per_channel=False)
    assert CheapGrid(grid, rate=1e4).value(weight)[3, 4] == 0


def test_bits_are_estimated_anew_only_when_that_is_due() -> None:
    first, later = pruned(), pruned() * 0.4
    cheap = CheapGrid(grid_for(first, "symmetric", bits=4, per_channel=False), rate=0.3)
    cheap.value(first)
    same = cheap.value(later)
    assert torch.equal(cheap.value(later), same)
    cheap.renew()
    assert not torch.equal(cheap.value(later), same)


def test_weights_far_apart_are_clustered_at_their_means() -> None:
    centres = torch.tensor([-2.0, -0.5, 0.75, 3.0])
    weight = centres[torch.arange(400) % 4].view(20, 20) + 0.01 * torch.randn(
        20, 20, generator=torch.Generator().manual_seed(0)
    )
    weight[:, 0] = 0
    value = Clusters(bits=3).value(weight)
    assert (value[:, 0] == 0).all()
    assert (value - weight).abs().max() < 0.05
    for centre in centres:
        near = (weight - centre).abs() < 0.2
        torch.testing.assert_close(
            value[near], weight[near].mean().expand(int(near.sum())), rtol=1e-3, atol=0
        )


@given(
    arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.floats(-9, 9, width=16)),
    st.integers(2, 8),
    st.sampled_from([0.0, 0.1, 3.0]),
)
def test_a_file_decodes_to_the_very_numbers_of_the_clusters(values, bits: int, rate: float) -> None:
    weight = torch.tensor(values)
    clusters = Clusters(bits=bits, rate=rate)
    value = clusters.value(weight)
    kept = clusters.kept(value)

    np.testing.assert_array_equal(kept.dense(), value.numpy())
    assert len(kept.values) <= 2**bits
    assert (value[weight == 0] == 0).all()
    assert torch.equal(clusters.value(weight), value)


def test_values_that_half_precision_cannot_hold_are_kept_whole() -> None:
    weight = torch.tensor([[0.0, 1e6, -2e6]])
    clusters = Clusters(bits=8)
    kept = clusters.kept(clusters.value(weight))
    assert kept.values.dtype == np.float32
    np.testing.assert_array_equal(kept.dense(), weight.numpy())


def test_clusters_are_nearer_to_skewed_weights_than_any_grid_of_as_many_bits() -> None:
    weight = pruned().exp() * pruned().sign()
    value = Clusters(bits=3).value(weight)
    for name in ("symmetric", "uniform"):
        grid = grid_for(weight, name, bits=3, per_channel=False)
        assert (value - weight).square().sum() < 0.8 * (grid.value(weight) - weight).square().sum()


def test_members_of_a_cluster_get_the_sum_of_their_gradients_and_move_as_one() -> None:
    weight = torch.tensor([0.0, 1.0, 1.0, 2.0])
    clusters = Clusters(bits=2)
    clusters.value(weight)
    gradient = clusters.gradient(weight, torch.tensor([5.0, 1.0, 2.0, 4.0]))
    assert gradient.tolist() == [5, 3, 3, 4]
    assert clusters.value(weight - 0.5 * gradient).tolist() == [0, -0.5, -0.5, 0]


def test_a_rate_merges_clusters_that_few_belong_to() -> None:
    weight = pruned(60, 60)
    plain, cheap = Clusters(bits=4), Clusters(bits=4, rate=0.5)
    nearest, value = plain.value(weight), cheap.value(weight)
    step = float(weight.max() - weight.min()) / 14
    assert cost(weight, value, step=step, rate=0.5) < cost(weight, nearest, step=step, rate=0.5)
    assert len(value.unique()) < len(nearest.unique())


def test_clusters_are_formed_anew_only_when_that_is_due() -> None:
    weight = torch.tensor([[0.0, 1.0, 1.1, 3.0, 3.1]])
    clusters = Clusters(bits=2)
    clusters.value(weight)
    moved = torch.tensor([[0.0, 1.0, 3.05, 3.0, 3.1]])
    assert clusters.value(moved)[0, 1] == clusters.value(moved)[0, 2]
    clusters.renew()
    assert clusters.value(moved)[0, 1] != clusters.value(moved)[0, 2]


def test_a_rounding_of_like_numbers_comes_to_rest() -> None:
    weight, values_K = pruned() * 3, torch.arange(-7.0, 8.0)
    places = (weight.round().clamp(-7, 7) + 7).to(torch.int64)
    once = cheap_rounding(weight, values_K, places, rate=0.2).places(weight)
    again = cheap_rounding(weight, values_K, once, rate=0.2).places(weight)
    assert (once != again).float().mean() < 0.01
