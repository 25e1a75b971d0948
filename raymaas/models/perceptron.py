"""Linear maps in a row, with the same things between any two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from torch import nn

from raymaas.models.widths import Setting, Width, into, out_of


def perceptron(widths: tuple[int, ...], *, between: Callable[[int], list[nn.Module]]) -> nn.Sequential:
    """Linear maps from each of `widths` to the next, and `between(units)` after each but the last."""
    layers: list[nn.Module] = []
    for m, n in pairwise(widths):
        layers += [*(between(m) if layers else ()), nn.Linear(m, n)]
    return nn.Sequential(*layers)


def narrowable(name: str, hidden: Mapping[Setting, int], *, between: int) -> tuple[Width, ...]:
    """Of the hidden units of the perceptron `name`, layer by layer with their settings; `between` two maps are so many
    modules."""
    maps = [f"{name}.{place * (1 + between)}" for place in range(len(hidden) + 1)]
    return tuple(
        Width(units, (setting,), (*out_of(this), into(after)))
        for (setting, units), (this, after) in zip(hidden.items(), pairwise(maps), strict=True)
    )
