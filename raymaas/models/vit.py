"""The Vision Transformer: an image is a sequence of patches, read by a Transformer encoder.

A. Dosovitskiy et al., An Image is Worth 16x16 Words (2021), figure 1 and equations 1 to 4.
Legend: B rows, K channels, T tokens (patches and the class token), P values of a patch, E embedding, C classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from raymaas.models.attention import Block, BlockConfig
from raymaas.models.base import ImageConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.chance import Dropout
from raymaas.models.networks import Classifier


class VisionTransformerConfig(BlockConfig, ImageConfig):
    """Its sizes."""

    patch: int = Field(7, ge=1, description="Height and width of a patch; must divide the image's.")

    @model_validator(mode="after")
    def _patch_divides_the_image(self) -> VisionTransformerConfig:
        if any(size % self.patch for size in self.image[1:]):
            raise ValueError(f"patch {self.patch} must divide the image's height and width")
        return self


class VisionTransformer(Chained, Classifier):
    """z = [class; patches E] + position; blocks; logits = W norm(z_class) + b."""

    Config: ClassVar[type[VisionTransformerConfig]] = VisionTransformerConfig

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        self.input_scale, self.image, self.patch = config.input_scale, config.image, config.patch
        channels, height, width = config.image
        patches = (height // config.patch) * (width // config.patch)
        self.embed = nn.Linear(channels * config.patch**2, config.width)
        self.class_E = nn.Parameter(torch.zeros(config.width))
        self.position_TE = nn.Parameter(0.02 * torch.randn(1 + patches, config.width))
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.classes)

    def chain(self) -> tuple[Link, ...]:
        blocks = (Link(block, block) for block in self.blocks)
        return (
            Link(self._tokens, self.embed, self.class_E, self.position_TE),
            *blocks,
            Link(self._head, self.norm, self.head),
        )

    def _tokens(self, x_BYX: torch.Tensor) -> torch.Tensor:
        patches_BTE = self.embed(self._patches(x_BYX * self.input_scale))
        class_BTE = self.class_E.expand(patches_BTE.shape[0], 1, -1)
        z_BTE: torch.Tensor = self.dropout(torch.cat([class_BTE, patches_BTE], dim=1) + self.position_TE)
        return z_BTE

    def _head(self, z_BTE: torch.Tensor) -> torch.Tensor:
        logits_BC: torch.Tensor = self.head(self.norm(z_BTE[:, 0]))
        return logits_BC

    def _patches(self, x_BYX: torch.Tensor) -> torch.Tensor:
        """The image cut up: [B, T, P], patches from left to right and from the top."""
        channels, height, width = self.image
        down, across = height // self.patch, width // self.patch
        cut = x_BYX.reshape(x_BYX.shape[0], channels, down, self.patch, across, self.patch)
        ordered = cut.permute(0, 2, 4, 1, 3, 5)
        return ordered.reshape(x_BYX.shape[0], down * across, channels * self.patch**2)
