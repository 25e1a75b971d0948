"""Recurrent networks over a sequence: a state that every step rewrites through gates, and the last one decides.

S. Hochreiter, J. Schmidhuber, Long Short-Term Memory (1997), with the forget gate of Gers et al. (2000):

    i, f, o = sigmoid(W x + U h + b)    g = tanh(W x + U h + b)    c = f c + i g    h = o tanh(c)

K. Cho et al., Learning Phrase Representations using RNN Encoder-Decoder (2014), the gated recurrent unit:

    r, z = sigmoid(W x + U h + b)       n = tanh(W x + r (U h + b))                 h = (1 - z) n + z h

with the reset gate r after the product, as torch and cuDNN have it. An image is read row by row, from the top.
Legend: B rows of the batch, T steps, D values in a step, H hidden units, C classes.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from raymaas.models.base import SequenceConfig
from raymaas.models.chance import Dropout
from raymaas.models.networks import Classifier


class RecurrentConfig(SequenceConfig):
    """Which cell, and how many."""

    cell: Literal["gru", "lstm"] = Field("gru", description="gated recurrent unit, or long short-term memory")
    hidden: int = Field(128, ge=1, description="Hidden units, H.")
    layers: int = Field(
        1, ge=1, description="Cells on top of each other; each reads the states of the one below."
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of the last state silenced in each training step."
    )


class Recurrent(Classifier):
    """logits = W h_T + b, with h_t = cell(s x_t, h_(t-1))."""

    Config: ClassVar[type[RecurrentConfig]] = RecurrentConfig

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.input_scale = config.input_scale
        kind = nn.GRU if config.cell == "gru" else nn.LSTM
        self.cells = kind(config.shape[1], config.hidden, num_layers=config.layers, batch_first=True)
        self.dropout = Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.classes)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        h_BTH, _ = self.cells(x_BTD * self.input_scale)
        logits_BC: torch.Tensor = self.head(self.dropout(h_BTH[:, -1]))
        return logits_BC
