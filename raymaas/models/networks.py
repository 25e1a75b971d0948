"""Networks: modules that know what they answer when served, besides what they are trained by.

`forward` is for training: logits for a classifier, a prediction for a regressor, and for networks that need no
labels the terms of their own loss. `infer` is for serving: the outputs of the version's signature, in its order.
Shape suffixes: B rows of a batch, C classes, K terms of a loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from raymaas.models.base import NetworkConfig
from raymaas.models.chance import Chance
from raymaas.specs.versions import Signature


@dataclass(frozen=True)
class Method:
    """Something a network answers besides `infer`: from arrays by input name to arrays by output name.

    `run` gets what the signature's inputs say, one row of each per row asked. The caller holds inference mode.
    """

    signature: Signature
    run: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


class Network(nn.Module):
    """A module of the catalogue, made from its family's config."""

    Config: ClassVar[type[NetworkConfig]]
    indivisible: ClassVar[str] = "it is a single layer"
    """Why it cannot be cut in two, of one that is no chain."""

    def infer(self, x_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The outputs of `raymaas.models.base.signature_of`, in its order; it can be exported as a graph."""
        raise NotImplementedError

    def methods(self) -> Mapping[str, Method]:
        """What else it answers, by name."""
        return {}

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device


class Classifier(Network):
    """`forward` maps float32 [B, *row] to logits [B, C]."""

    def infer(self, x_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        logits_BC = self(x_B)
        return logits_BC, logits_BC.softmax(dim=-1)


class Regressor(Network):
    """`forward` maps float32 [B, *row] to predictions [B]."""

    def infer(self, x_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self(x_B),)


class SelfSupervised(Network):
    """`forward` maps float32 [B, *row] to the terms of each row's loss, [B, K]; the loss is their sum.

    `figures` are what is told of a training: by name, the weight of each term in it.
    """

    figures: ClassVar[Mapping[str, tuple[float, ...]]]

    def __init__(self) -> None:
        super().__init__()
        self.chance = Chance()
