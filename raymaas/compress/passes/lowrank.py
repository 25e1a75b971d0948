"""Low rank: large matrices become products of two thin ones, the nearest there are, and learn on from there.

C. Eckart, G. Young, The approximation of one matrix by another of lower rank (1936): of all matrices of rank r the one
nearest to W = U S V', in squares, keeps the r largest singular values, and is off by the squares of the others. E.
Denton et al. (2014) and M. Jaderberg et al. (2014) do so to trained networks; see raymaas.models.factored.
Legend: M outputs, N inputs of one output, R the rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from raymaas.compress.distill import fine_tune
from raymaas.compress.subject import Subject
from raymaas.errors import InvalidInput
from raymaas.models.catalogue import FACTORED
from raymaas.models.factored import factorable, shape_of
from raymaas.specs.base import Spec
from raymaas.specs.jobs import Component


class LowRankConfig(Spec):
    """How thin, and how long what is left is trained."""

    energy: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Of each layer the least rank with this share of its squared singular values.",
    )
    rank: int | None = Field(default=None, ge=1, description="Instead of energy: this rank for every layer.")
    least: int = Field(1024, ge=1, description="Layers with fewer weights stay whole.")
    epochs: int = Field(10, ge=0, description="Epochs of fine-tuning.")

    @model_validator(mode="after")
    def _rank_or_energy(self) -> LowRankConfig:
        if self.rank is not None and "energy" in self.model_fields_set:
            raise ValueError("rank and energy both say how thin; name one of them")
        return self


class LowRank:
    """Afterwards every large layer that has fewer weights in two parts is in two parts."""

    Config: ClassVar[type[LowRankConfig]] = LowRankConfig

    def __init__(self, config: LowRankConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        """Raises InvalidInput for a network without large layers, and for one that is factored already."""
        if subject.architecture.use == FACTORED:
            raise InvalidInput(
                "pass 'lowrank' cannot factor a network that is factored already; leave the pass out, or compress the "
                "version that this one was made from"
            )
        layers = factorable(subject.network)
        large = [path for path, layer in layers.items() if math.prod(shape_of(layer)) >= self._config.least]
        if not large:
            raise InvalidInput(
                f"pass 'lowrank' finds no linear or convolutional layer of {self._config.least} weights or more in "
                f"{subject.architecture.use!r}; lower its `least`, or leave the pass out"
            )
        ranks = {path: self._rank(layers[path]) for path in large}
        saving = {path: rank for path, rank in ranks.items() if saves(shape_of(layers[path]), rank)}
        if saving:
            of = subject.architecture.model_dump(mode="json")
            subject.become(
                Component(use=FACTORED, config={"of": of, "ranks": dict(saving)}),
                factored_state(subject.network.state_dict(), saving),
            )
        fine_tune(subject, epochs=self._config.epochs)

    def _rank(self, layer: nn.Module) -> int:
        if self._config.rank is not None:
            return self._config.rank
        weight = layer.get_parameter("weight").detach()
        return rank_with(torch.linalg.svdvals(weight.flatten(start_dim=1).double()), self._config.energy)


def saves(shape: tuple[int, int], rank: int) -> bool:
    """Whether two thin matrices of that rank have fewer weights than the one."""
    return rank * sum(shape) < math.prod(shape)


def factored_state(state: Mapping[str, torch.Tensor], ranks: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """The weights of the network in which the layers `ranks` names are in two parts."""
    tensors = dict(state)
    for path, rank in ranks.items():
        tensors[f"{path}.0.weight"], tensors[f"{path}.1.weight"] = factors(
            tensors.pop(f"{path}.weight"), rank
        )
        if f"{path}.bias" in tensors:
            tensors[f"{path}.1.bias"] = tensors.pop(f"{path}.bias")
    return tensors


def rank_with(singular_R: torch.Tensor, energy: float) -> int:
    """The least rank, at least 1, whose largest singular values have that share of the squares of all."""
    squares_R = singular_R.square().cumsum(dim=0)
    # A hair below: at energy 1, rounding of the sum must not take a singular value for nothing.
    return int((squares_R < energy * squares_R[-1] * (1 - 1e-12)).sum()) + 1


def factors(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights of the two layers whose product is the nearest of that rank to `weight`, [M, ...].

    They are [R, ...] and [M, R], or [M, R, 1, 1] of a convolution, and equally long, so that one learning rate and one
    sparsity suits both.
    """
    u_MR, s_R, v_RN = torch.linalg.svd(weight.flatten(start_dim=1).double(), full_matrices=False)
    root_R = s_R[:rank].sqrt()
    first = (root_R[:, None] * v_RN[:rank]).view(rank, *weight.shape[1:])
    second = (u_MR[:, :rank] * root_R).view(len(weight), rank, *[1] * (weight.dim() - 2))
    return first.to(weight.dtype), second.to(weight.dtype)
