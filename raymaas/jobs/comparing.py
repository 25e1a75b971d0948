"""Comparing two versions by asking both again about the same rows."""

from __future__ import annotations

import numpy as np

from raymaas.errors import InvalidInput
from raymaas.evaluate.comparing import Contender, compare
from raymaas.evaluate.slices import FEW_ROWS
from raymaas.jobs.asked import Asked, rows_for
from raymaas.jobs.judging import Subject
from raymaas.jobs.measuring import version_meant
from raymaas.jobs.parts import JobParts
from raymaas.specs.evaluating import Against
from raymaas.specs.reports import Comparison
from raymaas.specs.versions import ModelVersion


def compare_versions(how: Against, parts: JobParts) -> Comparison:
    """The second version's figures minus the first's, on the rows that neither was trained on.

    Of their own data these are the rows held out from both. Raises InvalidInput when there are few, when the
    versions are for different tasks or classes, and as `rows_for`.
    """
    versions = [version_meant(name, parts) for name in (how.version, how.other)]
    _check_alike(*versions)
    first, second = (rows_for(version, how, parts) for version in versions)
    if first.data_fingerprint != second.data_fingerprint:
        raise InvalidInput(
            f"{_name(versions[0])} was made from data set {first.dataset} {first.data_fingerprint[:12]}, "
            f"{_name(versions[1])} from {second.dataset} {second.data_fingerprint[:12]}; "
            "say with --data on which rows to compare them"
        )
    first, second = _in_common(first, second)
    parts.say(f"asking both about {len(first.rows)} rows of {first.dataset}")
    contenders = []
    for version, asked in zip(versions, (first, second), strict=True):
        subject = Subject.of_version(parts.versions, version)
        scored = subject.score(subject.answers(asked.blocks), asked.blocks)
        contenders.append(Contender.of_scored(_name(version), asked.rows.id_N, scored))
    return compare(*contenders, dataset=first.dataset, part=first.part, source="evaluated")


def _check_alike(first: ModelVersion, second: ModelVersion) -> None:
    if first.task != second.task:
        raise InvalidInput(
            f"{_name(first)} is for {first.task} and {_name(second)} for {second.task}; they have no figure in common"
        )
    if set(first.signature.classes) != set(second.signature.classes):
        raise InvalidInput(
            f"{_name(first)} tells {', '.join(first.signature.classes)} apart and {_name(second)} "
            f"{', '.join(second.signature.classes)}; versions of the same classes can be compared"
        )


def _in_common(first: Asked, second: Asked) -> tuple[Asked, Asked]:
    """The rows of both, in the same order."""
    row_N, ours, theirs = np.intersect1d(first.rows.id_N, second.rows.id_N, return_indices=True)
    if len(row_N) < min(FEW_ROWS, len(first.rows)):
        raise InvalidInput(
            f"only {len(row_N)} rows were held out from both versions; say with --data on which rows to compare them"
        )
    return first.take(ours), second.take(theirs)


def _name(version: ModelVersion) -> str:
    return f"{version.model}@{version.version}"
