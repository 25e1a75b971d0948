"""Subject: the network under compression, the rows it learns from, and what its parent answers for them.

Legend: N rows, D features, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import nn
from torch.nn.utils import parametrize

from raymaas.bundle.rmz.tensors import Coded, Raw
from raymaas.data.rows import Rows
from raymaas.specs.compression import FineTuning


@dataclass(eq=False)
class Subject:
    """What the passes of a recipe hand on. They change `network` in place.

    Constraints, such as a mask, are torch parametrizations: they hold in every forward pass, and so in
    whatever a later pass trains.
    """

    network: nn.Module
    x_ND: torch.Tensor
    y_N: torch.Tensor
    parent_logits_NC: torch.Tensor
    fine_tuning: FineTuning
    seed: int
    epochs_done: int = 0
    coded: dict[str, Coded] = field(default_factory=dict)
    """Tensors whose final form a pass has settled, by their name in the state_dict."""

    @classmethod
    def of(cls, parent: nn.Module, rows: Rows, fine_tuning: FineTuning, *, seed: int) -> Self:
        """A copy of `parent`, without its dropout: a network with few weights left has nothing to spare."""
        network = copy.deepcopy(parent).cpu().train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        x_ND = torch.tensor(rows.x_ND)
        parent.eval()
        with torch.no_grad():
            parent_logits_NC = parent(x_ND)
        return cls(network, x_ND, torch.tensor(rows.y_N), parent_logits_NC, fine_tuning, seed)

    def linear_layers(self) -> Iterator[tuple[str, nn.Linear]]:
        """The layers that passes work on, by name; others stay as they are."""
        for name, module in self.network.named_modules():
            if isinstance(module, nn.Linear):
                yield name, module

    def tensors(self) -> dict[str, Coded]:
        """Every tensor of the network in the form it is kept: settled by a pass, or else at half precision.

        The parametrizations are folded into the weights, so `network` is an ordinary module afterwards.
        """
        for module in list(self.network.modules()):
            if parametrize.is_parametrized(module):
                for name in list(module.parametrizations):  # type: ignore[arg-type]
                    parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        kept = dict(self.coded)
        for name, tensor in self.network.state_dict().items():
            if name not in kept:
                whole = not tensor.is_floating_point()
                kept[name] = Raw(tensor.numpy() if whole else tensor.half().numpy())
        return kept
