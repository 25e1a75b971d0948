"""Factored networks: a network of another family, of which some layers are a product of two thinner ones.

A matrix W [m, n] of rank r is W2 [m, r] times W1 [r, n], with r (m + n) weights. A convolution becomes one with the
same kernel to r maps, then a 1 x 1 to all its maps (E. Denton et al., Exploiting Linear Structure Within Convolutional
Networks for Efficient Evaluation, 2014; M. Jaderberg et al., Speeding up Convolutional Neural Networks with Low Rank
Expansions, 2014; in this form X. Zhang et al., Accelerating Very Deep Convolutional Networks for Classification and
Detection, 2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.base import NetworkConfig
from raymaas.models.networks import Network
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component

_WHOLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class FactoredConfig(NetworkConfig):
    """What it is made of, and how thin. Its task is that of the network in it."""

    of: Component = Field(description="A network of another family.")
    ranks: dict[str, PositiveInt] = Field(
        min_length=1,
        description="For each layer that is factored its rank: {hidden.0: 20}. Layers are named as in the weights.",
    )

    @model_validator(mode="after")
    def _is_not_of_itself(self) -> FactoredConfig:
        if self.of.use == catalogue.FACTORED:
            raise ValueError(f"of: {catalogue.FACTORED!r} cannot be made of itself; name all ranks in one")
        return self


class Factored:
    """The family: what it makes is a network of the family named in its config, and answers as that does."""

    Config: ClassVar[type[FactoredConfig]] = FactoredConfig

    def __call__(self, config: FactoredConfig) -> Network:
        """Raises InvalidInput for a name that is no layer which can be factored, or a rank that it cannot have."""
        network = catalogue.build(config.of)
        layers = factorable(network)
        for path, rank in sorted(config.ranks.items()):
            if path not in layers:
                raise InvalidInput(
                    f"ranks.{path[:80]}: {config.of.use!r} has no such layer to factor; it has "
                    f"{', '.join(layers) or 'none'}"
                )
            if rank > (highest := min(shape_of(layers[path]))):
                raise InvalidInput(f"ranks.{path} is {rank}, but the rank of that layer is at most {highest}")
            holder, _, name = path.rpartition(".")
            setattr(network.get_submodule(holder), name, in_two(layers[path], rank))
        return network


FAMILY = Factored()


def resolved(component: Component, facts: Facts) -> Component:
    """`catalogue.resolve` of a factored network: what it is made of is resolved, and its ranks fit that.

    Raises InvalidInput as that does, and as building it does.
    """
    config = FactoredConfig.parse(component.config, source=f"architecture {component.use!r}")
    of = catalogue.resolve(config.of, facts)
    found = FactoredConfig(of=of, ranks=config.ranks)
    with torch.random.fork_rng(devices=[]):
        FAMILY(found)
    return Component(use=component.use, config=found.model_dump(mode="json"))


def factorable(network: nn.Module) -> Mapping[str, nn.Module]:
    """Its linear layers and convolutions that see all maps, by name, in the network's order."""
    return {
        path: module
        for path, module in network.named_modules()
        if type(module) in _WHOLE and getattr(module, "groups", 1) == 1
    }


def shape_of(layer: nn.Module) -> tuple[int, int]:
    """Of the matrix that `layer` multiplies with: outputs, and inputs of one output."""
    weight = cast(torch.Tensor, layer.weight)
    return len(weight), weight[0].numel()


def in_two(layer: nn.Module, rank: int) -> nn.Sequential:
    """Two fresh layers of that rank in place of `layer`; only the second adds a bias, if `layer` does."""
    kind: Any = type(layer)
    has_bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        inputs, outputs = layer.in_features, layer.out_features
        return nn.Sequential(kind(inputs, rank, bias=False), kind(rank, outputs, bias=has_bias))
    conv = cast(nn.Conv2d, layer)
    first = kind(
        conv.in_channels,
        rank,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        padding_mode=conv.padding_mode,
        bias=False,
    )
    return nn.Sequential(first, kind(rank, conv.out_channels, 1, bias=has_bias))
