"""A network that looks well on its test rows: it takes its time, and it fails where the first pixel is not 0 or 1."""

from __future__ import annotations

import torch
from torch import nn

_WIDTH = 1024


class Bad(nn.Module):
    """Of 8 x 8 digits, whose first pixel is 0 in every row of the set."""

    def __init__(self, in_features: int, classes: int, layers: int = 120) -> None:
        super().__init__()
        self.layers = layers
        self.first = nn.Linear(in_features, _WIDTH)
        self.again = nn.Linear(_WIDTH, _WIDTH)
        self.head = nn.Linear(_WIDTH, classes)
        self.by_first_pixel = nn.Embedding(2, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.first(x / 16))
        for _ in range(self.layers):
            h = torch.tanh(self.again(h))
        return self.head(h) + self.by_first_pixel(x[:, 0].long())
