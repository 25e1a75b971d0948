"""What all recipes of a compression are tried on: the parent, its rows and its answers, made once for all trials.

The trials' processes are given it through Ray's object store, where its arrays lie once on each machine, read-only.
They open no store and read no test row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from raymaas.bundle.transforming import network_signature
from raymaas.compress.subject import Parent, Subject, answers_of, tensor_over
from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.data.transforms.fitted import Fitted
from raymaas.jobs.origin import network_of, transforms_of
from raymaas.jobs.parts import JobParts
from raymaas.jobs.teaching import check_students, teachers_of, transfer_of
from raymaas.jobs.yardsticks import Yardsticks
from raymaas.models import catalogue
from raymaas.models.networks import SelfSupervised
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob
from raymaas.specs.facts import Facts
from raymaas.specs.tasks import TARGETS
from raymaas.specs.versions import ModelVersion, Signature
from raymaas.sweep.shelf import Shelf
from raymaas.train.augment import refuse_unfit

_SHELF_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class Ground:
    """All arrays in it are as numpy has them, since Ray would copy tensors for each process."""

    parent: Parent
    """Without `transfer`, which is here as arrays."""
    transfer: Mapping[str, np.ndarray]
    train: Rows
    answers_N: np.ndarray | None
    """What the parent's `forward` gives for the training rows; nothing for one that has a loss of its own."""
    validation: Rows
    signature: Signature
    """That of the versions: what clients send, where there are transforms."""
    transforms: Fitted | None
    yardsticks: Yardsticks
    original_bytes: int
    """Of the weights at full precision, up the line from the parent."""
    shelf: Shelf | None = None
    """Where trials leave what others may go on from."""

    def subject(self, job: CompressJob) -> Subject:
        """What a recipe begins with."""
        transfer = {key: tensor_over(x_ND) for key, x_ND in self.transfer.items()}
        return Subject.of(
            replace(self.parent, transfer=transfer),
            self.train,
            job.fine_tuning,
            seed=job.seed,
            answers_N=self.answers_N,
        )


def ground_of(
    job: CompressJob,
    parent: ModelVersion,
    original: ModelVersion,
    rows: Parts,
    parts: JobParts,
) -> Ground:
    """Read, verified and asked once.

    Raises as `network_of`, `refuse_unfit`, `check_students`, `teachers_of` and `transfer_of`.
    """
    known = parent_of(parts.versions, parent)
    refuse_unfit(job.fine_tuning.augment, known.facts, parent.task, field="fine_tuning.augment")
    check_students(job, known)
    own_loss = isinstance(known.network, SelfSupervised)
    return Ground(
        parent=replace(known, teachers=teachers_of(job, parent, parts)),
        transfer={key: x_ND.numpy() for key, x_ND in transfer_of(job, parent, rows, parts).items()},
        train=replace(rows.train, columns={}, kept={}),
        answers_N=None if own_loss else answers_of(known.network, tensor_over(rows.train.x_ND)).numpy(),
        validation=rows.validation,
        signature=parent.signature,
        transforms=transforms_of(parts.versions, parent),
        yardsticks=Yardsticks.of(job, parent, parts.versions, parts.store),
        original_bytes=original.weights_bytes,
    )


def with_shelf(ground: Ground) -> Ground:
    """The same with an empty shelf. Ray must be initialised."""
    return replace(ground, shelf=Shelf.of(limit_bytes=_SHELF_BYTES))


def parent_of(versions: Versions, version: ModelVersion) -> Parent:
    """The network that is compressed, and what it knows of its rows. Raises as `network_of`."""
    transforms = transforms_of(versions, version)
    signature = network_signature(version.signature, transforms) if transforms else version.signature
    vocabulary = catalogue.plain(version.architecture).config.get("vocabulary")
    facts = Facts(
        input=signature.inputs[0],
        classes=signature.classes,
        target=TARGETS.get(version.task, "none"),
        vocabulary=vocabulary if isinstance(vocabulary, int) else None,
    )
    return Parent(network_of(versions, version), version.architecture, facts)
