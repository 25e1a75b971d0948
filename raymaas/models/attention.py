"""The Transformer's block: attention, then a feed-forward part, each with its norm before and its input added.

A. Vaswani et al., Attention Is All You Need (2017), with the norm before each part instead of after it (R. Xiong et
al., On Layer Normalization in the Transformer Architecture, 2020).
Legend: B rows, T tokens, E embedding, N heads, A values of a head (E = N A, unless heads were taken out), F units of
the feed-forward part.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from raymaas.models.chance import Dropout
from raymaas.models.widths import Along, Setting, Width, into, out_of
from raymaas.specs.base import Spec


class BlockConfig(Spec):
    """The sizes of all blocks alike."""

    width: int = Field(64, ge=1, description="Values of a token, E.")
    heads: int = Field(4, ge=1, description="Attention heads, N; must divide the width.")
    depth: int = Field(4, ge=1, description="Blocks.")
    feed_forward: int = Field(128, ge=1, description="Units between the two linear maps of a block, F.")
    attention: int = Field(
        default_factory=lambda known: known["width"],
        ge=1,
        description="Values of all heads together, N A. Absent: the width.",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share silenced after embedding and each part of a block, in training."
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> BlockConfig:
        if self.attention % self.heads:
            whole = "width" if self.attention == self.width else "attention"
            raise ValueError(f"heads {self.heads} must divide {whole} {self.attention}")
        return self

    def narrowable(self) -> tuple[Width, ...]:
        """Heads, and units of the feed-forward part; in each block others, in all as many.

        The width is what all blocks add to and norms look at as a whole: none of it can go alone.
        """
        run = self.attention // self.heads
        heads = (Setting(("heads",)), Setting(("attention",), each=run))
        widths = []
        for block in (f"blocks.{place}" for place in range(self.depth)):
            three = (
                Along(f"{block}.attention.query_key_value.{part}", run=run, times=3)
                for part in ("weight", "bias")
            )
            units = (*out_of(f"{block}.up"), into(f"{block}.down"))
            widths += [
                Width(self.heads, heads, (*three, into(f"{block}.attention.out", run=run))),
                Width(self.feed_forward, (Setting(("feed_forward",)),), units),
            ]
        return tuple(widths)


class Block(nn.Module):
    """z = z + attention(norm(z)); z = z + W2 gelu(W1 norm(z)).

    `causal`: a token sees itself and those before it. `seen_BT` says which tokens there are to see; where it is
    False there is padding.
    """

    def __init__(self, config: BlockConfig, *, causal: bool = False) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = _Attention(config, causal=causal)
        self.feed_norm = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, config.width)
        self.dropout = Dropout(config.dropout)

    def forward(self, z_BTE: torch.Tensor, seen_BT: torch.Tensor | None = None) -> torch.Tensor:
        z_BTE = z_BTE + self.dropout(self.attention(self.attention_norm(z_BTE), seen_BT))
        h_BTF = gelu(self.up(self.feed_norm(z_BTE)))
        out_BTE: torch.Tensor = z_BTE + self.dropout(self.down(h_BTF))
        return out_BTE


class _Attention(nn.Module):
    """softmax(Q K' / sqrt(A)) V in every head, then one linear map over the heads together."""

    def __init__(self, config: BlockConfig, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = config.heads, causal
        self.query_key_value = nn.Linear(config.width, 3 * config.attention)
        self.out = nn.Linear(config.attention, config.width)

    def forward(self, z_BTE: torch.Tensor, seen_BT: torch.Tensor | None) -> torch.Tensor:
        query_BNTA, key_BNTA, value_BNTA = (
            part_BTE.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part_BTE in self.query_key_value(z_BTE).chunk(3, dim=-1)
        )
        seen_B11T = None if seen_BT is None else seen_BT[:, None, None, :]
        mixed_BNTA = scaled_dot_product_attention(
            query_BNTA, key_BNTA, value_BNTA, attn_mask=seen_B11T, is_causal=self.causal
        )
        out_BTE: torch.Tensor = self.out(mixed_BNTA.transpose(1, 2).flatten(-2))
        return out_BTE
