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
from raymaas.specs.base import Spec, canonical_json
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component

_TAKEN_OVER = ("input_scale",)  # what a network does to its input first, which the parent's rows decided


class DistillConfig(Spec):
    """Who learns from whom, and how long. What is said here of the loss and the rate holds for later passes too."""

    student: Component | None = Field(
        default=None,
        description="Architecture of the catalogue, such as {use: mlp, config: {hidden: [100]}}. What the rows decide, "
        "and the scale of the input, are the parent's where left out. Absent: the network itself goes on learning.",
    )
    teacher: str = Field(
        "",
        description="A version that takes the same rows and has the same labels, such as mnist-lenet5@1, whose answers "
        "are learnt from here on; default the parent.",
    )
    transfer_data: Component | None = Field(
        default=None,
        description="More such rows, named as a job names its data, such as {use: csv, config: {path: scans.csv}}: "
        "they are learnt from the teacher's answers alone, labels are not looked at. Rows that are among the parent's "
        "validation or test rows are left out.",
    )
    temperature: float | None = Field(default=None, gt=0, description="In place of fine_tuning.temperature.")
    alpha: float | None = Field(default=None, ge=0, le=1, description="In place of fine_tuning.alpha.")
    learning_rate: float | None = Field(
        default=None, gt=0, description="In place of fine_tuning.learning_rate."
    )
    epochs: int = Field(20, ge=0, description="Epochs of training.")


def transfer_key(data: Component) -> str:
    """What rows without labels go by among those of a recipe."""
    return canonical_json(data.model_dump(mode="json")).decode()


class Distill:
    """Afterwards the network has learnt from the teacher; if there is a student, it is that one, from new weights."""

    Config: ClassVar[type[DistillConfig]] = DistillConfig

    def __init__(self, config: DistillConfig) -> None:
        self._config = config

    def apply(self, subject: Subject) -> None:
        """Raises InvalidInput when such a student cannot take the parent's rows or give its answers, or when a
        network with a loss of its own is to have a teacher."""
        config = self._config
        self.teach(subject)
        said = {name: getattr(config, name) for name in ("temperature", "alpha", "learning_rate")}
        subject.fine_tuning = subject.fine_tuning.model_copy(
            update={name: value for name, value in said.items() if value is not None}
        )
        if config.student is not None:
            student = student_of(config.student, parent=subject.architecture, facts=subject.facts)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(subject.seed)
                subject.take(catalogue.build(student), student)
        fine_tune(subject, epochs=config.epochs)

    def teach(self, subject: Subject) -> None:
        """From now on `subject` learns from the teacher and the rows that are named, if any are."""
        config = self._config
        if not (config.teacher or config.transfer_data):
            return
        if subject.teacher is None:
            raise InvalidInput(
                f"{subject.architecture.use!r} learns from rows by a loss of its own and asks no teacher; leave out "
                "distill.teacher and distill.transfer_data"
            )
        teacher = subject.teachers[config.teacher] if config.teacher else subject.teacher
        also = subject.transfer[transfer_key(config.transfer_data)] if config.transfer_data else None
        subject.learn_from(teacher, also=also)


def student_of(wanted: Component, *, parent: Component, facts: Facts) -> Component:
    """The student `wanted`, with what rows of those facts and its parent decide.

    Raises InvalidInput when it is for another task than its parent, or cannot take such rows.
    """
    task = catalogue.task_of(parent)
    if catalogue.task_of(wanted) != task:
        raise InvalidInput(
            f"a student {wanted.use!r} is for {catalogue.task_of(wanted)}, its parent for {task}; name another"
        )
    known = catalogue.architecture(wanted.use).Config.model_fields
    settings = catalogue.plain(parent).config
    parents = {field: settings[field] for field in _TAKEN_OVER if field in known and field in settings}
    return catalogue.resolve(Component(use=wanted.use, config=parents | wanted.config), facts)
