"""Quantization-aware training: linear weights become a few integer levels times a scale, and learn to live with it.

B. Jacob et al., Quantization and Training of Neural Networks (2018): forward passes see the rounded weights,
gradients go straight through (Bengio et al. 2013). Symmetric and uniform: with b bits the levels are
-(2^(b-1) - 1) to 2^(b-1) - 1, so zero is a level and pruned weights stay pruned. Biases get 8 bits.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn.utils import parametrize

from raymaas.bundle.rmz.tensors import Quantized
from raymaas.compress.distill import fine_tune
from raymaas.compress.subject import Subject
from raymaas.specs.base import Spec

_BIAS_BITS = 8
_CLIPS = torch.linspace(0.3, 1.0, 29)


class QuantizeConfig(Spec):
    """How coarse."""

    bits: int = Field(ge=2, le=8, description="Bits of a level.")
    epochs: int = Field(16, ge=1, description="Epochs of training with rounded weights.")
    scales: Literal["tensor", "channel"] = Field(
        "channel", description="One scale for a layer, or one for each of its outputs."
    )


class Rounded(nn.Module):
    """Weights as the levels of their fixed scales; the gradient of a weight beyond the last level is zero."""

    scale: torch.Tensor

    def __init__(self, weight: torch.Tensor, *, bits: int, per_channel: bool) -> None:
        super().__init__()
        self.top = 2 ** (bits - 1) - 1
        self.register_buffer("scale", best_scale(weight, top=self.top, per_channel=per_channel))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        if self.scale.ndim == 0:
            return torch.fake_quantize_per_tensor_affine(weight, float(self.scale), 0, -self.top, self.top)
        zeros = torch.zeros(len(self.scale), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, self.scale, zeros, 0, -self.top, self.top)

    def levels(self, rounded: torch.Tensor) -> np.ndarray:
        """The int8 levels of what `forward` gave."""
        return (rounded / _beside(self.scale, rounded)).round().to(torch.int8).numpy()


class Quantize:
    """Afterwards every linear layer is settled: levels and scales, which no later pass may touch."""

    Config: ClassVar[type[QuantizeConfig]] = QuantizeConfig

    def __init__(self, config: QuantizeConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        rounders: dict[str, Rounded] = {}
        for name, layer in subject.linear_layers():
            rounders[f"{name}.weight"] = Rounded(
                layer.weight.detach(),
                bits=self._config.bits,
                per_channel=self._config.scales == "channel",
            )
            if layer.bias is not None:
                rounders[f"{name}.bias"] = Rounded(layer.bias.detach(), bits=_BIAS_BITS, per_channel=False)
        for name, rounder in rounders.items():
            layer_name, _, part = name.rpartition(".")
            parametrize.register_parametrization(subject.network.get_submodule(layer_name), part, rounder)
        fine_tune(subject, epochs=self._config.epochs)
        for name, rounder in rounders.items():
            layer_name, _, part = name.rpartition(".")
            rounded = getattr(subject.network.get_submodule(layer_name), part).detach()
            bits = _BIAS_BITS if part == "bias" else self._config.bits
            subject.coded[name] = Quantized(
                levels=rounder.levels(rounded), scale=rounder.scale.half().numpy(), bits=bits
            )


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
