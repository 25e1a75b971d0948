"""Recurrent networks over a sequence: a state that every step rewrites through gates, and the last one decides.

S. Hochreiter, J. Schmidhuber, Long Short-Term Memory (1997), with the forget gate of Gers et al. (2000):

    i, f, o = sigmoid(W x + U h + b)    g = tanh(W x + U h + b)    c = f c + i g    h = o tanh(c)

K. Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014), the gated recurrent unit:

    r, z = sigmoid(W x + U h + b)       n = tanh(W x + r (U h + b))                 h = (1 - z) n + z h

with the reset gate r after the product, as torch and cuDNN have it. An image is read row by row, from the top; a
text token by token.
Legend: B rows of the batch, T steps, D values in a step, H hidden units, C classes.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from raymaas.models.base import SequenceConfig, TokensConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.chance import Dropout
from raymaas.models.networks import Classifier
from raymaas.models.widths import Along, Setting, Width, into
from raymaas.specs.base import Spec


class Cells(Spec):
    """Which cell, and how many."""

    cell: Literal["gru", "lstm"] = Field("gru", description="gated recurrent unit, or long short-term memory")
    hidden: int = Field(128, ge=1, description="Hidden units, H.")
    layers: int = Field(
        1, ge=1, description="Cells on top of each other; each reads the states of the one below."
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the last state silenced in each training step."
    )

    def narrowable(self) -> tuple[Width, ...]:
        """Of each layer its units, in all layers as many."""
        gates = 3 if self.cell == "gru" else 4
        return tuple(
            Width(
                self.hidden,
                (Setting(("hidden",)),),
                (
                    *(
                        Along(f"cells.{part}_l{layer}", times=gates)
                        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                    ),
                    Along(f"cells.weight_hh_l{layer}", dim=1),
                    Along(f"cells.weight_ih_l{layer + 1}", dim=1)
                    if layer + 1 < self.layers
                    else into("head"),
                ),
            )
            for layer in range(self.layers)
        )

    def made(self, values: int) -> nn.GRU | nn.LSTM:
        """The cells, for steps of as many values."""
        kind = nn.GRU if self.cell == "gru" else nn.LSTM
        return kind(values, self.hidden, num_layers=self.layers, batch_first=True)


class RecurrentConfig(Cells, SequenceConfig):
    """The cells, and the rows they read."""


class TextRecurrentConfig(Cells, TokensConfig):
    """The cells, and the tokens they read."""

    embedding: int = Field(64, ge=1, description="Values that each token becomes.")

    def narrowable(self) -> tuple[Width, ...]:
        read = (Along("embed.weight", dim=1), Along("cells.weight_ih_l0", dim=1))
        return Width(self.embedding, (Setting(("embedding",)),), read), *super().narrowable()


class Recurrent(Chained, Classifier):
    """logits = W h_T + b, with h_t = cell(s x_t, h_(t-1))."""

    Config: ClassVar[type[RecurrentConfig]] = RecurrentConfig

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.input_scale = config.input_scale
        self.cells = config.made(config.shape[1])
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.classes)

    def chain(self) -> tuple[Link, ...]:
        return Link(self._read, self.cells), Link(self._head, self.head)

    def _read(self, x_BTD: torch.Tensor) -> torch.Tensor:
        h_BTH: torch.Tensor = self.cells(x_BTD * self.input_scale)[0]
        return h_BTH[:, -1]

    def _head(self, h_BH: torch.Tensor) -> torch.Tensor:
        logits_BC: torch.Tensor = self.head(self.dropout(h_BH))
        return logits_BC


class TextRecurrent(Chained, Classifier):
    """logits = W max_t h_t + b over the tokens there are, with h_t = cell(embedding[x_t], h_(t-1))."""

    Config: ClassVar[type[TextRecurrentConfig]] = TextRecurrentConfig

    def __init__(self, config: TextRecurrentConfig) -> None:
        super().__init__()
        self.embed = nn.Embedding(config.vocabulary, config.embedding)
        self.cells = config.made(config.embedding)
        # Each draws from a stream of its own: the two may be on different workers.
        self.token_dropout, self.dropout = Dropout(config.dropout), Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.classes)

    def chain(self) -> tuple[Link, ...]:
        return (
            Link(self._tokens, self.embed),
            Link(self._read, self.cells),
            Link(self._head, self.head, sees_rows=True),
        )

    def _tokens(self, x_BT: torch.Tensor) -> torch.Tensor:
        z_BTE: torch.Tensor = self.token_dropout(self.embed(x_BT.long()))
        return z_BTE

    def _read(self, z_BTE: torch.Tensor) -> torch.Tensor:
        h_BTH: torch.Tensor = self.cells(z_BTE)[0]
        return h_BTH

    def _head(self, h_BTH: torch.Tensor, x_BT: torch.Tensor) -> torch.Tensor:
        # States are within -1..1, so this hides those behind the text's end; without any token all are hidden alike.
        h_BTH = torch.where(x_BT[:, :, None] > 0, h_BTH, -1.0)
        logits_BC: torch.Tensor = self.head(self.dropout(h_BTH.amax(dim=1)))
        return logits_BC
