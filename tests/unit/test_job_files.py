"""Every job file that comes with raymaas says what can be done: its network fits its data, and a step trains it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from raymaas.client.jobfile import read_job
from raymaas.compress.recipe import passes_of
from raymaas.data.dataset import prepare
from raymaas.data.rows import Rows
from raymaas.data.split import Parts, split
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.models import own
from raymaas.models.base import signature_of
from raymaas.specs.compression import CompressJob, settled
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import TrainJob
from raymaas.specs.search import extremes
from raymaas.specs.versions import TensorSpec
from raymaas.store import MemoryStore
from raymaas.train.loop import fit
from raymaas.train.world import World

FOLDER = Path(__file__).parents[2] / "jobs"
TRAIN_JOBS = sorted(FOLDER.glob("train_*.yaml"))
NOT_AT_HAND = {
    "mnist": ((28, 28), 20),
    "images": ((3, 224, 224), 2),
}  # the shape of a row, and how many will do


def data_of(job: TrainJob) -> tuple[Facts, Parts]:
    """The facts and a few rows; for data that is not at hand rows made like its own."""
    if job.data.use not in NOT_AT_HAND:
        dataset = prepare(MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC)), job.data)
        division = split(dataset, job.split)
        transforms = fit_transforms(job.transforms, division.train, dataset.card)
        return transforms.facts(dataset.card), transforms.ready(few(division))
    shape, count = NOT_AT_HAND[job.data.use]
    rows = Rows(
        x_ND=np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.float32),
        y_N=np.arange(count, dtype=np.int64) % 10,
        id_N=np.arange(count, dtype=np.int64),
    )
    facts = Facts(input=TensorSpec(name="x", dtype="FP32", shape=(-1, *shape)), classes=tuple("0123456789"))
    return facts, Parts(train=rows, validation=rows, test=rows, fingerprint="0" * 64)


def few(parts: Parts) -> Parts:
    some = [rows.take(np.arange(min(len(rows), 20))) for rows in (parts.train, parts.validation, parts.test)]
    return Parts(train=some[0], validation=some[1], test=some[2], fingerprint=parts.fingerprint)


def test_every_job_file_is_a_job_of_the_kind_it_is_named_after() -> None:
    found = {path.name: read_job(path).kind for path in FOLDER.glob("*.yaml")}
    assert len(found) > 10
    assert all(name.startswith(kind) for name, kind in found.items())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("compress_*.yaml")), ids=lambda path: path.stem)
def test_every_compression_has_passes_that_work_and_a_parent_that_is_trained_here(path: Path) -> None:
    job = read_job(path)
    assert isinstance(job, CompressJob)
    for point in extremes(job.space()):
        assert passes_of(settled(job.recipe, point))
    trained = {read_job(training).model for training in TRAIN_JOBS}
    teachers = {
        str(step.config["teacher"]).partition("@")[0] for step in job.recipe if "teacher" in step.config
    }
    assert {job.model} | teachers <= trained


@pytest.mark.parametrize("path", TRAIN_JOBS, ids=lambda path: path.stem)
def test_its_network_fits_its_data_and_a_step_trains_it(path: Path) -> None:
    job = read_job(path)
    assert isinstance(job, TrainJob)
    facts, parts = data_of(job)
    component = own.resolve(job.architecture, facts)
    started = torch.random.get_rng_state()
    once = job.training.model_copy(update={"epochs": None, "steps": 1, "early_stopping": None})
    fitted = fit(partial(own.build, component), once, parts=parts, world=World.single())
    assert torch.equal(started, torch.random.get_rng_state())
    moved = own.build(component)
    moved.load_state_dict(dict(fitted.weights))
    with torch.no_grad():
        outputs = moved.eval().infer(torch.tensor(parts.test.x_ND))
    signature = signature_of(own.task_of(component, target=facts.target), facts)
    for spec, output in zip(signature.outputs, outputs, strict=True):
        assert output.shape == (len(parts.test), *spec.shape[1:])
        assert output.isfinite().all()


@pytest.mark.parametrize("path", TRAIN_JOBS, ids=lambda path: path.stem)
def test_its_header_says_how_long_it_takes_and_what_it_reaches(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(line.startswith("#   time ") for line in header)
    assert any(line.startswith("#   score ") for line in header)
