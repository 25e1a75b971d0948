"""The Vision Transformer: an image is a sequence of patches, read by a Transformer encoder.

A. Dosovitskiy et al., An Image is Worth 16x16 Words (2021), figure 1 and equations 1 to 4; the encoder is that of
A. Vaswani et al., Attention Is All You Need (2017), with the norm before each part instead of after it.
Legend: B rows, K channels, T tokens (patches and the class token), P values of a patch, E embedding,
N heads, A values of a head (E = N A), F units of the feed-forward part, C classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from raymaas.models.base import ImageConfig
from raymaas.models.chance import Dropout
from raymaas.models.networks import Classifier


class VisionTransformerConfig(ImageConfig):
    """Its sizes."""

    patch: int = Field(7, ge=1, description="Height and width of a patch; must divide the image's.")
    width: int = Field(64, ge=1, description="Values of a token, E.")
    heads: int = Field(4, ge=1, description="Attention heads, N; must divide the width.")
    depth: int = Field(4, ge=1, description="Encoder blocks.")
    feed_forward: int = Field(128, ge=1, description="Units between the two linear maps of a block, F.")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share silenced after embedding and each part of a block, in training."
    )

    @model_validator(mode="after")
    def _divides(self) -> VisionTransformerConfig:
        if any(size % self.patch for size in self.image[1:]):
            raise ValueError(f"patch {self.patch} must divide the image's height and width")
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide width {self.width}")
        return self


class VisionTransformer(Classifier):
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
        self.blocks = nn.Sequential(*(_Block(config) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.classes)

    def forward(self, x_BYX: torch.Tensor) -> torch.Tensor:
        patches_BTE = self.embed(self._patches(x_BYX * self.input_scale))
        class_BTE = self.class_E.expand(patches_BTE.shape[0], 1, -1)
        z_BTE = self.dropout(torch.cat([class_BTE, patches_BTE], dim=1) + self.position_TE)
        z_BTE = self.blocks(z_BTE)
        logits_BC: torch.Tensor = self.head(self.norm(z_BTE[:, 0]))
        return logits_BC

    def _patches(self, x_BYX: torch.Tensor) -> torch.Tensor:
        """The image cut up: [B, T, P], patches from left to right and from the top."""
        channels, height, width = self.image
        down, across = height // self.patch, width // self.patch
        cut = x_BYX.reshape(x_BYX.shape[0], channels, down, self.patch, across, self.patch)
        ordered = cut.permute(0, 2, 4, 1, 3, 5)
        return ordered.reshape(x_BYX.shape[0], down * across, channels * self.patch**2)


class _Block(nn.Module):
    """z = z + attention(norm(z)); z = z + W2 gelu(W1 norm(z))."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = _Attention(config)
        self.feed_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, z_BTE: torch.Tensor) -> torch.Tensor:
        z_BTE = z_BTE + self.dropout(self.attention(self.attention_norm(z_BTE)))
        h_BTF = gelu(self.up(self.feed_norm(z_BTE)))
        out_BTE: torch.Tensor = z_BTE + self.dropout(self.down(h_BTF))
        return out_BTE


class _Attention(nn.Module):
    """softmax(Q K' / sqrt(A)) V in every head, then one linear map over the heads together."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, z_BTE: torch.Tensor) -> torch.Tensor:
        query_BNTA, key_BNTA, value_BNTA = (
            part_BTE.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part_BTE in self.query_key_value(z_BTE).chunk(3, dim=-1)
        )
        mixed_BNTA = scaled_dot_product_attention(query_BNTA, key_BNTA, value_BNTA)
        out_BTE: torch.Tensor = self.out(mixed_BNTA.transpose(1, 2).flatten(-2))
        return out_BTE
