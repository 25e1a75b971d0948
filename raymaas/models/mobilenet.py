"""MobileNet-like networks: a convolution in two cheap halves, one over space in each map, one over maps in each pixel.

A. Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications (2017),
section 3: for 3 x 3 kernels 8 to 9 times fewer multiplications than a full convolution. The block is the paper's;
the default stages are shorter and narrower, for small images. Differs in the normalisation, for which see
raymaas.models.group_norm.
Legend: B rows, K maps (of the layer at hand), Y height, X width, C classes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from raymaas.models.base import ImageConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.group_norm import check_groups, groups_of
from raymaas.models.networks import Classifier
from raymaas.models.widths import Setting, Width, into, normalised


class MobileNetConfig(ImageConfig):
    """Its blocks."""

    stem: PositiveInt = Field(16, description="Maps of the first, full convolution.")
    stem_stride: Literal[1, 2] = Field(1, description="2 halves the image at once: for large ones.")
    blocks: tuple[tuple[PositiveInt, Literal[1, 2]], ...] = Field(
        ((32, 2), (32, 1), (64, 2), (64, 1), (128, 1)),
        min_length=1,
        description="[maps, stride] of each separable block; stride 2 halves the image.",
    )
    norm_groups: tuple[PositiveInt, ...] = Field(
        default_factory=lambda known: tuple(
            map(groups_of, (known["stem"], *(maps for maps, _ in known["blocks"])))
        ),
        description="Groups that the maps of stem and each block are normalised in. Absent: 8, or what divides both.",
    )

    @model_validator(mode="after")
    def _groups_divide(self) -> MobileNetConfig:
        check_groups(self.norm_groups, self.widths)
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """Maps of the stem and of each block."""
        return self.stem, *(maps for maps, _ in self.blocks)

    def narrowable(self) -> tuple[Width, ...]:
        """Maps, by groups of a norm. Through the first half of the block that reads them they go each alone."""
        blocks = [f"layers.{place}" for place in range(3, 3 + len(self.blocks))]  # the stem is three
        makers = [("layers.0", "layers.1"), *((f"{block}.pointwise", f"{block}.norm2") for block in blocks)]
        places = [("stem",), *(("blocks", place, 0) for place in range(len(blocks)))]
        found = []
        for width, groups in enumerate(self.norm_groups):
            run = self.widths[width] // groups
            along = normalised(*makers[width], run=run)
            if width < len(blocks):
                along += normalised(f"{blocks[width]}.depthwise", f"{blocks[width]}.norm1", run=run)
            reader = f"{blocks[width]}.pointwise" if width < len(blocks) else "head"
            settings = (Setting(places[width], each=run), Setting(("norm_groups", width)))
            found.append(Width(groups, settings, (*along, into(reader, run=run))))
        return tuple(found)


class MobileNet(Chained, Classifier):
    """Stem, separable blocks, the mean over the image, a linear map."""

    Config: ClassVar[type[MobileNetConfig]] = MobileNetConfig

    def __init__(self, config: MobileNetConfig) -> None:
        super().__init__()
        self.input_scale, self.image = config.input_scale, config.image
        maps = config.stem
        layers = [
            nn.Conv2d(config.image[0], maps, 3, stride=config.stem_stride, padding=1, bias=False),
            nn.GroupNorm(config.norm_groups[0], maps),
            nn.ReLU(),
        ]
        for (width, stride), groups in zip(config.blocks, pairwise(config.norm_groups), strict=True):
            layers.append(_Separable(maps, width, groups=groups, stride=stride))
            maps = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(maps, config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def chain(self) -> tuple[Link, ...]:
        layers = (Link(layer, layer) for layer in self.layers)
        return Link(self._maps), *layers, Link(self._head, self.head)

    def _maps(self, x_BYX: torch.Tensor) -> torch.Tensor:
        return (x_BYX * self.input_scale).reshape(x_BYX.shape[0], *self.image)

    def _head(self, h_BKYX: torch.Tensor) -> torch.Tensor:
        logits_BC: torch.Tensor = self.head(h_BKYX.mean(dim=(2, 3)))
        return logits_BC


class _Separable(nn.Module):
    """relu(norm(1x1 conv)) of relu(norm(3x3 conv of each map alone)): figure 3 of the paper."""

    def __init__(self, maps: int, width: int, *, groups: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(maps, maps, 3, stride=stride, padding=1, groups=maps, bias=False)
        self.norm1 = nn.GroupNorm(groups[0], maps)
        self.pointwise = nn.Conv2d(maps, width, 1, bias=False)
        self.norm2 = nn.GroupNorm(groups[1], width)

    def forward(self, h_BKYX: torch.Tensor) -> torch.Tensor:
        h_BKYX = torch.relu(self.norm1(self.depthwise(h_BKYX)))
        return torch.relu(self.norm2(self.pointwise(h_BKYX)))
