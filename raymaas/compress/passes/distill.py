"""Distillation: a student of another, usually smaller, architecture learns from the parent's answers.

G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network (2015), section 2. The loss is that of
`raymaas.compress.distill`, by which every other pass trains as well.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from raymaas.compress.distill import fine_tune
from raymaas.compress.subject import Subject
from raymaas.errors import InvalidInput
from raymaas.models import catalogue
from raymaas.specs.base import Spec
from raymaas.specs.jobs import Component

_TAKEN_OVER = ("input_scale",)  # what a network does to its input first, which the parent's rows decided


class DistillConfig(Spec):
    """Who learns, and how long."""

    student: Component = Field(
        description="Architecture of the catalogue, such as {use: mlp, config: {hidden: [100]}}. What the rows decide, "
        "and the scale of the input, are the parent's where left out."
    )
    epochs: int = Field(20, ge=1, description="Epochs of training.")


class Distill:
    """Afterwards the network is the student, trained from new weights."""

    Config: ClassVar[type[DistillConfig]] = DistillConfig

    def __init__(self, config: DistillConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        """Raises InvalidInput when such a student cannot take the parent's rows or give its answers."""
        wanted, task = self._config.student, catalogue.task_of(subject.architecture)
        if catalogue.task_of(wanted) != task:
            raise InvalidInput(
                f"a student {wanted.use!r} is for {catalogue.task_of(wanted)}, its parent for {task}; name another"
            )
        known = catalogue.architecture(wanted.use).Config.model_fields
        parents = {
            field: subject.architecture.config[field]
            for field in _TAKEN_OVER
            if field in known and field in subject.architecture.config
        }
        student = catalogue.resolve(Component(use=wanted.use, config=parents | wanted.config), subject.facts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(subject.seed)
            subject.take(catalogue.build(student), student)
        fine_tune(subject, epochs=self._config.epochs)
