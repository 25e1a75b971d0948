"""Structured pruning: whole units, maps and heads are taken out, and the network really gets narrower.

H. Li et al., Pruning Filters for Efficient ConvNets (2017): a unit is worth the sum of its weights' worth, and goes
with all weights it has, in the layer that makes it and in those that read it. Of heads P. Michel, O. Levy, G. Neubig,
Are Sixteen Heads Really Better than One? (2019). What a weight is worth is told by `raymaas.compress.worth`; which
units a network has, by its config.
Legend: U units of a width, W widths that share a setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field

from raymaas.compress.distill import fine_tune
from raymaas.compress.narrowing import narrowed, sums_of
from raymaas.compress.subject import Subject
from raymaas.compress.worth import Standing, standing
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.models.widths import Setting, Width
from raymaas.specs.base import Spec

_Tied = Mapping[tuple[Setting, ...], Sequence[Width]]


class ChannelsConfig(Spec):
    """How many, chosen how, and how long what is left learns to do without the others."""

    keep: float = Field(
        ge=0.05, le=1, description="Share of the units kept; at least one of each width stays."
    )
    scope: Literal["layer", "global"] = Field(
        "layer",
        description="The least useful of each width for itself, or of all widths together. Blocks that share one "
        "setting keep as many units each, and may keep others.",
    )
    score: Standing = Field("magnitude", description="What a weight is worth; see raymaas.compress.worth.")
    epochs: int = Field(10, ge=0, description="Epochs of fine-tuning.")


class Channels:
    """Afterwards the network is a narrower one of its family."""

    Config: ClassVar[type[ChannelsConfig]] = ChannelsConfig

    def __init__(self, config: ChannelsConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        """Raises InvalidInput for a network that has no units to take out."""
        widths = catalogue.config_of(subject.architecture).narrowable()
        if not widths:
            raise InvalidInput(
                f"pass 'channels' finds no units to take out of {subject.architecture.use!r}; leave the pass out, or "
                "name a smaller student in a pass 'distill'"
            )
        weights = standing(subject, self._config.score)
        worth = {width: sums_of(width, weights) for width in widths}
        kept = kept_units(worth, keep=self._config.keep, scope=self._config.scope)
        subject.become(*narrowed(subject.architecture, subject.network.state_dict(), kept))
        fine_tune(subject, epochs=self._config.epochs)


def kept_units(
    worth_U: Mapping[Width, torch.Tensor], *, keep: float, scope: Literal["layer", "global"]
) -> dict[Width, list[int]]:
    """The units of each width that stay, in order: a share `keep` of those of each, or of all together.

    Widths with the same settings keep as many. Of equals the first stay.
    """
    tied: dict[tuple[Setting, ...], list[Width]] = {}
    for width in worth_U:
        tied.setdefault(width.settings, []).append(width)
    counts = _counts_of_each(tied, keep) if scope == "layer" else _counts_of_all(tied, worth_U, keep)
    return {
        width: sorted(worth.argsort(descending=True, stable=True)[: counts[width.settings]].tolist())
        for width, worth in worth_U.items()
    }


def _counts_of_each(tied: _Tied, keep: float) -> dict[tuple[Setting, ...], int]:
    return {settings: max(1, round(keep * like[0].units)) for settings, like in tied.items()}


def _counts_of_all(
    tied: _Tied, worth_U: Mapping[Width, torch.Tensor], keep: float
) -> dict[tuple[Setting, ...], int]:
    """How many units each setting keeps, when the most valuable of all stay and at least one of each width.

    So that widths can be compared, each one's worths are divided by their root mean square (after P. Molchanov et al.,
    Pruning Convolutional Neural Networks for Resource Efficient Inference, 2017, section 2.2, who divide by the length
    and so take more of those with many units). Where widths share a setting, their best units stand together, then
    their second best, and so on.
    """
    places = []
    for settings, like in tied.items():
        ranked_WU = torch.stack([_scaled(worth_U[width]).sort(descending=True).values for width in like])
        places += [(worth, settings, len(like)) for worth in ranked_WU.mean(dim=0).tolist()[1:]]
    counts = dict.fromkeys(tied, 1)
    left = round(keep * sum(width.units for width in worth_U)) - len(worth_U)
    for _, settings, cost in sorted(places, key=lambda place: -place[0]):
        if left >= cost:
            counts[settings] += 1
            left -= cost
    return counts


def _scaled(worth_U: torch.Tensor) -> torch.Tensor:
    return worth_U / worth_U.square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny)
