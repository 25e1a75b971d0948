"""Quantization-aware training: weights become a few integer levels times a scale, and learn to live with it.

B. Jacob et al., Quantization and Training of Neural Networks (2018): forward passes see the rounded weights,
gradients go straight through (Bengio et al. 2013). Symmetric and uniform: with b bits the levels are
-(2^(b-1) - 1) to 2^(b-1) - 1, so zero is a level and pruned weights stay pruned. Biases get 8 bits.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field

from raymaas.bundle.rmz.tensors import Quantized
from raymaas.compress.distill import fine_tune
from raymaas.compress.subject import Subject
from raymaas.compress.weights import Weight
from raymaas.specs.base import Spec

_BIAS_BITS = 8
_CLIPS = torch.linspace(0.3, 1.0, 29)


class QuantizeConfig(Spec):
    """How coarse."""

    bits: int = Field(ge=2, le=8, description="Bits of a level.")
    epochs: int = Field(16, ge=0, description="Epochs of training with rounded weights.")
    scales: Literal["tensor", "channel"] = Field(
        "channel", description="One scale for a layer, or one for each of its outputs."
    )


class Rounded:
    """Weights as the levels of their fixed scales; the gradient of a weight beyond the last level is zero."""

    def __init__(self, weight: torch.Tensor, *, bits: int, per_channel: bool) -> None:
        self.top, self.bits = 2 ** (bits - 1) - 1, bits
        self.scale = best_scale(weight, top=self.top, per_channel=per_channel)

    def value(self, weight: torch.Tensor) -> torch.Tensor:
        scale = _beside(self.scale, weight)
        value: torch.Tensor = (weight / scale).round().clamp(-self.top, self.top) * scale
        return value

    def gradient(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        limit = (self.top + 0.5) * _beside(self.scale, weight)
        within: torch.Tensor = weight.abs() <= limit
        return gradient * within

    def levels(self, rounded: torch.Tensor) -> np.ndarray:
        """The int8 levels of what `forward` gave."""
        return (rounded / _beside(self.scale, rounded)).round().to(torch.int8).numpy()


class Quantize:
    """Afterwards every matrix and every bias of a layer is settled: levels and scales, which no later pass may touch.

    Other weights, such as those of norms, are few and stay as they are.
    """

    Config: ClassVar[type[QuantizeConfig]] = QuantizeConfig

    def __init__(self, config: QuantizeConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        rounders = {
            name: Rounded(weight.parameter.detach(), bits=bits, per_channel=self._has_channels(weight))
            for name, weight in subject.weights.items()
            if (bits := self._bits(weight))
        }
        for name, rounder in rounders.items():
            subject.weights[name].constrain(rounder)
        fine_tune(subject, epochs=self._config.epochs)
        for name, rounder in rounders.items():
            subject.coded[name] = Quantized(
                levels=rounder.levels(subject.weights[name].parameter.detach()),
                scale=rounder.scale.half().numpy(),
                bits=rounder.bits,
            )

    def _bits(self, weight: Weight) -> int | None:
        """None for what stays as it is."""
        if weight.parameter.dim() >= 2:
            return self._config.bits
        return _BIAS_BITS if weight.is_bias else None

    def _has_channels(self, weight: Weight) -> bool:
        """An embedding has a row for each token: so many scales would take more than they bring."""
        matrices = ("linear", "convolution", "recurrent")
        return self._config.scales == "channel" and weight.kind in matrices


def best_scale(weight: torch.Tensor, *, top: int, per_channel: bool) -> torch.Tensor:
    """The scale, or one per row, whose rounding is closest to `weight` in squares; a half-precision number.

    Clipping a few large weights leaves finer levels for the many small ones.
    """
    rows = weight.flatten(start_dim=1) if per_channel else weight.reshape(1, -1)
    largest_R = rows.abs().amax(dim=1)
    # Half precision is what the file keeps: training must see the very number that serving will.
    candidates_KR = (_CLIPS[:, None] * largest_R / top).half().float()
    candidates_KR[candidates_KR == 0] = 1.0
    errors_KR = torch.stack(
        [
            ((rows / s_R[:, None]).round().clamp(-top, top) * s_R[:, None] - rows).square().sum(dim=1)
            for s_R in candidates_KR
        ]
    )
    scale_R = candidates_KR.gather(0, errors_KR.argmin(dim=0)[None])[0]
    return scale_R if per_channel else scale_R[0]


def _beside(scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return scale if scale.ndim == 0 else scale.view(-1, *[1] * (weight.ndim - 1))
