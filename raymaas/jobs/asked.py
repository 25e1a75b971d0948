"""Which rows a version is asked about: those held out from it, or another data set that fits its signature."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from raymaas.bundle.signature import check_inputs
from raymaas.data.dataset import Dataset, open_dataset, prepare
from raymaas.data.rows import Rows
from raymaas.data.table import PARTS
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.errors import InvalidInput
from raymaas.jobs.origin import rows_of_version, trained_original, transforms_of
from raymaas.jobs.parts import JobParts
from raymaas.specs.evaluating import Where
from raymaas.specs.tasks import Target, Task
from raymaas.specs.versions import ModelVersion

_NEEDED: dict[Task, Target] = {"classification": "classes", "regression": "number"}
_SAID: dict[Target, str] = {"classes": "labels", "number": "numbers to predict", "none": "nothing to predict"}


@dataclass(frozen=True, eq=False)
class Asked:
    """Rows as the version is asked about them, labels by its own classes, and where they are from."""

    rows: Rows
    dataset: str
    fingerprint: str
    part: str
    data_fingerprint: str
    """Of the data set alone, whatever part of it these rows are."""
    constant: float | None = None
    """The mean of the version's training rows, where it predicts numbers and they are at hand."""
    notes: tuple[str, ...] = ()

    def take(self, positions: np.ndarray) -> Asked:
        return replace(self, rows=self.rows.take(positions))


def rows_for(version: ModelVersion, where: Where, parts: JobParts) -> Asked:
    """The rows that `where` means for `version`.

    Raises InvalidInput, naming what differs, for a data set that does not fit the version, and for a test part that
    there is not; NotFound when the data set is gone.
    """
    original = trained_original(parts.versions, version)
    lineage = original.lineage
    if where.data is None:
        dataset = open_dataset(parts.store, lineage.dataset, lineage.data_fingerprint)
    else:
        dataset = prepare(parts.store, where.data, files=parts.files)
    own = dataset.card.fingerprint == lineage.data_fingerprint
    part = where.part or ("test" if own else "all")
    if own and part == "test":
        division = rows_of_version(parts.store, original)
        constant = float(division.train.y_N.mean()) if version.task == "regression" else None
        return Asked(
            rows=_checked(version, division.test, dataset),
            dataset=dataset.card.name,
            fingerprint=division.fingerprint,
            part=part,
            data_fingerprint=dataset.card.fingerprint,
            constant=constant,
        )
    rows = _as_sent(original, dataset, parts)
    if part == "test":
        rows = rows.take(_own_test_part(dataset))
    seen = (
        "most of these rows are those it was trained on, so its figures say little of others" if own else ""
    )
    return Asked(
        rows=_checked(version, rows, dataset),
        dataset=dataset.card.name,
        fingerprint=dataset.card.fingerprint,
        part=part,
        data_fingerprint=dataset.card.fingerprint,
        notes=(seen,) if seen else (),
    )


def _as_sent(version: ModelVersion, dataset: Dataset, parts: JobParts) -> Rows:
    """All rows of `dataset` as a client sends them to `version`."""
    transforms = transforms_of(parts.versions, version)
    if transforms is None:
        return fit_transforms((), dataset.rows, dataset.card).apply(dataset.rows)
    named = {column.name for column in dataset.card.columns} or {"x"}
    for spec in transforms.inputs:
        if spec.name not in named:
            raise InvalidInput(
                f"{_misfit(version, dataset)}: it has no column {spec.name!r}; it has {', '.join(sorted(named))}"
            )
    return transforms.apply(dataset.rows)


def _checked(version: ModelVersion, rows: Rows, dataset: Dataset) -> Rows:
    """`rows` of `dataset` with labels by the version's own classes. Raises InvalidInput, naming what differs."""
    card, where = dataset.card, _misfit(version, dataset)
    needed = _NEEDED.get(version.task, card.target)
    if card.target != needed:
        raise InvalidInput(f"{where}: it has {_SAID[card.target]}, and {version.task} needs {_SAID[needed]}")
    try:
        check_inputs(version.signature, rows.inputs(version.signature.inputs))
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
    if version.task != "classification" or card.classes == version.signature.classes:
        return rows
    known = {label: index for index, label in enumerate(version.signature.classes)}
    unknown = [card.classes[y] for y in np.unique(rows.y_N).tolist() if card.classes[y] not in known]
    if unknown:
        raise InvalidInput(
            f"{where}: it has rows of {', '.join(map(repr, unknown[:5]))}, and the version tells "
            f"{', '.join(map(repr, version.signature.classes[:20]))} apart"
        )
    index_C = np.array([known.get(label, -1) for label in card.classes])
    return replace(rows, y_N=index_C[rows.y_N])


def _misfit(version: ModelVersion, dataset: Dataset) -> str:
    return f"data set {dataset.card.name!r} does not fit {version.model}@{version.version}"


def _own_test_part(dataset: Dataset) -> np.ndarray:
    """Positions of the rows that the data set itself gives to `test`."""
    if dataset.part_N is None or "test" not in dataset.card.own_parts:
        raise InvalidInput(f"data set {dataset.card.name!r} brings no test part of its own; use --part all")
    return np.flatnonzero(dataset.part_N == PARTS["test"])
