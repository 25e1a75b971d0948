"""The variational autoencoder: a row is drawn from a few latent numbers, and an encoder learns to tell which.

D. P. Kingma, M. Welling, Auto-Encoding Variational Bayes (2014): with q(z|x) normal with mean and variance from the
encoder and p(z) standard normal, log p(x) is at least

    ELBO = E_q log p(x|z) - KL(q(z|x) || p(z))        in nats

p(x|z) is a Bernoulli for each value, or a Gaussian whose deviation is learned, one for all values. With `binarize`
each value x in 0..1 is drawn anew as 1 with chance x whenever it is trained on (R. Salakhutdinov, I. Murray, On the
Quantitative Analysis of Deep Belief Networks, 2008).
Legend: B rows, D values of a row, H hidden units, Z latent numbers, K draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from raymaas.models.base import ScaledConfig
from raymaas.models.networks import Method, SelfSupervised
from raymaas.models.perceptron import narrowable, perceptron
from raymaas.models.widths import Setting, Width
from raymaas.specs.tasks import Task
from raymaas.specs.versions import Signature, TensorSpec

_DRAWS_SEED = 20140501  # of the fixed draws that the served ELBO is averaged over


class VAEConfig(ScaledConfig):
    """Its sizes and its likelihood. For a Bernoulli, rows must be 0..1 after scaling."""

    task: ClassVar[Task] = "density"

    shape: tuple[PositiveInt, ...] = Field(description="Of a row. Absent: taken from the data.")
    likelihood: Literal["bernoulli", "gaussian"] = Field("bernoulli", description="Of a value, given z.")
    binarize: bool = Field(
        False, description="bernoulli: draw each value as 0 or 1 whenever it is trained on."
    )
    latent: int = Field(32, ge=1, description="Latent numbers, Z.")
    hidden: tuple[PositiveInt, ...] = Field(
        (512,), min_length=1, description="Units of the encoder's hidden layers; the decoder's are reversed."
    )
    draws: int = Field(
        8, ge=2, multiple_of=2, description="Draws of z that a served ELBO is the mean of, in opposite pairs."
    )

    @model_validator(mode="after")
    def _only_bernoulli_is_binary(self) -> VAEConfig:
        if self.binarize and self.likelihood != "bernoulli":
            raise ValueError("binarize belongs to likelihood bernoulli; leave it out")
        return self

    def narrowable(self) -> tuple[Width, ...]:
        """Hidden units; latent numbers stay, since clients send and get them."""
        encoder = {Setting(("hidden", place)): units for place, units in enumerate(self.hidden)}
        decoder = dict(reversed(encoder.items()))
        return *narrowable("encoder", encoder, between=1), *narrowable("decoder", decoder, between=1)


class VAE(SelfSupervised):
    """Encoder and decoder are perceptrons; both terms of the loss are in nats and their sum is -ELBO."""

    Config: ClassVar[type[VAEConfig]] = VAEConfig
    indivisible: ClassVar[str] = "its loss needs what the encoder gives beside what the decoder makes of it"
    figures: ClassVar[Mapping[str, tuple[float, ...]]] = {"elbo": (-1.0, -1.0), "divergence": (0.0, 1.0)}
    fixed_KZ: torch.Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        values = math.prod(config.shape)
        self.encoder = perceptron((values, *config.hidden, 2 * config.latent), between=_rectifier)
        self.decoder = perceptron((config.latent, *reversed(config.hidden), values), between=_rectifier)
        self.log_deviation = nn.Parameter(torch.zeros(1)) if config.likelihood == "gaussian" else None
        half_KZ = torch.randn(
            config.draws // 2, config.latent, generator=torch.Generator().manual_seed(_DRAWS_SEED)
        )
        self.register_buffer("fixed_KZ", torch.cat([half_KZ, -half_KZ]))

    def forward(self, x_B: torch.Tensor) -> torch.Tensor:
        """-log p(x|z) for one z drawn from the encoder, and the divergence, [B, 2]."""
        x_BD = x_B.flatten(1) * self.config.input_scale
        if self.config.binarize:
            x_BD = (self.chance.uniform(x_BD) < x_BD).to(x_BD.dtype)
        mean_BZ, log_variance_BZ = self._encode(x_BD)
        z_BZ = mean_BZ + (log_variance_BZ / 2).exp() * self.chance.normal(mean_BZ)
        terms = (self._cost(self.decoder(z_BZ), x_BD), _divergence(mean_BZ, log_variance_BZ))
        return torch.stack(terms, dim=1)

    def infer(self, x_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x_BD = x_B.flatten(1) * self.config.input_scale
        mean_BZ, log_variance_BZ = self._encode(x_BD)
        z_KBZ = mean_BZ + (log_variance_BZ / 2).exp() * self.fixed_KZ[:, None, :]
        cost_B = self._cost(self.decoder(z_KBZ), x_BD.expand(len(z_KBZ), -1, -1)).mean(dim=0)
        elbo_B = -cost_B - _divergence(mean_BZ, log_variance_BZ)
        return elbo_B, self._rows(mean_BZ)

    def _encode(self, x_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean_BZ, log_variance_BZ = self.encoder(x_BD).chunk(2, dim=-1)
        return mean_BZ, log_variance_BZ

    def _cost(self, decoded_BD: torch.Tensor, x_BD: torch.Tensor) -> torch.Tensor:
        """-log p(x|z) of each row in nats, for what the decoder gave."""
        if self.log_deviation is None:
            cost_BD = binary_cross_entropy_with_logits(decoded_BD, x_BD, reduction="none")
        else:
            off_BD = (x_BD - decoded_BD) / self.log_deviation.exp()
            cost_BD = off_BD.square() / 2 + self.log_deviation + math.log(2 * math.pi) / 2
        cost_B: torch.Tensor = cost_BD.sum(dim=-1)
        return cost_B

    def _rows(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """The mean of p(x|z), in the units and the shape of the data."""
        decoded_BD = self.decoder(z_BZ)
        mean_BD = decoded_BD.sigmoid() if self.log_deviation is None else decoded_BD
        rows_B: torch.Tensor = mean_BD.unflatten(-1, self.config.shape) / self.config.input_scale
        return rows_B

    def methods(self) -> Mapping[str, Method]:
        z = TensorSpec(name="z", dtype="FP32", shape=(-1, self.config.latent))
        x = TensorSpec(name="x", dtype="FP32", shape=(-1, *self.config.shape))
        mean, log_variance = (z.model_copy(update={"name": name}) for name in ("mean", "log_variance"))
        seed = TensorSpec(name="seed", dtype="INT64", shape=(-1,))
        return {
            "encode": Method(Signature(inputs=(x,), outputs=(mean, log_variance)), self._served_encode),
            "decode": Method(Signature(inputs=(z,), outputs=(x,)), self._served_decode),
            "sample": Method(Signature(inputs=(seed,), outputs=(x,)), self._served_sample),
        }

    def _served_encode(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        x_BD = torch.tensor(inputs["x"], device=self.device).flatten(1) * self.config.input_scale
        mean_BZ, log_variance_BZ = self._encode(x_BD)
        return {"mean": mean_BZ.cpu().numpy(), "log_variance": log_variance_BZ.cpu().numpy()}

    def _served_decode(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"x": self._rows(torch.tensor(inputs["z"], device=self.device)).cpu().numpy()}

    def _served_sample(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        z_BZ = latent_of(inputs["seed"], self.config.latent).to(self.device)
        return {"x": self._rows(z_BZ).cpu().numpy()}


def latent_of(seed_B: Iterable[int], latent: int) -> torch.Tensor:
    """Standard normal numbers [B, latent]: each row a function of its seed alone."""
    chance = torch.Generator()
    rows = [torch.randn(latent, generator=chance.manual_seed(int(seed))) for seed in seed_B]
    return torch.stack(rows)


def _divergence(mean_BZ: torch.Tensor, log_variance_BZ: torch.Tensor) -> torch.Tensor:
    """KL(N(mean, variance) || N(0, 1)) of each row, in nats."""
    return (mean_BZ.square() + log_variance_BZ.exp() - 1 - log_variance_BZ).sum(dim=-1) / 2


def _rectifier(units: int) -> list[nn.Module]:
    return [nn.ReLU()]
