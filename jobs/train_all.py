"""Train every job file here, one after the other, and write what each reached to jobs/README.md.

    make train-all                              all of them but those that need GPUs
    make train-all ARGS="mnist_mlp mnist_vae"   some of them; the other rows of the table stay

It needs a running cluster (`raymaas up`), and for MNIST its files (RAYMAAS_DATASETS, the cache, or a mirror).
"""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from tables import written

from raymaas import Client
from raymaas.client.jobfile import read_job
from raymaas.errors import RaymaasError
from raymaas.specs.jobs import TrainJob
from raymaas.specs.runs import Succeeded
from raymaas.specs.versions import ModelVersion

FOLDER = Path(__file__).parent
HEADING = """## Trained

Written by `make train-all`, which trains them one after the other and asks the registry what came out; intervals are
95 %. Wall time is the whole run, from the driver's start to the published version; CPU time is that of driver and
workers.

| job | test score | wall s | CPU s | measured |
|---|---|---:|---:|---|
"""
SHOWN = ("accuracy", "elbo", "bits_per_byte", "rmse", "r2", "real")


def main(wanted: list[str]) -> int:
    names = [path.stem.removeprefix("train_") for path in sorted(FOLDER.glob("train_*.yaml"))]
    here = [name for name in names if not needs_more(name)]
    if unknown := set(wanted) - set(names):
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
        return 2
    failed = 0
    with Client() as client:
        for name in wanted or here:
            print(f"{name} ...", flush=True)
            try:
                row = trained(client, name)
            except RaymaasError as error:
                failed += 1
                print(f"{name}: {error}", flush=True)
                continue
            print(row, flush=True)
            written(HEADING, {name: row}, known=names)
    return 1 if failed else 0


def needs_more(name: str) -> bool:
    """Whether its job needs GPUs."""
    job = read_job(FOLDER / f"train_{name}.yaml")
    return isinstance(job, TrainJob) and job.scaling.gpus_per_worker > 0


def trained(client: Client, name: str) -> str:
    """The row of the table for one job, which was trained for it. Raises RaymaasError when it failed."""
    run = client.train(FOLDER / f"train_{name}.yaml")
    ended = run.wait()
    assert isinstance(ended, Succeeded)
    version = client.models.version(f"{run.status().model}@{ended.version}")
    progress = run.progress()
    cpu = f"{progress.spent.cpu_seconds:.0f}" if progress else ""
    at = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs, {platform.machine()}"
    return f"| {name} | {score(version)} | {ended.seconds:.0f} | {cpu} | {at} |"


def score(version: ModelVersion) -> str:
    """The metrics of the version's task that tell most, on its test rows."""
    told = [
        f"{name} {metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"
        for name in SHOWN
        if (metric := version.evaluation.metrics.get(name))
    ]
    return ", ".join(told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
