"""What a second worker brings to each family, and how much of two workers' time is communication.

The networks, optimizers and batches of the job files, on made-up rows of their data's shape; one thread a worker,
gloo, the batch cut in two. In every round one worker trains, then two, then two that do not speak: what those are
faster by is communication. Timed by the clock on the wall, from the second epoch on; the median of the rounds, and
of the ratios within a round their range.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from training_workers import GlooWorld, on_workers

from raymaas.client.jobfile import read_job
from raymaas.data.rows import Rows
from raymaas.data.split import Parts
from raymaas.models import catalogue
from raymaas.models.networks import Network
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Training, TrainJob
from raymaas.specs.versions import TensorSpec
from raymaas.train.loop import fit
from raymaas.train.world import World

ROUNDS, EPOCHS = 3, 2
EPOCH_S = 0.4  # about as long as one worker takes for an epoch
FOLDER = Path(__file__).parents[2] / "jobs"
JOBS = (
    *(
        "digits_logistic",
        "digits_linear_svm",
        "digits_rbf_svm",
        "diabetes_mlp",
        "mnist_mlp",
        "mnist_lenet300",
    ),
    *("mnist_lenet5", "mnist_cnn", "mnist_cnn_small", "mnist_resnet", "mnist_mobilenet", "mnist_gru"),
    *("mnist_transformer", "docstrings_gru", "docstrings_transformer", "python_help_gpt", "mnist_vae"),
    "mnist_gan",
)
CLASSES = tuple("0123456789")


def main(jobs: tuple[str, ...] = JOBS) -> None:
    print(
        f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; median of {ROUNDS} rounds\n"
        f"{'job':<24}{'batch':>6}{'1 worker':>11}{'2 workers':>11}   ratio (range)       communication",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        on_workers(partial(measure_all, jobs), size=2, folder=Path(folder))


def measure_all(jobs: tuple[str, ...], gloo: GlooWorld) -> None:
    for name in jobs:
        measure(name, gloo("ddp", one_machine=True))


def measure(name: str, world: World) -> None:
    job = read_job(FOLDER / f"train_{name}.yaml")
    assert isinstance(job, TrainJob)
    facts = facts_of(job)
    component = catalogue.resolve(job.architecture, facts)
    training = brief(job.training)
    build = partial(catalogue.build, component)
    data = partial(rows_of, facts, batch=training.batch_size)
    steps = agreed_steps(world, build, training, data(steps=4))
    parts = data(steps=steps)
    rounds = []
    for _ in range(ROUNDS):
        alone = rows_per_s(World.single(), build, training, parts) if world.rank == 0 else 0.0
        torch.distributed.barrier()
        together = rows_per_s(world, build, training, parts)
        mute = rows_per_s(
            replace(world, wrap=lambda module: module, one_machine=False), build, training, parts
        )
        rounds.append((alone, together, mute))
    if world.rank == 0:
        gains = [two / one for one, two, _ in rounds]
        shares = [1 - two / silent for _, two, silent in rounds]
        one, two, _ = (statistics.median(rates) for rates in zip(*rounds, strict=True))
        print(
            f"{name:<24}{training.batch_size:>6}{one:>9,.0f}/s{two:>9,.0f}/s   "
            f"{statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})   "
            f"{statistics.median(shares):>6.0%}",
            flush=True,
        )


def brief(training: Training) -> Training:
    """As much of it as is measured; a job that is solved by lbfgs takes steps like the others here."""
    changes: dict[str, object] = {"epochs": EPOCHS, "steps": None, "early_stopping": None, "keep": "last"}
    if training.optimizer == "lbfgs":
        changes |= {"optimizer": "adam", "batch_size": 128}
    return training.model_copy(update=changes)


def agreed_steps(world: World, build: partial[Network], training: Training, few: Parts) -> int:
    """How many steps take one worker about `EPOCH_S`, as rank 0 finds."""
    mine = rows_per_s(World.single(), build, training, few) if world.rank == 0 else 0.0
    return int(min(400, max(4, EPOCH_S * float(world.all_reduce(torch.tensor(mine))) / training.batch_size)))


def rows_per_s(world: World, build: partial[Network], training: Training, parts: Parts) -> float:
    done = fit(build, training, parts=parts, world=world)
    return statistics.median(report.rows / report.seconds for report in done.history[1:])


def facts_of(job: TrainJob) -> Facts:
    tensor = partial(TensorSpec, name="x", dtype="FP32")
    match job.data.use:
        case "digits":
            return Facts(input=tensor(shape=(-1, 8, 8)), classes=CLASSES)
        case "diabetes":
            return Facts(input=tensor(shape=(-1, 10)), target="number")
        case "docstrings":
            return Facts(input=tensor(shape=(-1, 40)), classes=CLASSES, vocabulary=8000)
        case "python_help":
            return Facts(input=tensor(shape=(-1, 128)), target="none")
    return Facts(input=tensor(shape=(-1, 28, 28)), classes=CLASSES)


def rows_of(facts: Facts, *, batch: int, steps: int) -> Parts:
    draw, count = np.random.default_rng(0), batch * steps
    values = 256 if facts.vocabulary is None else facts.vocabulary
    x_ND = draw.integers(0, values, (count, *facts.row)).astype(np.float32)
    y_N = draw.integers(0, len(CLASSES), count)
    y_N = y_N.astype(np.float32) if facts.target == "number" else y_N
    train = Rows(x_ND=x_ND, y_N=y_N, id_N=np.arange(count))
    few = train.take(np.arange(batch))
    return Parts(train=train, validation=few, test=few, fingerprint="")
