"""L1 fine-tuning: every weight is pulled towards zero by the same step, and the useless ones get there.

R. Tibshirani, Regression Shrinkage and Selection via the Lasso (1996): the loss is L + lambda sum |w|. Its step is

    w <- w - a (dL/dw + lambda sign(w))

and, with exact zeros, the proximal one (N. Parikh, S. Boyd, Proximal Algorithms, 2014, section 6.5.2):

    w <- soft(w - a dL/dw, a lambda),    soft(v, t) = sign(v) max(|v| - t, 0)

Here a dL/dw is the step of Adam, which is about as long as the learning rate a, and the penalty's step comes after it:
at a lambda of 1 it pulls as hard as the loss ever does. Erratum of a formula that is often copied:
`w <- w - a dL/dw + lambda sign(w)` makes weights grow.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from raymaas.compress.distill import Steps, fine_tune
from raymaas.compress.subject import Subject
from raymaas.specs.base import Spec


class L1Config(Spec):
    """How strongly, and how long."""

    strength: float = Field(
        gt=0, description="lambda, of the sum over all matrices' weights, beside the mean loss."
    )
    form: Literal["proximal", "subgradient"] = Field(
        "proximal", description="proximal leaves exact zeros; subgradient leaves small numbers around them."
    )
    epochs: int = Field(10, ge=1, description="Epochs of fine-tuning.")


class L1:
    """Afterwards weights are smaller; by the proximal form some are zero, and may move again in a later pass."""

    Config: ClassVar[type[L1Config]] = L1Config

    def __init__(self, config: L1Config) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        weights, strength = [weight.moved for weight in subject.matrices.values()], self._config.strength
        pulled = soft if self._config.form == "proximal" else _towards_zero

        @torch.no_grad()
        def pull(rate: float) -> None:
            for weight in weights:
                weight.copy_(pulled(weight, rate * strength))

        fine_tune(subject, epochs=self._config.epochs, steps=Steps(after_step=pull))


def _towards_zero(weight: torch.Tensor, step: float) -> torch.Tensor:
    """Every number moved by `step`; those within it change their sign."""
    return weight - step * weight.sign()


def soft(weight: torch.Tensor, threshold: float) -> torch.Tensor:
    """Every number nearer to zero by `threshold`, and those within it zero."""
    return weight.sign() * (weight.abs() - threshold).clamp(min=0)
