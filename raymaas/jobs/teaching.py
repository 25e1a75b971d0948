"""What recipes learn from besides their parent: the answers of other versions, and rows without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from pydantic import JsonValue

from raymaas.compress.passes.distill import DistillConfig, student_of, transfer_key
from raymaas.compress.subject import Parent
from raymaas.data.dataset import prepare
from raymaas.data.split import Parts
from raymaas.errors import InvalidInput
from raymaas.jobs.measuring import version_meant
from raymaas.jobs.origin import network_of, transforms_of
from raymaas.jobs.parts import JobParts
from raymaas.models.networks import Network
from raymaas.specs.compression import CompressJob, settled
from raymaas.specs.search import extremes
from raymaas.specs.versions import ModelVersion


def teachers_of(job: CompressJob, parent: ModelVersion, parts: JobParts) -> dict[str, Network]:
    """The networks that recipes of `job` name as their teachers, by the words they do so in.

    Raises NotFound for one that is not there, and InvalidInput for one that does not take what the parent takes, does
    not give what it gives, or has learnt from rows that the parent was not to see.
    """
    found = {}
    for config in _distillations(job):
        if config.teacher and config.teacher not in found:
            version = version_meant(config.teacher, parts)
            _refuse_another_kind(version, parent, parts)
            _refuse_another_division(version, parent)
            found[config.teacher] = network_of(parts.versions, version)
    return found


def check_students(job: CompressJob, parent: Parent) -> None:
    """Raises InvalidInput for a student that a recipe names and `parent` cannot have, as `student_of`."""
    for config in _distillations(job):
        if config.student is not None:
            student_of(config.student, parent=parent.architecture, facts=parent.facts)


def transfer_of(
    job: CompressJob, parent: ModelVersion, rows: Parts, parts: JobParts
) -> Mapping[str, torch.Tensor]:
    """The rows without labels that recipes of `job` learn from, as the network takes them, by `transfer_key`.

    Those that are among the validation or test rows of `rows` are left out. Raises as `prepare`, and InvalidInput
    for rows of another shape, or where none is left.
    """
    found: dict[str, torch.Tensor] = {}
    for config in _distillations(job):
        if config.transfer_data is None or transfer_key(config.transfer_data) in found:
            continue
        dataset = prepare(parts.store, config.transfer_data, files=parts.files)
        transforms = transforms_of(parts.versions, parent)
        more = transforms.apply(dataset.rows) if transforms else dataset.rows
        name, wanted = config.transfer_data.use, rows.train.x_ND
        if more.x_ND.shape[1:] != wanted.shape[1:] or more.x_ND.dtype != wanted.dtype:
            raise InvalidInput(
                f"distill.transfer_data: rows of {name!r} have the shape {list(more.x_ND.shape[1:])}, those of "
                f"{parent.model}@{parent.version} {list(wanted.shape[1:])}; take rows like those"
            )
        known = {row.tobytes() for held_out in (rows.validation, rows.test) for row in held_out.x_ND}
        kept = [place for place, row in enumerate(more.x_ND) if row.tobytes() not in known]
        if not kept:
            raise InvalidInput(
                f"distill.transfer_data: every row of {name!r} is among the validation or test rows; take others"
            )
        parts.say(
            f"{len(kept)} rows of {name} are learnt from without labels; {len(more) - len(kept)} were left out"
        )
        found[transfer_key(config.transfer_data)] = torch.tensor(more.x_ND[kept])
    return found


def _distillations(job: CompressJob) -> Iterator[DistillConfig]:
    points: Iterator[Mapping[str, JsonValue]] = extremes(job.space())
    for point in points:
        for step in settled(job.recipe, point):
            if step.use == "distill":
                yield DistillConfig.parse(step.config, source="pass 'distill'")


def _refuse_another_kind(teacher: ModelVersion, parent: ModelVersion, parts: JobParts) -> None:
    ours, theirs = (transforms_of(parts.versions, version) for version in (parent, teacher))
    alike = (
        teacher.signature.inputs == parent.signature.inputs,
        teacher.signature.classes == parent.signature.classes,
        teacher.task == parent.task,
        (ours.document if ours else None) == (theirs.document if theirs else None),
    )
    if not all(alike):
        words = ("inputs", "labels", "task", "transforms")
        other = ", ".join(word for word, same in zip(words, alike, strict=True) if not same)
        raise InvalidInput(
            f"{teacher.model}@{teacher.version} cannot teach {parent.model}@{parent.version}: they differ in {other}; "
            "name a version trained on the same rows"
        )


def _refuse_another_division(teacher: ModelVersion, parent: ModelVersion) -> None:
    """A recipe's teacher must not hand on what it knows of the rows by which recipes are chosen and tested."""
    same_data = teacher.lineage.data_fingerprint == parent.lineage.data_fingerprint
    if same_data and teacher.evaluation.fingerprint != parent.evaluation.fingerprint:
        raise InvalidInput(
            f"{teacher.model}@{teacher.version} cannot teach {parent.model}@{parent.version}: it was trained on "
            f"another split of {parent.lineage.dataset!r}, so it has seen rows that recipes are chosen or tested by; "
            "name a version with the same split"
        )
