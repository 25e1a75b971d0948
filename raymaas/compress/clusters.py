"""Clusters: the few shared values of a codebook that weights are replaced by, found by k-means and trained.

Deep Compression (Han et al. 2015, section 3): means begin evenly from the least weight to the greatest, Lloyd's
algorithm (1982) moves them, and while they are trained a mean gets the sum of its members' gradients. Zero is a value
of its own when any weight is zero, and stays zero. With a rate, a weight joins the cluster that costs least in error
and bits together (raymaas.compress.rounding). Legend: K clusters.
"""

from __future__ import annotations

import numpy as np
import torch

from raymaas.bundle.rmz.tensors import Codebook
from raymaas.compress.rounding import cheap_rounding

_HALF = torch.finfo(torch.float16)
_MOST_STEPS = 50  # of Lloyd's algorithm; more change next to nothing


class Clusters:
    """At most 2^bits values for all weights of a tensor; a constraint of `compress.weights`.

    `rate` is what a bit is worth, in units of the square of the distance between the first means. Who belongs where is
    settled when it first sees weights, and anew after each `renew`.
    """

    def __init__(self, *, bits: int, rate: float = 0.0) -> None:
        self._bits, self._rate = bits, rate
        self._step = 0.0
        self._values_K = torch.zeros(0)
        self._belongs = torch.zeros(0, dtype=torch.int64)
        self._due = True

    def renew(self) -> None:
        """Let clusters be formed anew of the weights that are seen next."""
        self._due = True

    def value(self, weight: torch.Tensor) -> torch.Tensor:
        """Of each weight the mean of its cluster, at half precision if that can hold all of them."""
        if self._due:
            self._form(weight)
            self._due = False
        return _at_half(self._means(weight))[self._belongs]

    def gradient(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Each member gets the sum over its cluster, so that all of them move as one; those at zero get their own."""
        at_zero = (self._values_K == 0)[self._belongs]
        return torch.where(at_zero, gradient, self._sums(gradient)[self._belongs])

    def kept(self, parameter: torch.Tensor) -> Codebook:
        """The values of `parameter`, which are means, and where each is."""
        values, places = np.unique(parameter.numpy(), return_inverse=True)
        with np.errstate(over="ignore"):  # then it is not the same number
            halved = values.astype(np.float16)
        exact = np.array_equal(halved.astype(np.float32), values)
        return Codebook(places.reshape(parameter.shape).astype(np.uint8), halved if exact else values)

    def _form(self, weight: torch.Tensor) -> None:
        """Lloyd's algorithm, from the means there are to where nobody moves."""
        values_K = self._means(weight) if len(self._values_K) else self._evenly(weight)
        for _ in range(_MOST_STEPS):
            self._values_K = torch.unique(values_K)  # ascending
            before, self._belongs = self._belongs, self._joined(weight)
            if torch.equal(before, self._belongs):
                return
            values_K = self._means(weight)

    def _evenly(self, weight: torch.Tensor) -> torch.Tensor:
        """The first values."""
        others = weight[weight != 0]
        zero = torch.zeros(int(len(others) < weight.numel()))
        if not len(others):
            return zero
        even_K = torch.linspace(float(others.min()), float(others.max()), 2**self._bits - len(zero))
        self._step = float(even_K[-1] - even_K[0]) / (len(even_K) - 1)
        return torch.cat([even_K, zero])

    def _joined(self, weight: torch.Tensor) -> torch.Tensor:
        """The place of the value that each weight goes to."""
        values_K = self._values_K
        places = torch.bucketize(weight, (values_K[1:] + values_K[:-1]) / 2)
        if self._rate and len(values_K) > 1:
            rounding = cheap_rounding(weight, values_K, places, rate=self._rate * self._step**2)
            places = rounding.places(weight)
        at_zero = torch.searchsorted(values_K, 0.0)
        return torch.where(weight == 0, at_zero, places)

    def _means(self, weight: torch.Tensor) -> torch.Tensor:
        """Of those who belong to each value; the value itself for zero, and where nobody does."""
        count_K = torch.bincount(self._belongs.flatten(), minlength=len(self._values_K))
        mean_K = self._sums(weight) / count_K
        return torch.where((count_K == 0) | (self._values_K == 0), self._values_K, mean_K)

    def _sums(self, numbers: torch.Tensor) -> torch.Tensor:
        sum_K = torch.bincount(self._belongs.flatten(), numbers.flatten(), len(self._values_K))
        return sum_K.to(numbers.dtype)


def _at_half(values: torch.Tensor) -> torch.Tensor:
    size = values.abs()
    fits = (size == 0) | ((size >= _HALF.tiny) & (size <= _HALF.max))
    return values.half().float() if bool(fits.all()) else values
