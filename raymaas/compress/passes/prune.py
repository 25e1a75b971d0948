"""Gradual pruning: the least useful weights of all linear layers together are set to zero, a few each epoch.

M. Zhu, S. Gupta, To prune, or not to prune (2017): after a share t of the ramp, the sparsity is
s (1 - (1 - t)^3). The score is |w|, or |w| times the root mean square of the input it multiplies (M. Sun et
al., A Simple and Effective Pruning Approach, 2023), which removes weights on pixels that are always blank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn.utils import parametrize

from raymaas.compress.distill import fine_tune
from raymaas.compress.subject import Subject
from raymaas.specs.base import Spec


class PruneConfig(Spec):
    """How much, and over how many epochs."""

    sparsity: float = Field(gt=0, lt=1, description="Share of the linear layers' weights set to zero.")
    epochs: int = Field(24, ge=2, description="Epochs of fine-tuning in all.")
    ramp: float = Field(0.6, gt=0, le=1, description="Share of the epochs in which the sparsity grows.")
    score: Literal["magnitude", "activation"] = Field(
        "magnitude", description="What a weight is worth: |w|, or |w| times the rms of its input."
    )


class Mask(nn.Module):
    """Weights times 0 or 1; a masked weight has no gradient, so it stays out."""

    kept: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", torch.ones_like(weight))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.kept


class Prune:
    """Afterwards a share `sparsity` of all linear weights is zero, and every later pass leaves it so."""

    Config: ClassVar[type[PruneConfig]] = PruneConfig

    def __init__(self, config: PruneConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        masks = {name: Mask(layer.weight.detach()) for name, layer in subject.linear_layers()}
        for name, layer in subject.linear_layers():
            parametrize.register_parametrization(layer, "weight", masks[name])
        ramp = max(1, round(self._config.ramp * self._config.epochs))

        def prune_more(epoch: int) -> None:
            if epoch < ramp:
                wanted = self._config.sparsity * (1 - (1 - (epoch + 1) / ramp) ** 3)
                mask_least(scores(subject, self._config.score), masks, sparsity=wanted)

        fine_tune(subject, epochs=self._config.epochs, before_epoch=prune_more)


def scores(subject: Subject, how: Literal["magnitude", "activation"]) -> dict[str, torch.Tensor]:
    """The worth of each weight by layer; 0 for those that are out already."""
    worth = {name: layer.weight.detach().abs() for name, layer in subject.linear_layers()}
    if how == "activation":
        for name, rms_D in input_rms(subject).items():
            worth[name] = worth[name] * rms_D
    return worth


@torch.no_grad()
def input_rms(subject: Subject) -> dict[str, torch.Tensor]:
    """Root mean square of each input feature of each linear layer, over all rows."""
    found: dict[str, torch.Tensor] = {}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            found[name] = inputs[0].square().flatten(end_dim=-2).mean(dim=0).sqrt()

        return layers[name].register_forward_pre_hook(keep)

    layers = dict(subject.linear_layers())
    handles = [watch(name) for name in layers]
    subject.network(subject.x_ND)
    for handle in handles:
        handle.remove()
    return found


def mask_least(worth: Mapping[str, torch.Tensor], masks: Mapping[str, Mask], *, sparsity: float) -> None:
    """Keep the most valuable weights over all layers, a share 1 - `sparsity` of them, and none that was out."""
    together = torch.cat([worth[name].flatten() for name in masks])
    out = round(sparsity * len(together))
    # By rank, not by a threshold: equal scores, such as many zeros, must not change the share.
    kept = torch.ones_like(together)
    kept[together.argsort()[:out]] = 0
    parts = torch.split(kept, [worth[name].numel() for name in masks])
    for mask, part in zip(masks.values(), parts, strict=True):
        mask.kept.mul_(part.view_as(mask.kept))
