"""Which rows a version is asked about: those held out from it, or another data set that fits its signature."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from raymaas.bundle.signature import check_inputs
from raymaas.data.blocks import Blocks, HeldBlocks, ReadBlocks
from raymaas.data.dataset import Dataset, open_card, open_dataset, prepare, put
from raymaas.data.rows import Rows
from raymaas.data.split import split
from raymaas.data.streamed import Reader, is_streamed, open_index
from raymaas.data.table import PARTS
from raymaas.data.transforms.fitted import Fitted, fit_transforms
from raymaas.errors import InvalidInput
from raymaas.evaluate.slices import column_of
from raymaas.jobs.origin import job_of, trained_original, transforms_of
from raymaas.jobs.parts import JobParts
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.evaluating import Where
from raymaas.specs.jobs import TrainJob
from raymaas.specs.tasks import Target, Task
from raymaas.specs.versions import ModelVersion

CLASS = "class"
"""The label, as a column to slice by."""

_NEEDED: dict[Task, Target] = {"classification": "classes", "regression": "number"}
_SAID: dict[Target, str] = {"classes": "labels", "number": "numbers to predict", "none": "nothing to predict"}


@dataclass(frozen=True, eq=False)
class Asked:
    """Rows as the version is asked about them, labels by its own classes, and where they are from."""

    blocks: Blocks
    dataset: str
    fingerprint: str
    part: str
    data_fingerprint: str
    """Of the data set alone, whatever part of it these rows are."""
    constant: float | None = None
    """The mean of the version's training rows, where it predicts numbers and they are at hand."""
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> Rows:
        """All of them, with labels, identities and columns to slice by."""
        return self.blocks.rows

    def take(self, positions: np.ndarray) -> Asked:
        """Some of them, at ascending positions."""
        return replace(self, blocks=self.blocks.take(positions))


def rows_for(version: ModelVersion, where: Where, parts: JobParts, *, slices: Collection[str] = ()) -> Asked:
    """The rows that `where` means for `version`, with what `slices` are cut by.

    They are read block by block where `where` or the version's own job asks for streaming. Raises InvalidInput, naming
    what differs, for a data set that does not fit the version, a column that there is not, and for a test part that
    there is not; NotFound when the data set is gone.
    """
    original = trained_original(parts.versions, version)
    dataset, reader = _opened(original, where, parts, slices)
    card = dataset.card
    _check_target(version, card)
    own = card.fingerprint == original.lineage.data_fingerprint
    part = where.part or ("test" if own else "all")
    division = split(dataset, job_of(original).split) if own and part == "test" else None
    if division is not None:
        rows = division.test
    else:
        rows = dataset.rows.take(_own_test_part(dataset)) if part == "test" else dataset.rows
    transforms = transforms_of(parts.versions, original)
    if transforms is None:
        transforms = fit_transforms((), rows if reader is None else reader.part(0), card)
    seen = "most of these rows are those it was trained on, so its figures say little of others"
    return Asked(
        blocks=_blocks(version, card, rows, reader, transforms),
        dataset=card.name,
        fingerprint=card.fingerprint if division is None else division.fingerprint,
        part=part,
        data_fingerprint=card.fingerprint,
        constant=float(division.train.y_N.mean()) if division and version.task == "regression" else None,
        notes=(seen,) if own and division is None else (),
    )


def _opened(
    original: ModelVersion, where: Where, parts: JobParts, slices: Collection[str]
) -> tuple[Dataset, Reader | None]:
    """The data set; where it is too large to be held without what a model takes, and what reads that."""
    lineage, job, streaming = original.lineage, job_of(original), where.streaming
    if where.data is None:
        card = open_card(parts.store, lineage.dataset, lineage.data_fingerprint)
        if streaming is None and isinstance(job, TrainJob):
            streaming = job.streaming
    elif streaming is None:
        return prepare(parts.store, where.data, files=parts.files), None
    else:
        card = put(parts.store, where.data, files=parts.files)
    if not is_streamed(card, streaming):
        return open_dataset(parts.store, card.name, card.fingerprint), None
    known = {column.name for column in (*card.columns, *card.kept)} | ({CLASS} if card.classes else set())
    columns = {column_of(wanted, known) for wanted in slices}
    return open_index(parts.store, card, job.split, columns=columns), Reader(parts.store, card)


def _blocks(
    version: ModelVersion, card: DatasetCard, rows: Rows, reader: Reader | None, transforms: Fitted
) -> Blocks:
    """`rows` of the data set as a client sends them to `version`."""
    named = {column.name for column in card.columns} or {"x"}
    for spec in transforms.inputs:
        if spec.name not in named:
            raise InvalidInput(
                f"{_misfit(version, card)}: it has no column {spec.name!r}; it has {', '.join(sorted(named))}"
            )
    ready = partial(_ready, version, card)
    if reader is None:
        return HeldBlocks(ready(transforms.apply(rows)))
    blocks = ReadBlocks(_relabelled(version, card, rows), reader, transforms, ready)
    blocks.first(1)  # so that what does not fit is said before anything is asked
    return blocks


def _check_target(version: ModelVersion, card: DatasetCard) -> None:
    needed = _NEEDED.get(version.task, card.target)
    if card.target != needed:
        raise InvalidInput(
            f"{_misfit(version, card)}: it has {_SAID[card.target]}, and {version.task} needs {_SAID[needed]}"
        )


def _ready(version: ModelVersion, card: DatasetCard, rows: Rows) -> Rows:
    """`rows` with labels by the version's own classes. Raises InvalidInput, naming what differs from its signature."""
    try:
        check_inputs(version.signature, rows.inputs(version.signature.inputs))
    except InvalidInput as error:
        raise InvalidInput(f"{_misfit(version, card)}: {error}") from None
    return _relabelled(version, card, rows)


def _relabelled(version: ModelVersion, card: DatasetCard, rows: Rows) -> Rows:
    if version.task != "classification" or card.classes == version.signature.classes:
        return rows
    known = {label: index for index, label in enumerate(version.signature.classes)}
    unknown = [card.classes[y] for y in np.unique(rows.y_N).tolist() if card.classes[y] not in known]
    if unknown:
        raise InvalidInput(
            f"{_misfit(version, card)}: it has rows of {', '.join(map(repr, unknown[:5]))}, and the version tells "
            f"{', '.join(map(repr, version.signature.classes[:20]))} apart"
        )
    index_C = np.array([known.get(label, -1) for label in card.classes])
    return replace(rows, y_N=index_C[rows.y_N])


def _misfit(version: ModelVersion, card: DatasetCard) -> str:
    return f"data set {card.name!r} does not fit {version.model}@{version.version}"


def _own_test_part(dataset: Dataset) -> np.ndarray:
    """Positions of the rows that the data set itself gives to `test`."""
    if dataset.part_N is None or "test" not in dataset.card.own_parts:
        raise InvalidInput(f"data set {dataset.card.name!r} brings no test part of its own; use --part all")
    return np.flatnonzero(dataset.part_N == PARTS["test"])
