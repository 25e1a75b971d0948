"""A compressed GAN is judged by how far its rows are from its parent's, of the same codes."""

from __future__ import annotations

import numpy as np
import pytest
from local_training import fit_here, trained, without_graphs
from registry_examples import memory_store

from raymaas.errors import RunFailed
from raymaas.evaluate.adversarial import sample_error
from raymaas.jobs.ground import ground_of
from raymaas.jobs.judging import Subject
from raymaas.jobs.likeness import Likeness
from raymaas.jobs.origin import rows_of_version
from raymaas.jobs.parts import JobParts
from raymaas.jobs.recipes import RecipeTrial
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob
from raymaas.store import Store
from raymaas.sweep.search import Report

GAN = {
    "model": "made",
    "data": {"use": "digits"},
    "architecture": {
        "use": "gan",
        "config": {"input_scale": 0.0625, "latent": 4, "generator": [16], "discriminator": [16]},
    },
    "training": {"epochs": 2},
}


def test_the_error_is_in_deviations_of_the_parents_rows() -> None:
    theirs = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, 5)).astype(np.float32)

    assert sample_error(theirs, theirs) == 0
    assert sample_error(theirs + np.float32(1), theirs) == pytest.approx(0.5, rel=0.02)
    assert sample_error(np.broadcast_to(theirs.mean(axis=0), theirs.shape), theirs) == pytest.approx(1)


def test_a_parent_that_always_makes_the_same_row_is_refused() -> None:
    with pytest.raises(RunFailed, match="the same row of every code"):
        sample_error(np.zeros((3, 2)), np.ones((3, 2)))


@pytest.fixture(scope="module")
def store() -> Store:
    """made@1, a GAN, is in it."""
    store = memory_store()
    with pytest.MonkeyPatch.context() as patch:
        fit_here(patch, store)
        without_graphs(patch)
        trained(store, GAN)
    return store


def test_every_recipe_is_held_against_its_parents_rows(store: Store) -> None:
    versions = Versions(store)
    parent = versions.get("made", 1)
    job = CompressJob.parse(
        {
            "model": "made",
            "recipe": [{"use": "quantize", "config": {"bits": {"choice": [2, 8]}, "epochs": 0}}],
        },
        source="job",
    )
    parts = JobParts(store, versions, Runs(store), "c", say=lambda line: None, on_trial=lambda trial: None)
    ground = ground_of(job, parent, parent, rows_of_version(store, parent), parts)
    errors = {}
    for bits in (8, 2):
        told: list[Report] = []
        RecipeTrial(job)({"quantize.bits": bits}, ground, told.append)
        errors[bits] = told[-1].metrics["validation_sample_error"]

    assert job.gate_metric(parent) == "sample_error"
    assert Likeness.of(versions, parent).figures(Subject.of_version(versions, parent)) == {"sample_error": 0}
    assert 0 < errors[8] < 0.1 < errors[2]


def test_of_a_network_that_is_not_for_making_rows_nothing_is_compared(store: Store) -> None:
    versions = Versions(store)
    parent = versions.get("made", 1)

    other = parent.model_copy(update={"task": "density"})

    assert Likeness.of(versions, other).figures(Subject.of_version(versions, parent)) == {}
