"""Gradual pruning: the least useful weights are set to zero, a few each epoch, and never come back.

M. Zhu, S. Gupta, To prune, or not to prune (2017): after a share t of the ramp, the sparsity is
s (1 - (1 - t)^3). What a weight is worth is told by `raymaas.compress.worth`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator

from raymaas.compress.distill import Steps, fine_tune, usual_epochs
from raymaas.compress.subject import Subject
from raymaas.compress.worth import Movement, Score, standing
from raymaas.specs.base import Spec

_USUAL_EPOCHS = 12


class PruneConfig(Spec):
    """How much, and over how many epochs."""

    sparsity: float = Field(ge=0, le=0.999, description="Share of the matrices' weights set to zero.")
    epochs: int | None = Field(
        default=None, ge=0, description="Epochs of fine-tuning in all. Absent: 12, and more on few rows."
    )
    schedule: Literal["cubic", "one-shot"] = Field(
        "cubic", description="A few each epoch, ever fewer; or all at once, before the first."
    )
    ramp: float = Field(
        0.6, gt=0, le=1, description="cubic: share of the epochs in which the sparsity grows."
    )
    scope: Literal["global", "layer"] = Field(
        "global", description="The least useful of all matrices together, or of each for itself."
    )
    score: Score = Field("magnitude", description="What a weight is worth; see raymaas.compress.worth.")

    @model_validator(mode="after")
    def _movement_needs_steps(self) -> PruneConfig:
        if self.score == "movement" and (self.schedule == "one-shot" or self.epochs in (0, 1)):
            raise ValueError(
                "score movement is how training moves weights: use schedule cubic and 2 epochs or more"
            )
        return self


class Mask:
    """Weights times 0 or 1. A masked weight may go on moving, which nothing sees."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.kept = torch.ones_like(weight)

    def value(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.kept

    def gradient(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class Prune:
    """Afterwards a share `sparsity` of all matrices' weights is zero, and every later pass leaves it so."""

    Config: ClassVar[type[PruneConfig]] = PruneConfig

    def __init__(self, config: PruneConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        config, weights = self._config, subject.matrices
        epochs = usual_epochs(subject, config.epochs, usual=_USUAL_EPOCHS)
        masks = {name: Mask(weight.parameter.detach()) for name, weight in weights.items()}
        for name, weight in weights.items():
            weight.constrain(masks[name])
        movement: Movement | None = None
        if config.score == "movement":
            movement = Movement(subject)
            worth_now: Callable[[], Mapping[str, torch.Tensor]] = movement.worth
        else:
            worth_now = partial(standing, subject, config.score)
        # Movement is known after the first epoch.
        first = 1 if movement else 0
        ramp = _ramp(config, epochs=epochs - first)

        def prune_more(epoch: int) -> None:
            if first <= epoch < first + ramp:
                sparsity = config.sparsity * (1 - (1 - (epoch - first + 1) / ramp) ** 3)
                _mask(worth_now(), masks, sparsity=sparsity, scope=config.scope)
                for weight in weights.values():
                    weight.settle()

        if not epochs:
            prune_more(0)
        watch = movement.watch if movement else lambda: None
        fine_tune(subject, epochs=epochs, steps=Steps(before_epoch=prune_more, before_step=watch))


def mask_least(worth: Mapping[str, torch.Tensor], masks: Mapping[str, Mask], *, sparsity: float) -> None:
    """Keep the most valuable weights over all of `masks`, a share 1 - `sparsity` of them, and none that was out."""
    together = torch.cat(
        [torch.where(mask.kept > 0, worth[name], -torch.inf).flatten() for name, mask in masks.items()]
    )
    out = round(sparsity * len(together))
    # By rank, not by a threshold: equal scores, such as many zeros, must not change the share.
    kept = torch.ones_like(together)
    kept[together.argsort()[:out]] = 0
    start = 0
    for mask in masks.values():
        part = kept[start : start + mask.kept.numel()]
        start += mask.kept.numel()
        mask.kept.mul_(part.view_as(mask.kept))


def _mask(
    worth: Mapping[str, torch.Tensor], masks: Mapping[str, Mask], *, sparsity: float, scope: str
) -> None:
    if scope == "global":
        mask_least(worth, masks, sparsity=sparsity)
        return
    for name, mask in masks.items():
        mask_least(worth, {name: mask}, sparsity=sparsity)


def _ramp(config: PruneConfig, *, epochs: int) -> int:
    """In how many of the epochs the sparsity grows."""
    return 1 if config.schedule == "one-shot" else max(1, round(config.ramp * epochs))
