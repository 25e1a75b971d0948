"""Residual networks: every block adds a correction to what it was given, so that depth costs no trainability.

K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition (2015): the basic block of figure 5,
projections where the size changes (option B), and both of its forms: for small images (section 4.2; the default is
its 6n + 2 layers with n = 1) and for large ones (table 1; `stem: 7x7`, widths [64, 128, 256, 512] and blocks
[2, 2, 2, 2] are ResNet-18). Differs in the normalisation, for which see raymaas.models.group_norm.
Legend: B rows, K maps (of the layer at hand), Y height, X width, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from raymaas.models.base import ImageConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.group_norm import check_groups, groups_of
from raymaas.models.networks import Classifier
from raymaas.models.widths import Setting, Width, into, normalised


class ResNetConfig(ImageConfig):
    """Its stages."""

    widths: tuple[PositiveInt, ...] = Field(
        (16, 32, 64),
        min_length=1,
        description="Maps of each stage; from the second on, each halves the image.",
    )
    blocks: tuple[PositiveInt, ...] = Field((1, 1, 1), description="Residual blocks of each stage.")
    stem: Literal["3x3", "7x7"] = Field(
        "3x3",
        description="The first convolution: 3x3 for small images; 7x7 and a pool, a quarter, for large ones.",
    )
    norm_groups: tuple[PositiveInt, ...] = Field(
        default_factory=lambda known: tuple(map(groups_of, known["widths"])),
        description="Groups that the maps of each stage are normalised in. Absent: 8, or what divides both.",
    )

    @model_validator(mode="after")
    def _as_many(self) -> ResNetConfig:
        if len(self.blocks) != len(self.widths):
            raise ValueError(f"blocks must give one number for each of the {len(self.widths)} widths")
        check_groups(self.norm_groups, self.widths)
        return self

    def narrowable(self) -> tuple[Width, ...]:
        """Of each stage, the maps that its blocks add to, and those inside each block; by groups of a norm."""
        firsts = [0, *accumulate(self.blocks)]
        return tuple(width for stage in range(len(self.widths)) for width in self._of(stage, firsts[stage]))

    def _of(self, stage: int, first: int) -> Iterator[Width]:
        """The widths of a stage whose first block has that number."""
        groups, after = self.norm_groups[stage], f"blocks.{first + self.blocks[stage]}"
        run = self.widths[stage] // groups
        settings = (Setting(("widths", stage), each=run), Setting(("norm_groups", stage)))
        blocks = [f"blocks.{place}" for place in range(first, first + self.blocks[stage])]
        begin = f"{blocks[0]}.shortcut" if stage else "stem"
        makers = [(f"{begin}.0", f"{begin}.1"), *((f"{block}.conv2", f"{block}.norm2") for block in blocks)]
        readers = [f"{block}.conv1" for block in (blocks[1:] if stage else blocks)]
        is_last = stage + 1 == len(self.widths)
        readers += ["head"] if is_last else [f"{after}.conv1", f"{after}.shortcut.0"]
        made = (part for conv, norm in makers for part in normalised(conv, norm, run=run))
        yield Width(groups, settings, (*made, *(into(name, run=run) for name in readers)))
        for block in blocks:
            inside = normalised(f"{block}.conv1", f"{block}.norm1", run=run)
            yield Width(groups, settings, (*inside, into(f"{block}.conv2", run=run)))


class ResNet(Chained, Classifier):
    """Stem, stages of blocks, the mean over the image, a linear map."""

    Config: ClassVar[type[ResNetConfig]] = ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.input_scale, self.image = config.input_scale, config.image
        maps = config.widths[0]
        if config.stem == "3x3":
            first: list[nn.Module] = [nn.Conv2d(config.image[0], maps, 3, padding=1, bias=False)]
            last: list[nn.Module] = []
        else:
            first = [nn.Conv2d(config.image[0], maps, 7, stride=2, padding=3, bias=False)]
            last = [nn.MaxPool2d(3, stride=2, padding=1)]
        self.stem = nn.Sequential(*first, nn.GroupNorm(config.norm_groups[0], maps), nn.ReLU(), *last)
        blocks = []
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(count):
                blocks.append(
                    _Block(
                        maps, width, groups=config.norm_groups[stage], stride=2 if stage and not block else 1
                    )
                )
                maps = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(maps, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def chain(self) -> tuple[Link, ...]:
        blocks = (Link(block, block) for block in self.blocks)
        return Link(self._stem, self.stem), *blocks, Link(self._head, self.head)

    def _stem(self, x_BYX: torch.Tensor) -> torch.Tensor:
        x_BKYX = (x_BYX * self.input_scale).reshape(x_BYX.shape[0], *self.image)
        stem_BKYX: torch.Tensor = self.stem(x_BKYX)
        return stem_BKYX

    def _head(self, h_BKYX: torch.Tensor) -> torch.Tensor:
        logits_BC: torch.Tensor = self.head(h_BKYX.mean(dim=(2, 3)))
        return logits_BC


class _Block(nn.Module):
    """relu(norm(W2 relu(norm(W1 h))) + h), the addend projected when maps or size change."""

    def __init__(self, maps: int, width: int, *, groups: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(maps, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, width)
        # A block that starts as the identity trains better (Goyal et al. 2017, section 5.1).
        nn.init.zeros_(self.norm2.weight)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or maps != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(maps, width, 1, stride=stride, bias=False), nn.GroupNorm(groups, width)
            )

    def forward(self, h_BKYX: torch.Tensor) -> torch.Tensor:
        change_BKYX = torch.relu(self.norm1(self.conv1(h_BKYX)))
        change_BKYX = self.norm2(self.conv2(change_BKYX))
        return torch.relu(change_BKYX + self.shortcut(h_BKYX))
