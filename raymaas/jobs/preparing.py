"""What a training job needs before its first step, wherever it trains: rows, architecture, and where it starts."""

from __future__ import annotations

from dataclasses import dataclass

from raymaas.data.blocks import Blocks, HeldBlocks, ReadBlocks
from raymaas.data.dataset import Dataset, open_dataset, prepare, put
from raymaas.data.rows import Rows
from raymaas.data.sources.base import DataFiles
from raymaas.data.split import Parts, split
from raymaas.data.streamed import Reader, is_streamed, open_index, sample_of, with_validation_rows
from raymaas.data.transforms.fitted import Fitted, fit_transforms
from raymaas.errors import InvalidInput
from raymaas.jobs.origin import transforms_of
from raymaas.models import own
from raymaas.registry.versions import Versions
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.tasks import Task
from raymaas.store import Store
from raymaas.train.augment import refuse_unfit
from raymaas.train.own_code import bring_code
from raymaas.train.placement.choice import refuse_misplaced
from raymaas.train.starting import Start, start_of, version_named


@dataclass(frozen=True, eq=False)
class ReadyRows:
    """A data set divided, and its transforms. `rows` are what the network takes.

    Of training and test rows that are `streamed` they hold only labels, identities and what they were divided by.
    """

    card: DatasetCard
    transforms: Fitted
    rows: Parts
    test: Blocks
    """The test rows, whole."""
    streamed: bool


@dataclass(frozen=True, eq=False)
class Prepared(ReadyRows):
    """A job whose names are all resolved."""

    facts: Facts
    architecture: Component
    start: Start

    @property
    def task(self) -> Task:
        return own.task_of(self.architecture, target=self.facts.target)


def prepared(job: TrainJob, store: Store, files: DataFiles) -> Prepared:
    """Put the data set into the store, divide it, fit the transforms, and settle the architecture.

    Raises InvalidInput for whatever does not fit together, before anything trains.
    """
    data = ready_rows(job, store, files)
    facts = data.transforms.facts(data.card)
    bring_code(job, store)
    architecture = own.resolve(job.architecture, facts)
    refuse_unfit(job.training.augment, facts, own.task_of(architecture, target=facts.target))
    start = start_of(job, architecture, target=facts.target, store=store)
    refuse_misplaced(start, job.scaling.strategy)
    return Prepared(
        card=data.card,
        transforms=data.transforms,
        rows=data.rows,
        test=data.test,
        streamed=data.streamed,
        facts=facts,
        architecture=architecture,
        start=start,
    )


def ready_rows(job: TrainJob, store: Store, files: DataFiles) -> ReadyRows:
    """Put the data set into the store, divide it, and fit the transforms; raises InvalidInput as `prepared`.

    Where rows are streamed the transforms are fitted to a sample of the training rows, as many as memory allows.
    """
    if job.streaming is None:
        return _held(job, prepare(store, job.data, files=files), store)
    card = put(store, job.data, files=files)
    if not is_streamed(card, job.streaming):
        return _held(job, open_dataset(store, card.name, card.fingerprint), store)
    division = split(open_index(store, card, job.split), job.split)
    reader = Reader(store, card)
    sample = reader.rows_at(sample_of(division, card, job.streaming))
    transforms = _transforms(job, sample, card, store)
    rows = with_validation_rows(reader, division, transforms, job.streaming)
    test = ReadBlocks(division.test, reader, transforms)
    return ReadyRows(card, transforms, rows, test, streamed=True)


def _held(job: TrainJob, dataset: Dataset, store: Store) -> ReadyRows:
    division = split(dataset, job.split)
    transforms = _transforms(job, division.train, dataset.card, store)
    rows = transforms.ready(division)
    return ReadyRows(dataset.card, transforms, rows, HeldBlocks(rows.test), streamed=False)


def refuse_streamed(job: TrainJob, store: Store, files: DataFiles, *, who: str) -> None:
    """Raises InvalidInput when the rows of `job` are to be streamed, since `who` hold all of them."""
    if job.streaming is None:
        return
    card = put(store, job.data, files=files)
    if is_streamed(card, job.streaming):
        raise InvalidInput(
            f"data set {card.name!r} is streamed, and {who} hold all rows in memory; leave streaming out of the job, "
            "or raise streaming.memory_mb"
        )


def _transforms(job: TrainJob, train: Rows, card: DatasetCard, store: Store) -> Fitted:
    """Fitted to `train`; or, when the job has none, those of the version it fine-tunes: its weights know no others."""
    if job.init_from is not None and not job.transforms:
        versions = Versions(store)
        kept = transforms_of(versions, version_named(job.init_from, versions))
        if kept is not None:
            return kept
    return fit_transforms(job.transforms, train, card)
