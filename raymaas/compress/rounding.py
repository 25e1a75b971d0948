"""Rounding to the value that costs least in error and bits together, rather than to the nearest.

Entropy-constrained scalar quantization (P. Chou, T. Lookabaugh, R. Gray, Entropy-Constrained Vector Quantization,
1989), for networks as in DeepCABAC (Wiedemann et al. 2019): a number x goes to the value v that minimises
(x - v)^2 + rate * bits(v), bits being those of an ideal code for how often each value is taken now. A value that is
often taken is cheap and so takes more; in a pruned network that is zero. Legend: K values.
"""

from __future__ import annotations

from itertools import pairwise

import torch

_TIMES = 3  # that costs are estimated anew from what they led to


class CheapRounding:
    """Where every number goes: thresholds between those values that any number goes to."""

    def __init__(self, values_K: torch.Tensor, cost_K: torch.Tensor) -> None:
        """`values_K` ascend."""
        values, costs = values_K.tolist(), cost_K.tolist()
        kept: list[int] = []
        for k in range(len(values)):
            # The lower envelope of the parabolas: a value that is beaten before its turn comes has none.
            while kept and _meet(values, costs, kept[-1], k) <= _start(values, costs, kept):
                kept.pop()
            kept.append(k)
        self.places_J = torch.tensor(kept)
        """Which of the values they are."""
        self._bounds = torch.tensor([_meet(values, costs, i, k) for i, k in pairwise(kept)])

    def places(self, x: torch.Tensor) -> torch.Tensor:
        """The place among all values of the one that each number goes to."""
        return self.places_J[torch.bucketize(x, self._bounds)]


def cheap_rounding(
    x: torch.Tensor, values_K: torch.Tensor, places: torch.Tensor, *, rate: float
) -> CheapRounding:
    """The rounding of numbers like `x`, whose `places` among the ascending values are those at present.

    `rate` is the square of an error that one bit is worth. More than one value is needed.
    """
    for _ in range(_TIMES):
        rounding = CheapRounding(values_K, rate * code_bits(places, len(values_K)))
        places = rounding.places(x)
    return rounding


def code_bits(places: torch.Tensor, count: int) -> torch.Tensor:
    """[count] bits of an ideal code for each place, as often as it is taken and half a time more."""
    taken_K = torch.bincount(places.flatten(), minlength=count) + 0.5
    return (taken_K.sum() / taken_K).log2()


def _meet(values: list[float], costs: list[float], i: int, k: int) -> float:
    """From where on the value k costs less than i, which is less than it."""
    return (values[i] + values[k] + (costs[k] - costs[i]) / (values[k] - values[i])) / 2


def _start(values: list[float], costs: list[float], kept: list[int]) -> float:
    """From where on the last one kept costs least."""
    return _meet(values, costs, kept[-2], kept[-1]) if len(kept) > 1 else -float("inf")
