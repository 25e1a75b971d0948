"""What every classifier in the catalogue is: a module from rows to logits, made from a frozen config.

A family says what rows it can take by the config it derives from: `FeaturesConfig` for those to which a row is
a list of numbers, `SequenceConfig` and `ImageConfig` for those that use its shape. The data set fills that in.

Shape suffixes in this package: B rows of a batch, D features, H hidden units, C classes; a family adds its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field, PositiveInt, field_validator

from raymaas.specs.base import Spec
from raymaas.specs.versions import Signature, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


class ClassifierConfig(Spec):
    """Settings every classifier has; the data set fills in `classes` when a job leaves it out."""

    classes: int = Field(ge=2, description="Number of classes. Absent: taken from the data.")
    input_scale: float = Field(
        1.0,
        gt=0,
        description="Multiplied with the input first, so that clients send raw values: 0.0625 for 0..16.",
    )


class FeaturesConfig(ClassifierConfig):
    """For families that flatten a row: float32 [B, ...] of any shape with `in_features` values a row."""

    in_features: int = Field(ge=1, description="Values in a row. Absent: taken from the data.")


class SequenceConfig(ClassifierConfig):
    """For families that read a row step by step: float32 [B, steps, values]."""

    shape: tuple[PositiveInt, ...] = Field(
        description="[steps, values] of a row. Absent: taken from the data."
    )

    @field_validator("shape")
    @classmethod
    def _is_a_sequence(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 2:
            raise ValueError("a row must be [steps, values] here; take a data set of sequences, or `mlp`")
        return shape


class ImageConfig(ClassifierConfig):
    """For families that look at neighbours: float32 [B, height, width] or [B, channels, height, width]."""

    shape: tuple[PositiveInt, ...] = Field(
        description="[height, width] or [channels, height, width] of a row. Absent: taken from the data."
    )

    @field_validator("shape")
    @classmethod
    def _is_an_image(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) not in (2, 3):
            raise ValueError(
                "a row must be [height, width] or [channels, height, width] here; take a data set of images, or `mlp`"
            )
        return shape

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = (1, *self.shape)[-3:]
        return channels, height, width


class Architecture(Protocol):
    """A family of the catalogue: a class of modules, and the config it is made from.

    `forward` maps float32 [B, *row] to logits [B, classes], any B including 0, and keeps rows apart: what it
    answers for a row does not depend on the rows beside it, in training no more than in serving (but for
    dropout). So batches can be cut anywhere: over workers, and over requests.
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
