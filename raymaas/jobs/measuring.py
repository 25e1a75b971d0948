"""Measuring one version on some rows: all of them, slices of them, and with something done to them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.evaluate.robustness import disturbed
from raymaas.evaluate.slices import slices
from raymaas.jobs.asked import Asked, rows_for
from raymaas.jobs.judging import Subject, evaluation_of
from raymaas.jobs.parts import JobParts
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States
from raymaas.specs.evaluating import OnData
from raymaas.specs.evaluation import leading
from raymaas.specs.names import Reference
from raymaas.specs.reports import DisturbedFigures, SliceFigures, VersionFigures
from raymaas.specs.versions import ModelVersion

CLASS = "class"
"""The label, as a column to slice by."""


def version_meant(reference: str, parts: JobParts) -> ModelVersion:
    """The version that `digits@2`, `digits@prod` or `digits` means now. Raises NotFound."""
    named = Reference.parse(reference)
    return parts.versions.get(named.model, resolve(named, parts.versions, States(parts.store)))


def measure(how: OnData, parts: JobParts) -> VersionFigures:
    """The figures of a version in its first runtime. Raises as `rows_for`, and InvalidInput for an unknown column."""
    version = version_meant(how.version, parts)
    name = f"{version.model}@{version.version}"
    if how.robustness and version.task == "language":
        raise InvalidInput(f"{name} reads bytes, and noise makes none of them; leave --robustness out")
    asked = rows_for(version, how, parts)
    columns = _columns(version, asked)
    cut = [part for wanted in how.slices for part in slices(wanted, columns)]
    subject, rows = Subject.of_version(parts.versions, version), asked.rows
    parts.say(f"asking {name} about {len(rows)} rows of {asked.dataset}")
    found_N = subject.answers(rows)
    scored = subject.score(found_N, rows, constant=asked.constant)
    by_slice = []
    for part in cut:
        inside = subject.brief(found_N[part.positions], rows.take(part.positions))
        by_slice.append(
            SliceFigures(
                slice=part.name,
                rows=len(part.positions),
                metrics=dict(inside),
                warning=part.warning,
            )
        )
    evaluation = evaluation_of(
        scored,
        dataset=asked.dataset,
        fingerprint=asked.fingerprint,
        rows=len(rows),
        runtime=subject.runtime.name,
        part=asked.part,
    )
    return VersionFigures(
        version=name,
        evaluation=evaluation,
        notes=asked.notes,
        slices=tuple(by_slice),
        robustness=tuple(_under_disturbance(subject, asked, parts)) if how.robustness else (),
    )


def _columns(version: ModelVersion, asked: Asked) -> dict[str, np.ndarray]:
    rows = asked.rows
    labels = version.signature.classes
    label = {CLASS: np.array(labels, dtype=object)[rows.y_N]} if labels else {}
    return {**rows.columns, **rows.kept, **label}


def _under_disturbance(subject: Subject, asked: Asked, parts: JobParts) -> Iterator[DisturbedFigures]:
    specs, rows = subject.signature.inputs, asked.rows
    parts.say(f"asking {len(rows)} disturbed rows, again and again")
    nullable = frozenset(spec.name for spec in specs if spec.nullable)
    for one in disturbed(rows.inputs(specs), nullable=nullable):
        name, figure = leading(subject.brief(subject.answers(rows, inputs=one.inputs), rows))
        yield DisturbedFigures(disturbance=one.disturbance, severity=one.severity, metric=name, figure=figure)
