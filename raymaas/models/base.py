"""What every family of the catalogue is made from: a frozen config, which says what it is for and what rows it takes.

A family says what rows it can take by the config it derives from: `FeaturesConfig` for those to which a row is
a list of numbers, `SequenceConfig`, `TokensConfig` and `ImageConfig` for those that use its shape. The data set
fills that in.

Shape suffixes in this package: B rows of a batch, D features, H hidden units, C classes; a family adds its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import Field, PositiveInt, field_validator

from raymaas.models.widths import Width
from raymaas.specs.base import Spec
from raymaas.specs.facts import Facts
from raymaas.specs.tasks import Task
from raymaas.specs.versions import Signature, TensorSpec

if TYPE_CHECKING:
    from raymaas.models.networks import Network


class NetworkConfig(Spec):
    """Settings of any network. What a job leaves out of `in_features`, `shape` and `classes` comes from its data."""

    task: ClassVar[Task] = "classification"

    def narrowable(self) -> tuple[Width, ...]:
        """The widths that could be smaller; none of a network whose every number is its rows' or its answers'."""
        return ()


class ClassifierConfig(NetworkConfig):
    """Settings every classifier has."""

    classes: int = Field(ge=2, description="Number of classes. Absent: taken from the data.")


class ScaledConfig(NetworkConfig):
    """Settings of networks that take raw numbers."""

    input_scale: float = Field(
        1.0,
        gt=0,
        description="Multiplied with the input first, so that clients send raw values: 0.0625 for 0..16.",
    )


class FeaturesConfig(ScaledConfig, ClassifierConfig):
    """For families that flatten a row: float32 [B, ...] of any shape with `in_features` values a row."""

    in_features: int = Field(ge=1, description="Values in a row. Absent: taken from the data.")


class SequenceConfig(ScaledConfig, ClassifierConfig):
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


class TokensConfig(ClassifierConfig):
    """For families that read text: token ids as float32 [B, tokens], 0 where there is none any more."""

    shape: tuple[PositiveInt, ...] = Field(description="[tokens] of a row. Absent: taken from the data.")
    vocabulary: int = Field(ge=2, description="Different ids, with 0. Absent: taken from the transforms.")

    @field_validator("shape")
    @classmethod
    def _is_a_row_of_tokens(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 1:
            raise ValueError("a row must be [tokens] here; tokenize text in the job's transforms")
        return shape


class ImageConfig(ScaledConfig, ClassifierConfig):
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
    """A family of the catalogue: a class of networks, and the config it is made from.

    What a network answers for a row does not depend on the rows beside it, in training no more than in serving
    (but for what it draws by chance), and any number of rows will do, including 0. So batches can be cut
    anywhere: over workers, and over requests.
    """

    Config: ClassVar[type[NetworkConfig]]

    def __call__(self, config: Any) -> Network: ...


def signature_of(task: Task, facts: Facts) -> Signature:
    """What a version of that task takes and gives.

    classification  logits, probabilities [-1, classes]
    regression      prediction [-1]
    language        bits_per_byte [-1], the mean over a row; next [-1, 256], the chance of each next byte
    density         elbo [-1] in nats; reconstruction, of the input's shape
    adversarial     real [-1], the chance that a row is from the data
    """
    outputs: Mapping[str, tuple[int, ...]]
    taken = facts.input
    match task:
        case "classification":
            return classifier_signature(facts.input, facts.classes)
        case "regression":
            outputs = {"prediction": (-1,)}
        case "language":
            outputs = {"bits_per_byte": (-1,), "next": (-1, 256)}
            taken = facts.input.model_copy(update={"low": 0, "high": 255})
        case "density":
            outputs = {"elbo": (-1,), "reconstruction": facts.input.shape}
        case "adversarial":
            outputs = {"real": (-1,)}
    return Signature(inputs=(taken,), outputs=_tensors(outputs))


def classifier_signature(data_input: TensorSpec, classes: tuple[str, ...]) -> Signature:
    """Takes the data's input; gives `logits` and `probabilities`, both FP32 [-1, classes]."""
    shape = (-1, len(classes))
    outputs = _tensors({"logits": shape, "probabilities": shape})
    return Signature(inputs=(data_input,), outputs=outputs, classes=classes)


def _tensors(shapes: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, dtype="FP32", shape=shape) for name, shape in shapes.items())
