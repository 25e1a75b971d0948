"""Linear maps in a row, with the same thing between any two."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import nn


def perceptron(widths: tuple[int, ...], *, between: Callable[[int], list[nn.Module]]) -> nn.Sequential:
    """Linear maps from each of `widths` to the next, and `between(units)` after each but the last."""
    layers: list[nn.Module] = []
    for m, n in pairwise(widths):
        layers += [*(between(m) if layers else ()), nn.Linear(m, n)]
    return nn.Sequential(*layers)
