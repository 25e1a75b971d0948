"""Convolutional networks written as a line of layers, the way papers print them.

K. Simonyan, A. Zisserman, Very Deep Convolutional Networks (2014), table 1, for the notation; rectifiers and
their initialisation after He et al. (2015), dropout after Srivastava et al. (2014).

    conv5x5-32        32 maps by a 5 x 5 convolution that keeps height and width, then a rectifier
    conv5x5valid-32   the same without a border, so that 4 rows and 4 columns are lost
    pool              the largest of every 2 x 2; an odd row or column at the end is left out
    dropout-0.5       half of the values silenced in each training step
    dense-1024        flattens, then 1024 units with a rectifier

A linear map to the classes follows. How many values are flattened is worked out from the image and the pools.
Legend: B rows, K maps (of the layer at hand), Y height, X width, H hidden units, C classes.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator
from torch import nn

from raymaas.models.base import ImageConfig
from raymaas.models.chain import Chained, Link
from raymaas.models.chance import Dropout
from raymaas.models.networks import Classifier
from raymaas.models.widths import Setting, Width, into, out_of

_VALID = "valid"
_SIZE, _SHARE = r"[1-9]\d{0,4}", r"0\.\d{1,6}"

Layer = Annotated[
    str, Field(pattern=rf"^(conv{_SIZE}x{_SIZE}(valid)?-{_SIZE}|pool|dropout-{_SHARE}|dense-{_SIZE})$")
]


class CNNConfig(ImageConfig):
    """The layers."""

    layers: tuple[Layer, ...] = Field(
        ("conv5x5-32", "pool", "conv5x5-64", "pool", "dense-1024", "dropout-0.5"),
        min_length=1,
        description="In order: conv5x5-32, pool, dropout-0.5, dense-1024 and the like; kernels are odd.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> CNNConfig:
        if any(size % 2 == 0 for layer in self.layers for size in _numbers(layer, of="conv")[:2]):
            raise ValueError("layers: a kernel's height and width must be odd, so that it has a middle")
        words = [layer.partition("-")[0] for layer in self.layers]
        dense = words.index("dense") if "dense" in words else len(words)
        if any(word == "pool" or word.startswith("conv") for word in words[dense:]):
            raise ValueError(
                "layers: no conv or pool can follow a dense layer, which has flattened the image"
            )
        if min(self.maps[1:]) < 1:
            raise ValueError(
                f"layers: {words.count('pool')} pools, and what has no border, leave nothing of an image of "
                f"{list(self.image[1:])}; take some out"
            )
        return self

    def narrowable(self) -> tuple[Width, ...]:
        names = [*self._names, (len(self.layers), "head")]
        widths = []
        for (place, name), (following, after) in pairwise(names):
            word, _, units = self.layers[place].rpartition("-")
            flattened = word.startswith("conv") and not self._is_conv(following)
            run = math.prod(self.maps[1:]) if flattened else 1
            setting = Setting(("layers", place), before=f"{word}-")
            widths.append(Width(int(units), (setting,), (*out_of(name), into(after, run=run))))
        return tuple(widths)

    @property
    def _names(self) -> list[tuple[int, str]]:
        """Where each layer with weights is in `layers`, and its name in the network."""
        names, modules, flat = [], 0, False
        for place, layer in enumerate(self.layers):
            if layer.startswith("dense") and not flat:
                modules, flat = modules + 1, True
            if layer.startswith(("conv", "dense")):
                names.append((place, f"layers.{modules}"))
                modules += 1  # its rectifier
            modules += 1
        return names

    def _is_conv(self, place: int) -> bool:
        return place < len(self.layers) and self.layers[place].startswith("conv")

    @property
    def maps(self) -> tuple[int, int, int]:
        """Maps, height and width of what is flattened."""
        channels, height, width = self.image
        for layer in self.layers:
            if layer == "pool":
                height, width = height // 2, width // 2
            if numbers := _numbers(layer, of="conv"):
                channels = numbers[2]
            if _VALID in layer:
                height, width = height - numbers[0] + 1, width - numbers[1] + 1
        return channels, height, width


class CNN(Chained, Classifier):
    """logits = W f(s x) + b, with f the layers of the config."""

    Config: ClassVar[type[CNNConfig]] = CNNConfig

    def __init__(self, config: CNNConfig) -> None:
        super().__init__()
        self.input_scale, self.image = config.input_scale, config.image
        maps, flat = config.image[0], 0
        layers: list[nn.Module] = []
        for layer in config.layers:
            if layer == "pool":
                layers.append(nn.MaxPool2d(2))
            elif layer.startswith("dropout"):
                layers.append(Dropout(float(layer.partition("-")[2])))
            elif layer.startswith("conv"):
                height, width, wanted = _numbers(layer, of="conv")
                border = _VALID if _VALID in layer else "same"
                layers += [nn.Conv2d(maps, wanted, (height, width), padding=border), nn.ReLU()]
                maps = wanted
            else:
                (units,) = _numbers(layer, of="dense")
                if not flat:
                    layers.append(nn.Flatten())
                layers += [nn.Linear(flat or math.prod(config.maps), units), nn.ReLU()]
                flat = units
        if not flat:
            layers.append(nn.Flatten())
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(flat or math.prod(config.maps), config.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def chain(self) -> tuple[Link, ...]:
        layers = (Link(layer, layer) for layer in self.layers)
        return Link(self._maps), *layers, Link(self.head, self.head)

    def _maps(self, x_BYX: torch.Tensor) -> torch.Tensor:
        return (x_BYX * self.input_scale).reshape(x_BYX.shape[0], *self.image)


def _numbers(layer: str, *, of: str) -> list[int]:
    """The numbers in the name of a layer of that kind; none in another's."""
    return [int(digits) for digits in re.findall(r"\d+", layer)] if layer.startswith(of) else []
