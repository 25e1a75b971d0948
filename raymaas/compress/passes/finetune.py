"""Fine-tuning alone: some epochs more, with whatever earlier passes constrained."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from raymaas.compress.distill import fine_tune
from raymaas.compress.subject import Subject
from raymaas.specs.base import Spec


class FineTuneConfig(Spec):
    """How long, and how fast."""

    epochs: int = Field(10, ge=1, description="Epochs of fine-tuning.")
    learning_rate: float | None = Field(
        default=None, gt=0, description="In place of fine_tuning.learning_rate, in this pass."
    )


class FineTune:
    """Changes values, never which of them are zero."""

    Config: ClassVar[type[FineTuneConfig]] = FineTuneConfig

    def __init__(self, config: FineTuneConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        fine_tune(subject, epochs=self._config.epochs, learning_rate=self._config.learning_rate)
