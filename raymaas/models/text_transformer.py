"""A Transformer encoder over tokens: every token sees all others, and their mean decides.

A. Vaswani et al., Attention Is All You Need (2017), the encoder; see raymaas.models.attention.
Legend: B rows, T tokens, E embedding, C classes.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import nn

from raymaas.models.attention import Block, BlockConfig
from raymaas.models.base import TokensConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.chance import Dropout
from raymaas.models.networks import Classifier


class TextTransformerConfig(BlockConfig, TokensConfig):
    """Its sizes."""


class TextTransformer(Chained, Classifier):
    """z = embedding[x] + position; blocks; logits = W mean_t norm(z_t) + b over the tokens there are."""

    Config: ClassVar[type[TextTransformerConfig]] = TextTransformerConfig

    def __init__(self, config: TextTransformerConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.vocabulary, config.width)
        self.position_TE = nn.Parameter(0.02 * torch.randn(config.shape[0], config.width))
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.classes)
        nn.init.normal_(self.embed.weight, std=0.1)

    def chain(self) -> tuple[Link, ...]:
        blocks = (Link(partial(_attended, block), block, sees_rows=True) for block in self.blocks)
        return (
            Link(self._tokens, self.embed, self.position_TE),
            *blocks,
            Link(self._head, self.norm, self.head, sees_rows=True),
        )

    def _tokens(self, x_BT: torch.Tensor) -> torch.Tensor:
        z_BTE: torch.Tensor = self.dropout(self.embed(x_BT.long()) + self.position_TE)
        return z_BTE

    def _head(self, z_BTE: torch.Tensor, x_BT: torch.Tensor) -> torch.Tensor:
        seen_BT = _seen(x_BT)
        weight_BT1 = seen_BT[:, :, None] / seen_BT.sum(dim=1)[:, None, None]
        logits_BC: torch.Tensor = self.head((self.norm(z_BTE) * weight_BT1).sum(dim=1))
        return logits_BC


def _attended(block: nn.Module, z_BTE: torch.Tensor, x_BT: torch.Tensor) -> torch.Tensor:
    out_BTE: torch.Tensor = block(z_BTE, _seen(x_BT))
    return out_BTE


def _seen(x_BT: torch.Tensor) -> torch.Tensor:
    """The tokens there are. A row without any still sees its first place, or its attention would be 0 / 0."""
    return (x_BT > 0) | (torch.arange(x_BT.shape[1], device=x_BT.device) == 0)
