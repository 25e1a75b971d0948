"""What a training job needs before its first step, wherever it trains: rows, architecture, and where it starts."""

from __future__ import annotations

from dataclasses import dataclass

from raymaas.data.dataset import Dataset, prepare
from raymaas.data.sources.base import DataFiles
from raymaas.data.split import Parts, split
from raymaas.data.transforms.fitted import Fitted, fit_transforms
from raymaas.models import own
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.tasks import Task
from raymaas.store import Store
from raymaas.train.own_code import bring_code
from raymaas.train.starting import Start, start_of


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job whose names are all resolved. `rows` are what the network takes."""

    dataset: Dataset
    transforms: Fitted
    rows: Parts
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
    dataset = prepare(store, job.data, files=files)
    division = split(dataset, job.split)
    transforms = fit_transforms(job.transforms, division.train, dataset.card)
    facts = transforms.facts(dataset.card)
    bring_code(job, store)
    architecture = own.resolve(job.architecture, facts)
    return Prepared(
        dataset=dataset,
        transforms=transforms,
        rows=transforms.ready(division),
        facts=facts,
        architecture=architecture,
        start=start_of(job, architecture, target=facts.target, store=store),
    )
