"""Compress the job files here, from parents trained for it, and write what came out to jobs/README.md.

    make compress-all                               all cases, one seed
    make compress-all SEEDS=5                       five seeds each, for the published table
    make compress-all ARGS="mnist_vae mnist_gan"    some of them; the other rows of the table stay

It needs a running cluster (`raymaas up`), and for MNIST its files. A parent that its registry holds already, trained by
the same job with the same seed, is taken. Every figure is of the published version, read back from the store by a
fresh process, which decodes it and asks it about all test rows.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from threading import Lock
from typing import Any

import orjson
from tables import written

from raymaas import Client
from raymaas.client.jobfile import read_job
from raymaas.errors import RaymaasError
from raymaas.specs.base import canonical_json
from raymaas.specs.compression import CompressJob
from raymaas.specs.evaluation import LESS_IS_BETTER, SAMPLE_ERROR
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.kinds import job_fields
from raymaas.specs.names import Reference
from raymaas.specs.runs import Succeeded
from raymaas.specs.versions import ModelVersion

FOLDER = Path(__file__).parent
HEADING = """## Compressed

Written by `make compress-all`. Times smaller is the bytes of the weights file trained at full precision over those of
the one coded file; the metric is that of all test rows, by a fresh process that read the file back, and the parent's
beside it; of a GAN it is how far its samples are from the parent's of the same codes. Of several seeds it is the mean,
with the worst in brackets. Times faster, of the first seed, is rows a second in batches of 64 in the runtime that
serves it, over eager PyTorch with the original, both with one thread, where the job ran.

| case | seeds | bytes | times smaller | metric | parent | runtime, times faster | goal | measured |
|---|---:|---:|---:|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Case:
    """A compression, what makes its parent, and what it is to reach."""

    parent: str
    """The training that makes the parent, or the one at the beginning of `after`."""
    goal: str
    settings: tuple[str, ...] = ()
    """Changes to the training that keep all cases within an hour."""
    teacher: str = ""
    """The training that makes the version which recipes name as their teacher."""
    after: str = ""
    """The case that makes the parent of what was trained."""


LENET5 = "mnist_lenet5"
CASES: Mapping[str, Case] = {
    "mnist_lenet300": Case("mnist_lenet300", "130x at 98.36 %", teacher=LENET5),
    "mnist_lenet5_caffe": Case("mnist_lenet5_caffe", "150x at 99.20 %", teacher=LENET5),
    "mnist_lenet5_caffe_tiny": Case("mnist_lenet5_caffe", "350x at 99.00 %", teacher=LENET5),
    "mnist_mlp1200_taught": Case("mnist_mlp1200", "a teacher for the next", teacher=LENET5),
    "mnist_mlp1024": Case("mnist_mlp1024", "5x faster, 0.2 points"),
    "mnist_cnn_small": Case("mnist_cnn_small", "5x faster, 0.2 points", settings=("training.epochs=3",)),
    "mnist_transformer": Case("mnist_transformer", "12x, 2x faster, 0.5 points"),
    "mnist_vae": Case("mnist_vae", "8x within 2 nats", settings=("training.epochs=20",)),
    "mnist_gan": Case("mnist_gan", "8x within 0.25 deviations", settings=("training.epochs=8",)),
    "python_help_gpt": Case("python_help_gpt", "8x within 0.05 bits per byte"),
    "mnist_mlp1200_student": Case("mnist_mlp1200", "99.20 %", after="mnist_mlp1200_taught"),
    "digits_linear_svm": Case("digits_linear_svm", "8x within a point"),
    "digits_logistic": Case("digits_logistic", "8x within a point"),
}
_METRICS = ("accuracy", "elbo", "bits_per_byte", SAMPLE_ERROR)
_AT_A_TIME = 2


@dataclass(frozen=True)
class Reached:
    """One seed of a case."""

    version: ModelVersion
    bytes: int
    metric: str
    value: float
    parent: float

    @property
    def ratio(self) -> float:
        compression = self.version.lineage.compression
        assert compression is not None
        return compression.original_bytes / self.bytes

    @property
    def speed(self) -> str:
        compression = self.version.lineage.compression
        accounting = compression.accounting if compression else None
        if accounting is None or not accounting.runtimes:
            return ""
        runtime = accounting.runtimes[0].runtime
        times = accounting.speedup(runtime, over="torch")
        return f"{runtime}, {times:.1f}" if times else runtime


class Made:
    """The versions that were made for this, each once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._locks: dict[str, Lock] = {}
        self._lock = Lock()

    def trained(self, name: str, *, seed: int, settings: tuple[str, ...] = ()) -> str:
        """A reference to it; it is trained if the registry has none of that job."""
        job = read_job(FOLDER / f"train_{name}.yaml", settings=(*settings, f"training.seed={seed}"))
        assert isinstance(job, TrainJob)
        return self._once(job, f"training {name}, seed {seed} ...")

    def compressed(self, name: str, *, seed: int) -> str:
        """Likewise of a case, with its parent and its teacher."""
        case = CASES[name]
        parent = (
            self.compressed(case.after, seed=seed)
            if case.after
            else self.trained(case.parent, seed=seed, settings=case.settings)
        )
        teachers = {}
        if case.teacher:
            teacher = self.trained(case.teacher, seed=0)
            teachers[Reference.parse(teacher).model] = teacher
        job = read_job(FOLDER / f"compress_{name}.yaml", settings=(f"seed={seed}", f"parent={parent}"))
        assert isinstance(job, CompressJob)
        job = job.model_copy(update={"recipe": taught(job.recipe, teachers)})
        return self._once(job, f"compressing {name}, seed {seed} ...")

    def _once(self, job: TrainJob | CompressJob, saying: str) -> str:
        wanted = job_fields(job)
        with self._lock:
            lock = self._locks.setdefault(canonical_json(wanted).decode(), Lock())
        with lock:
            return self._known(job.model, wanted) or self._make(job, saying)

    def _known(self, model: str, wanted: Mapping[str, Any]) -> str | None:
        try:
            versions = self._client.models.versions(model).versions
        except RaymaasError:
            return None
        return next((f"{v.model}@{v.version}" for v in versions if v.lineage.job == wanted), None)

    def _make(self, job: TrainJob | CompressJob, saying: str) -> str:
        print(saying, flush=True)
        submit = self._client.train if isinstance(job, TrainJob) else self._client.compress
        ended = submit(job, folder=FOLDER).wait()
        assert isinstance(ended, Succeeded)
        return f"{job.model}@{ended.version}"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--read-back", metavar="MODEL@VERSION", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.read_back:
        print(orjson.dumps(read_back(given.read_back)).decode())
        return 0
    if unknown := set(given.cases) - set(CASES):
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
        return 2
    failed = []
    with Client() as client, ThreadPoolExecutor(_AT_A_TIME) as pool:
        made, lock = Made(client), Lock()

        def carry_out(name: str) -> None:
            try:
                row = row_of(name, [reached(client, made, name, seed) for seed in range(given.seeds)])
            except RaymaasError as error:
                failed.append(name)
                print(f"{name}: {error}", flush=True)
                return
            with lock:
                print(row, flush=True)
                written(HEADING, {name: row}, known=CASES)

        list(pool.map(carry_out, given.cases or CASES))
    return 1 if failed else 0


def reached(client: Client, made: Made, name: str, seed: int) -> Reached:
    """What the version is that the case's job makes with that seed. Raises RaymaasError when it makes none."""
    reference = made.compressed(name, seed=seed)
    version, found = client.models.version(reference), in_a_fresh_process(reference)
    compression = version.lineage.compression
    assert compression is not None
    metric = next(metric for metric in _METRICS if metric in found["metrics"])
    return Reached(
        version,
        found["bytes"],
        metric,
        found["metrics"][metric],
        0.0 if metric == SAMPLE_ERROR else compression.parent_evaluation.metrics[metric].value,
    )


def taught(recipe: tuple[Component, ...], teachers: Mapping[str, str]) -> tuple[Component, ...]:
    """`recipe` with the versions that were trained for this as its teachers."""

    def named(step: Component) -> Component:
        teacher = step.config.get("teacher")
        if not isinstance(teacher, str) or not teacher:
            return step
        return Component(
            use=step.use, config=step.config | {"teacher": teachers[Reference.parse(teacher).model]}
        )

    return tuple(named(step) for step in recipe)


def in_a_fresh_process(reference: str) -> dict[str, Any]:
    """What `read_back` finds there."""
    ended = subprocess.run(
        [sys.executable, __file__, "--read-back", reference], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = orjson.loads(ended.stdout.splitlines()[-1])
    return found


def read_back(reference: str) -> dict[str, Any]:
    """Bytes of a version's weights file, its metrics on the test rows, and of a GAN how far its samples are from its
    parent's of the same codes; from the store alone."""
    from raymaas.cli.local import settings_from_environment, storage_in_use
    from raymaas.data.blocks import HeldBlocks
    from raymaas.jobs.judging import Subject
    from raymaas.jobs.likeness import Likeness
    from raymaas.jobs.origin import rows_of_version, trained_original
    from raymaas.wiring import open_registry

    registry = open_registry(storage_in_use(settings_from_environment(), None))
    named = Reference.parse(reference)
    assert named.version is not None
    version = registry.versions.get(named.model, named.version)
    assert version.lineage.parent is not None
    likeness = Likeness.of(registry.versions, registry.versions.get(named.model, version.lineage.parent))
    rows = rows_of_version(registry.store, trained_original(registry.versions, version))
    subject, blocks = Subject.of_version(registry.versions, version), HeldBlocks(rows.test)
    scored = subject.score(subject.answers(blocks), blocks)
    metrics = {name: metric.value for name, metric in scored.metrics.items()}
    return {
        "bytes": len(registry.versions.read_file(version, version.weights_file)),
        "metrics": metrics | {**likeness.figures(subject)},
    }


def row_of(name: str, seeds: list[Reached]) -> str:
    """The row of the table for one case."""
    first = seeds[0]
    values = [reached.value for reached in seeds]
    worst = (max if first.metric in LESS_IS_BETTER else min)(values)
    shown = f"{first.metric} {mean(values):.4f}" + (f" ({worst:.4f})" if len(seeds) > 1 else "")
    cells = (
        name,
        str(len(seeds)),
        f"{mean(reached.bytes for reached in seeds):,.0f}",
        f"{mean(reached.ratio for reached in seeds):.1f}",
        shown,
        f"{mean(reached.parent for reached in seeds):.4f}",
        first.speed,
        CASES[name].goal,
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs, {platform.machine()}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
