"""Measuring one version on some rows: all of them, slices of them, and with something done to them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.evaluate.robustness import disturbances
from raymaas.evaluate.slices import slices
from raymaas.evaluate.spread import spreads
from raymaas.jobs.asked import CLASS, Asked, rows_for
from raymaas.jobs.judging import Subject, evaluation_of
from raymaas.jobs.parts import JobParts
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States
from raymaas.specs.evaluating import OnData
from raymaas.specs.evaluation import leading
from raymaas.specs.names import Reference
from raymaas.specs.reports import DisturbedFigures, SliceFigures, VersionFigures
from raymaas.specs.versions import ModelVersion


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
    asked = rows_for(version, how, parts, slices=how.slices)
    columns = _columns(version, asked)
    cut = [part for wanted in how.slices for part in slices(wanted, columns)]
    subject, rows = Subject.of_version(parts.versions, version), asked.rows
    parts.say(f"asking {name} about {len(rows)} rows of {asked.dataset}")
    found_N = subject.answers(asked.blocks)
    scored = subject.score(found_N, asked.blocks, constant=asked.constant)
    by_slice = []
    for part in cut:
        inside = subject.brief(found_N[part.positions], rows.y_N[part.positions])
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
    specs, y_N = subject.signature.inputs, asked.rows.y_N
    parts.say(f"asking {len(y_N)} disturbed rows, again and again")
    found = spreads(rows.inputs(specs) for rows in asked.blocks)
    nullable = frozenset(spec.name for spec in specs if spec.nullable)
    for one in disturbances(found, nullable=nullable):
        name, figure = leading(subject.brief(subject.answers(asked.blocks, change=one.begin()), y_N))
        yield DisturbedFigures(disturbance=one.disturbance, severity=one.severity, metric=name, figure=figure)
