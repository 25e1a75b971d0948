"""LeNet-5, the convolutional network that read cheques.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document Recognition (1998),
section II.B. As in the paper: the layers C1, S2, C3, S4, C5, F6, their sizes, and images that get a border of two
pixels, which makes 28 x 28 the paper's 32 x 32. As everybody builds it today: rectifiers for the scaled tanh, the
largest of 2 x 2 for the trained mean, every map of C3 sees all of S2 where the paper has a table, and a linear map
under softmax for the distances to drawn characters.
Legend: B rows, K maps (of the layer at hand), Y height, X width, H hidden units, C classes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn
from torch.nn.functional import max_pool2d

from raymaas.models.base import ImageConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.chance import Dropout
from raymaas.models.networks import Classifier
from raymaas.models.widths import Setting, Width, into, out_of


class LeNet5Config(ImageConfig):
    """Its sizes, the paper's by default."""

    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = Field(
        (6, 16, 120, 84), description="Maps of C1 and C3, units of C5 and F6."
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of C5's and F6's units silenced in each training step."
    )

    @model_validator(mode="after")
    def _is_large_enough(self) -> LeNet5Config:
        if min(self.flattened) < 1:
            raise ValueError(
                f"an image must be at least 12 x 12 here, got {list(self.image[1:])}; take `cnn`"
            )
        return self

    def narrowable(self) -> tuple[Width, ...]:
        names = ("c1", "c3", "c5", "f6", "head")
        runs = {"c3": math.prod(self.flattened)}  # of what is flattened
        return tuple(
            Width(units, (Setting(("widths", place)),), (*out_of(name), into(after, run=runs.get(name, 1))))
            for place, (units, (name, after)) in enumerate(zip(self.widths, pairwise(names), strict=True))
        )

    @property
    def flattened(self) -> tuple[int, int]:
        """Height and width of S4: 5 x 5 for an image of 28 x 28."""
        _, height, width = self.image
        return (height // 2 - 4) // 2, (width // 2 - 4) // 2


class LeNet5(Chained, Classifier):
    """C1 5x5, S2, C3 5x5, S4, C5, F6, output."""

    Config: ClassVar[type[LeNet5Config]] = LeNet5Config

    def __init__(self, config: LeNet5Config) -> None:
        super().__init__()
        self.input_scale, self.image = config.input_scale, config.image
        c1, c3, c5, f6 = config.widths
        height, width = config.flattened
        self.c1 = nn.Conv2d(config.image[0], c1, 5, padding=2)
        self.c3 = nn.Conv2d(c1, c3, 5)
        self.c5 = nn.Linear(c3 * height * width, c5)
        self.f6 = nn.Linear(c5, f6)
        self.head = nn.Linear(f6, config.classes)
        self.c5_dropout, self.f6_dropout = Dropout(config.dropout), Dropout(config.dropout)
        for layer in (self.c1, self.c3, self.c5, self.f6, self.head):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def chain(self) -> tuple[Link, ...]:
        return (
            Link(self._s2, self.c1),
            Link(self._s4, self.c3),
            Link(self._c5, self.c5),
            Link(self._f6, self.f6),
            Link(self.head, self.head),
        )

    def _s2(self, x_BYX: torch.Tensor) -> torch.Tensor:
        x_BKYX = (x_BYX * self.input_scale).reshape(x_BYX.shape[0], *self.image)
        return max_pool2d(torch.relu(self.c1(x_BKYX)), 2)

    def _s4(self, s2_BKYX: torch.Tensor) -> torch.Tensor:
        return max_pool2d(torch.relu(self.c3(s2_BKYX)), 2)

    def _c5(self, s4_BKYX: torch.Tensor) -> torch.Tensor:
        c5_BH: torch.Tensor = self.c5_dropout(torch.relu(self.c5(s4_BKYX.flatten(1))))
        return c5_BH

    def _f6(self, c5_BH: torch.Tensor) -> torch.Tensor:
        f6_BH: torch.Tensor = self.f6_dropout(torch.relu(self.f6(c5_BH)))
        return f6_BH
