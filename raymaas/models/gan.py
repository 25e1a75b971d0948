"""The generative adversarial network: a generator makes rows, a discriminator tells them from the data's.

I. Goodfellow et al., Generative Adversarial Nets (2014). With D the discriminator's chance that a row is real:

    discriminator        -log D(x) - log(1 - D(G(z)))
    generator, minimax    log(1 - D(G(z)))
    generator, non-saturating (section 3)  -log D(G(z))

The discriminator also pays for its slope at real rows, which keeps the two from circling each other, or the generator
from making one row only (L. Mescheder, A. Geiger, S. Nowozin, Which Training Methods for GANs do actually Converge?,
2018, R1).

Both learn in the same step, from the same draw: the discriminator's loss does not reach the generator, and the
generator's not the discriminator's weights. (L. Mescheder, S. Nowozin, A. Geiger, The Numerics of GANs, 2017, on such
simultaneous steps.)
Legend: B rows, D values of a row, H hidden units, Z latent numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import nn
from torch.func import functional_call
from torch.nn.functional import softplus

from raymaas.models.base import ScaledConfig
from raymaas.models.chance import Dropout
from raymaas.models.networks import Method, SelfSupervised
from raymaas.models.perceptron import narrowable, perceptron
from raymaas.models.vae import latent_of
from raymaas.models.widths import Setting, Width
from raymaas.specs.tasks import Task
from raymaas.specs.versions import Signature, TensorSpec

_SLOPE = 0.2  # of the leaky rectifiers below 0; A. Radford, L. Metz, S. Chintala (2016)


class GANConfig(ScaledConfig):
    """Sizes, and which loss the generator has. Rows must be 0..1 after scaling."""

    task: ClassVar[Task] = "adversarial"

    shape: tuple[PositiveInt, ...] = Field(description="Of a row. Absent: taken from the data.")
    loss: Literal["non_saturating", "minimax"] = Field("non_saturating", description="Of the generator.")
    latent: int = Field(64, ge=1, description="Latent numbers, Z.")
    generator: tuple[PositiveInt, ...] = Field((256, 512), min_length=1, description="Its hidden units.")
    discriminator: tuple[PositiveInt, ...] = Field((512, 256), min_length=1, description="Its hidden units.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Of the discriminator's hidden units, in training.")
    gradient_penalty: float = Field(
        5.0,
        ge=0,
        description="How much a steep discriminator costs: half of this times its squared slope at real rows.",
    )
    real_label: float = Field(
        1.0,
        gt=0.5,
        le=1,
        description="What the discriminator learns for real rows: one-sided smoothing below 1.",
    )

    def narrowable(self) -> tuple[Width, ...]:
        """Hidden units of both players; what a row is made of stays, since it is asked for by it."""
        generator = {Setting(("generator", place)): units for place, units in enumerate(self.generator)}
        judge = {Setting(("discriminator", place)): units for place, units in enumerate(self.discriminator)}
        return (
            *narrowable("generator", generator, between=1),
            *narrowable("discriminator", judge, between=2),
        )


class GAN(SelfSupervised):
    """Two perceptrons. The loss is the sum of both players' losses, each of which moves its own weights only."""

    Config: ClassVar[type[GANConfig]] = GANConfig
    indivisible: ClassVar[str] = "generator and discriminator learn from each other in the same step"
    figures: ClassVar[Mapping[str, tuple[float, ...]]] = {
        "discriminator_loss": (1.0, 0.0),
        "generator_loss": (0.0, 1.0),
    }

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.config = config
        values = math.prod(config.shape)
        self.generator = perceptron(
            (config.latent, *config.generator, values),
            between=lambda _: [nn.LeakyReLU(_SLOPE)],
        )
        self.discriminator = perceptron(
            (values, *config.discriminator, 1),
            between=lambda _: [nn.LeakyReLU(_SLOPE), Dropout(config.dropout)],
        )

    def forward(self, x_B: torch.Tensor) -> torch.Tensor:
        """The losses of discriminator and generator, [B, 2]."""
        x_BD = x_B.flatten(1) * self.config.input_scale
        z_BZ = self.chance.normal(x_BD.new_empty(len(x_BD), self.config.latent))
        made_BD = self.generator(z_BZ).sigmoid()
        penalised = self.training and self.config.gradient_penalty > 0
        if penalised:
            x_BD = x_BD.detach().requires_grad_()
        real_B, made_B = (self.discriminator(rows_BD)[:, 0] for rows_BD in (x_BD, made_BD.detach()))
        held = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        judged_B = functional_call(self.discriminator, held, (made_BD,))[:, 0]
        smooth = self.config.real_label
        discriminator_B = smooth * softplus(-real_B) + (1 - smooth) * softplus(real_B) + softplus(made_B)
        if penalised:
            (slope_BD,) = torch.autograd.grad(real_B.sum(), x_BD, create_graph=True)
            discriminator_B = discriminator_B + self.config.gradient_penalty / 2 * slope_BD.square().sum(
                dim=1
            )
        fooled_B = softplus(-judged_B) if self.config.loss == "non_saturating" else -softplus(judged_B)
        return torch.stack([discriminator_B, fooled_B], dim=1)

    def infer(self, x_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.discriminator(x_B.flatten(1) * self.config.input_scale)[:, 0].sigmoid(),)

    def methods(self) -> Mapping[str, Method]:
        x = TensorSpec(name="x", dtype="FP32", shape=(-1, *self.config.shape))
        seed = TensorSpec(name="seed", dtype="INT64", shape=(-1,))
        real = TensorSpec(name="real", dtype="FP32", shape=(-1,))
        return {
            "sample": Method(Signature(inputs=(seed,), outputs=(x,)), self._served_sample),
            "discriminate": Method(Signature(inputs=(x,), outputs=(real,)), self._served_discriminate),
        }

    def _served_sample(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        z_BZ = latent_of(inputs["seed"], self.config.latent).to(self.device)
        rows_BD = self.generator(z_BZ).sigmoid() / self.config.input_scale
        return {"x": rows_BD.unflatten(-1, self.config.shape).cpu().numpy()}

    def _served_discriminate(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        (real_B,) = self.infer(torch.tensor(inputs["x"], device=self.device))
        return {"real": real_B.cpu().numpy()}
