"""Every job file that comes with raymaas says what can be done: its network fits its data, and a step trains it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from raymaas.client.jobfile import read_job
from raymaas.data.dataset import prepare
from raymaas.data.rows import Rows
from raymaas.data.split import Parts, split
from raymaas.models import catalogue
from raymaas.specs.jobs import TrainJob
from raymaas.specs.versions import TensorSpec
from raymaas.store import MemoryStore
from raymaas.train.loop import fit
from raymaas.train.world import World

FOLDER = Path(__file__).parents[2] / "jobs"
TRAIN_JOBS = sorted(FOLDER.glob("train_*.yaml"))
MNIST = TensorSpec(name="x", dtype="FP32", shape=(-1, 28, 28))


def data_of(job: TrainJob) -> tuple[TensorSpec, tuple[str, ...], Parts]:
    """Input, classes and a few rows; for MNIST, which is not at hand without a network, rows made like its own."""
    if job.data.use != "mnist":
        dataset = prepare(MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC)), job.data)
        parts = split(dataset, job.split)
        return dataset.input, dataset.card.classes, few(parts)
    draw = np.random.default_rng(0)
    rows = Rows(
        x_ND=draw.integers(0, 256, (60, 28, 28)).astype(np.float32),
        y_N=np.arange(60, dtype=np.int64) % 10,
        id_N=np.arange(60, dtype=np.int64),
    )
    return (
        MNIST,
        tuple("0123456789"),
        few(Parts(train=rows, validation=rows, test=rows, fingerprint="0" * 64)),
    )


def few(parts: Parts) -> Parts:
    some = [rows.take(np.arange(min(len(rows), 20))) for rows in (parts.train, parts.validation, parts.test)]
    return Parts(train=some[0], validation=some[1], test=some[2], fingerprint=parts.fingerprint)


def test_every_job_file_is_a_job_of_the_kind_it_is_named_after() -> None:
    found = {path.name: read_job(path).kind for path in FOLDER.glob("*.yaml")}
    assert len(found) > 10
    assert all(name.startswith(kind) for name, kind in found.items())


@pytest.mark.parametrize("path", TRAIN_JOBS, ids=lambda path: path.stem)
def test_its_network_fits_its_data_and_a_step_trains_it(path: Path) -> None:
    job = read_job(path)
    assert isinstance(job, TrainJob)
    data_input, classes, parts = data_of(job)
    component = catalogue.resolve(job.architecture, data_input=data_input, classes=classes)
    started = torch.random.get_rng_state()
    once = job.training.model_copy(update={"epochs": None, "steps": 1, "early_stopping": None})
    fitted = fit(partial(catalogue.build, component), once, parts=parts, world=World.single())
    assert torch.equal(started, torch.random.get_rng_state())
    moved = catalogue.build(component)
    moved.load_state_dict(dict(fitted.weights))
    with torch.no_grad():
        logits = moved.eval()(torch.tensor(parts.test.x_ND))
    assert logits.shape == (len(parts.test), len(classes))
    assert logits.isfinite().all()


@pytest.mark.parametrize("path", TRAIN_JOBS, ids=lambda path: path.stem)
def test_its_header_says_how_long_it_takes_and_what_it_reaches(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(line.startswith("#   time ") for line in header)
    assert any(line.startswith("#   score ") for line in header)
