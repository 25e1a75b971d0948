"""A short training on digits, under Ray Train and without."""

import torch

from raymaas.data.dataset import Dataset
from raymaas.data.split import split
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.models import catalogue
from raymaas.specs.jobs import Component, Training, TrainJob, Workers
from raymaas.store import LocalStore
from raymaas.train.checkpoint import Checkpoint
from raymaas.train.distributed import train_distributed
from raymaas.train.loop import fit
from raymaas.train.world import World

# 1,167 training rows: the last batch of an epoch has 43, an odd number, so the shards of it are uneven.
JOB = TrainJob(
    model="digits",
    data=Component(use="digits"),
    architecture=Component(use="mlp", config={"hidden": [32], "dropout": 0.1}),
    transforms=(Component(use="standardize"),),
    training=Training(
        epochs=40, batch_size=281, learning_rate=0.002, checkpoint_every=2, seed=4, deterministic=True
    ),
    scaling=Workers(workers=2, cpus_per_worker=0.5),
)


def run(job: TrainJob, store: LocalStore, dataset: Dataset, **rest: object) -> Checkpoint:
    division = split(dataset, job.split)
    return train_distributed(
        job,
        store_url=store.url,
        dataset_fingerprint=dataset.card.fingerprint,
        part_ids=division.ids,
        transforms=fit_transforms(job.transforms, division.train, dataset.card),
        **rest,
    )


def trained_here(job: TrainJob, dataset: Dataset) -> Checkpoint:
    """The same fit in this process, without Ray."""
    division = split(dataset, job.split)
    transforms = fit_transforms(job.transforms, division.train, dataset.card)
    component = catalogue.resolve(job.architecture, transforms.facts(dataset.card))
    return fit(
        lambda: catalogue.build(component),
        job.training,
        parts=transforms.ready(division),
        world=World.single(),
        clock=lambda: 0.0,
    )


def assert_same_weights(one: Checkpoint, other: Checkpoint) -> None:
    assert one.best_weights.keys() == other.best_weights.keys()
    for name, tensor in one.best_weights.items():
        torch.testing.assert_close(other.best_weights[name], tensor, rtol=1e-3, atol=1e-5)
