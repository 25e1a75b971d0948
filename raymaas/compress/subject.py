"""Subject: the network under compression, its weights, the rows it learns from, and what its parent answers for them.

Legend: N rows, D features.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch
from torch import nn

from raymaas.bundle.rmz.header import CoderName
from raymaas.bundle.rmz.tensors import Coded, Raw
from raymaas.compress.weights import Weight, weights_of
from raymaas.data.rows import Rows
from raymaas.models import catalogue
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
    teachers: Mapping[str, Network] = field(default_factory=dict)
    """Other networks that answer such rows, by the reference a recipe names them by."""
    transfer: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Such rows without labels, float32 [M, D], by `passes.distill.transfer_key`."""


@dataclass(eq=False)
class Subject:
    """What the passes of a recipe hand on. They change `network`, and constrain its `weights`."""

    network: Network
    architecture: Component
    facts: Facts
    """What its rows are, for another network that is to learn from them."""
    weights: Mapping[str, Weight]
    x_ND: torch.Tensor
    """What is learnt from; rows without a label come last."""
    y_N: torch.Tensor
    """Of the rows that have one."""
    teacher: Network | None
    """Whose answers are learnt, the parent's at first; nothing, for a network that has a loss of its own."""
    taught_N: torch.Tensor | None
    """What the teacher's `forward` gives for each row."""
    fine_tuning: FineTuning
    seed: int
    teachers: Mapping[str, Network] = field(default_factory=dict)
    transfer: Mapping[str, torch.Tensor] = field(default_factory=dict)
    epochs_done: int = 0
    coded: dict[str, Coded] = field(default_factory=dict)
    """Tensors whose final form a pass has settled, by their name in the state_dict."""
    coder: CoderName | None = None
    """What the file is written with, where it can be; the smallest, for None."""

    @classmethod
    def of(
        cls,
        parent: Parent,
        rows: Rows,
        fine_tuning: FineTuning,
        *,
        seed: int,
        answers_N: np.ndarray | None = None,
    ) -> Self:
        """A copy of `parent`'s network, without its dropout: one with few weights left has nothing to spare.

        Rows, and `answers_N`, what the parent is known to answer for each, may be read-only; nothing writes to them.
        """
        network = _without_dropout(copy.deepcopy(parent.network).cpu().train())
        x_ND, own_loss = tensor_over(rows.x_ND), isinstance(network, SelfSupervised)
        if own_loss:
            taught_N = None
        else:
            taught_N = answers_of(parent.network, x_ND) if answers_N is None else tensor_over(answers_N)
        return cls(
            network=network,
            architecture=parent.architecture,
            facts=parent.facts,
            weights=_by_name(network),
            x_ND=x_ND,
            y_N=tensor_over(rows.y_N),
            teacher=None if own_loss else parent.network,
            taught_N=taught_N,
            teachers=parent.teachers,
            transfer=parent.transfer,
            fine_tuning=fine_tuning,
            seed=seed,
        )

    def copy(self) -> Self:
        """One that goes its own way; what both learn from is there once."""
        learnt = (self.x_ND, self.y_N, self.teacher, self.taught_N, self.teachers, self.transfer)
        return copy.deepcopy(self, {id(part): part for part in learnt})

    def take(self, network: Network, architecture: Component) -> None:
        """Go on with another network, as if none of its weights had been touched."""
        self.network, self.architecture = network.train(), architecture
        self.weights, self.coded = _by_name(network), {}

    def learn_from(self, teacher: Network, *, also: torch.Tensor | None = None) -> None:
        """From now on `teacher` is asked; the rows `also`, float32 [M, D], are learnt from as well, without labels."""
        self.teacher = teacher
        if also is not None:
            self.x_ND = torch.cat([self.x_ND, also])
        self.taught_N = answers_of(teacher, self.x_ND)

    def become(self, architecture: Component, state: Mapping[str, torch.Tensor]) -> None:
        """Go on as the network of `architecture` with the weights `state`, likewise without dropout."""
        with torch.random.fork_rng(devices=[]):
            network = catalogue.build(architecture)
        network.load_state_dict(state)
        self.take(_without_dropout(network), architecture)

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


def tensor_over(array: np.ndarray) -> torch.Tensor:
    """`array` as a tensor, where it lies. It may be read-only, so nobody may write to the tensor."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return torch.from_numpy(array)


def _without_dropout(network: Network) -> Network:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def _raw(tensor: torch.Tensor) -> Raw:
    """At half precision, if there are such numbers and it can hold them."""
    halved = tensor.half()
    fits = tensor.is_floating_point() and bool(torch.isfinite(halved).all())
    return Raw((halved if fits else tensor).numpy())


def _by_name(network: Network) -> dict[str, Weight]:
    return {weight.name: weight for weight in weights_of(network)}


@torch.no_grad()
def answers_of(teacher: Network, x_ND: torch.Tensor) -> torch.Tensor:
    """What its `forward` gives for each row when it is served."""
    teacher.eval()
    return torch.cat([teacher(x_BD) for x_BD in torch.split(x_ND, _ROWS_AT_ONCE)])
