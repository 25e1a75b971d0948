"""Subject: the network under compression, its weights, the rows it learns from, and what its parent answers for them.

Legend: N rows, D features.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import nn

from raymaas.bundle.rmz.tensors import Coded, Raw
from raymaas.compress.weights import Weight, weights_of
from raymaas.data.rows import Rows
from raymaas.models.networks import Network, SelfSupervised
from raymaas.specs.compression import FineTuning
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component

_ROWS_AT_ONCE = 1024  # of the parent's answers: bounds memory, changes no result


@dataclass(frozen=True, eq=False)
class Parent:
    """A trained network, how it was built, and what its rows are."""

    network: Network
    architecture: Component
    facts: Facts


@dataclass(eq=False)
class Subject:
    """What the passes of a recipe hand on. They change `network`, and constrain its `weights`."""

    network: Network
    architecture: Component
    facts: Facts
    """What its rows are, for another network that is to learn from them."""
    weights: Mapping[str, Weight]
    x_ND: torch.Tensor
    y_N: torch.Tensor
    parent_N: torch.Tensor | None
    """What the parent's `forward` gives for each row; nothing, for a network that has a loss of its own."""
    fine_tuning: FineTuning
    seed: int
    epochs_done: int = 0
    coded: dict[str, Coded] = field(default_factory=dict)
    """Tensors whose final form a pass has settled, by their name in the state_dict."""

    @classmethod
    def of(cls, parent: Parent, rows: Rows, fine_tuning: FineTuning, *, seed: int) -> Self:
        """A copy of `parent`'s network, without its dropout: one with few weights left has nothing to spare."""
        network = copy.deepcopy(parent.network).cpu().train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        x_ND = torch.tensor(rows.x_ND)
        return cls(
            network=network,
            architecture=parent.architecture,
            facts=parent.facts,
            weights=_by_name(network),
            x_ND=x_ND,
            y_N=torch.tensor(rows.y_N),
            parent_N=None if isinstance(network, SelfSupervised) else _answers(parent.network, x_ND),
            fine_tuning=fine_tuning,
            seed=seed,
        )

    def take(self, network: Network, architecture: Component) -> None:
        """Go on with another network, as if none of its weights had been touched."""
        self.network, self.architecture = network.train(), architecture
        self.weights, self.coded = _by_name(network), {}

    @property
    def matrices(self) -> dict[str, Weight]:
        """The weights that passes prune, by name; biases, norms and the like are not among them."""
        return {name: weight for name, weight in self.weights.items() if weight.kind != "other"}

    @torch.no_grad()
    def tensors(self) -> dict[str, Coded]:
        """Every tensor of the network in the form it is kept: settled by a pass, or else at half precision.

        Afterwards the network computes with those very numbers.
        """
        kept: dict[str, Coded] = {}
        first_names: dict[torch.Tensor, str] = {}
        for name, tensor in self.network.state_dict(keep_vars=True).items():
            first = first_names.setdefault(tensor, name)
            if first != name:  # a tied weight
                kept[name] = kept[first]
            elif name in self.coded:
                kept[name] = self.coded[name]
            else:
                raw = _raw(tensor.detach())
                tensor.copy_(torch.from_numpy(raw.dense()))
                kept[name] = raw
        return kept


def _raw(tensor: torch.Tensor) -> Raw:
    """At half precision, if there are such numbers and it can hold them."""
    halved = tensor.half()
    fits = tensor.is_floating_point() and bool(torch.isfinite(halved).all())
    return Raw((halved if fits else tensor).numpy())


def _by_name(network: Network) -> dict[str, Weight]:
    return {weight.name: weight for weight in weights_of(network)}


@torch.no_grad()
def _answers(parent: Network, x_ND: torch.Tensor) -> torch.Tensor:
    parent.eval()
    return torch.cat([parent(x_BD) for x_BD in torch.split(x_ND, _ROWS_AT_ONCE)])
