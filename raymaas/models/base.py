"""What every classifier in the catalogue is: a module from features to logits, made from a frozen config.

Shape suffixes in this package: B rows of a batch, D features, H hidden units, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field

from raymaas.specs.base import Spec
from raymaas.specs.versions import Signature, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


class ClassifierConfig(Spec):
    """Settings every classifier has; the data set fills the first two when a job leaves them out."""

    in_features: int = Field(ge=1, description="Values in a row. Absent: taken from the data.")
    classes: int = Field(ge=2, description="Number of classes. Absent: taken from the data.")
    input_scale: float = Field(
        1.0,
        gt=0,
        description="Multiplied with the input first, so that clients send raw values: 0.0625 for 0..16.",
    )


class Architecture(Protocol):
    """A family of the catalogue: a class of modules, and the config it is made from.

    `forward` maps float32 [B, in_features] to logits [B, classes], any B including 0, and keeps rows apart:
    what it answers for a row does not depend on the rows beside it.
    """

    Config: ClassVar[type[ClassifierConfig]]

    def __call__(self, config: Any) -> nn.Module: ...


def classifier_signature(data_input: TensorSpec, classes: tuple[str, ...]) -> Signature:
    """Takes the data's input; gives `logits` and `probabilities`, both FP32 [-1, classes]."""
    outputs = tuple(
        TensorSpec(name=name, dtype="FP32", shape=(-1, len(classes))) for name in ("logits", "probabilities")
    )
    return Signature(inputs=(data_input,), outputs=outputs, classes=classes)


def served_outputs(logits_BC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs of `classifier_signature`, in its order, from what the network gave."""
    return logits_BC, logits_BC.softmax(dim=-1)
