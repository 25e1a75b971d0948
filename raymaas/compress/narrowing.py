"""Narrowing: the config and the weights of a network without some of its units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from raymaas.models import catalogue
from raymaas.models.widths import Along, Width
from raymaas.specs.jobs import Component


def narrowed(
    architecture: Component,
    state: Mapping[str, torch.Tensor],
    kept: Mapping[Width, Sequence[int]],
) -> tuple[Component, dict[str, torch.Tensor]]:
    """The same family with only those units of each width, by number and in order, and their weights.

    It computes what the network with `state` does when all weights of the others are zero. Widths with the same
    settings must keep as many units.
    """
    config, tensors = catalogue.config_of(architecture).model_dump(mode="json"), dict(state)
    for width, units in kept.items():
        for setting in width.settings:
            _write(config, setting.place, setting.value(len(units)))
        for along in width.along:
            index = values_of(along, units, of=width.units)
            tensors[along.tensor] = tensors[along.tensor].index_select(along.dim, index)
    return Component(use=architecture.use, config=config), tensors


def values_of(along: Along, units: Sequence[int], *, of: int) -> torch.Tensor:
    """The indices along that dimension at which those of `of` units lie."""
    all_TUR = torch.arange(along.times * of * along.run).view(along.times, of, along.run)
    return all_TUR[:, list(units)].flatten()


def sums_of(width: Width, worth: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What the units of `width` are worth, [units]: the sum over all their weights that `worth` has."""
    total_U = torch.zeros(width.units)
    for along in width.along:
        if along.tensor in worth:
            sums = worth[along.tensor].movedim(along.dim, 0).flatten(start_dim=1).sum(dim=1)
            total_U += sums.view(along.times, width.units, along.run).sum(dim=(0, 2))
    return total_U


def _write(config: dict[str, Any], place: tuple[str | int, ...], value: int | str) -> None:
    *way, last = place
    part: Any = config
    for step in way:
        part = part[step]
    part[last] = value
