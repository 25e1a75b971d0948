"""How much of a model's own speed is left of it behind the edge: `make bench ARGS=rows`.

The convolutional networks of the job files at full precision, after a few steps of training, which change no time.
Requests of 16 rows come as binary tensors over several connections in a closed loop; the tight loop is the same runtime
with the same threads in this process, in batches of 16 and of what the queue may join. They take turns, so each ratio
is of one round.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

import numpy as np

from raymaas.bundle.runtimes.base import Runtime
from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.wiring import open_registry
from tests.bench.asked import of_rows
from tests.bench.closed_loop import closed_loop, require_wrk
from tests.bench.own_cluster import own_cluster, trained
from tests.bench.served.running import wait_until_answered

ROWS, BATCHES, CONNECTIONS, THREADS, WARM_S = 16, (16, 32, 64, 128), (2, 4, 8), 1, 2
JOBS = ("mnist_cnn", "mnist_cnn_small")
BRIEFLY = ("training.steps=20", "training.epochs=null", "training.schedule={use: constant}")


def main(rounds: int = 5, seconds: int = 4) -> None:
    require_wrk()
    with own_cluster(OMP_NUM_THREADS=str(THREADS)) as home:
        versions = open_registry(home.plan().storage).versions
        for job in JOBS:
            model = job.replace("_", "-")
            trained(home, job, *BRIEFLY)
            home.cli("deploy", f"{model}@1")
            manifest = versions.get(model, 1)
            runtime = open_runtime(manifest, partial(versions.read_file, manifest), threads=THREADS)
            print(
                f"\n{model}, {runtime.name}, {THREADS} thread; medians of {rounds} rounds, ratios with their range"
            )
            report(f"{home.plan().url}/v2/models/{model}/infer", runtime, rounds=rounds, seconds=seconds)
            home.cli("undeploy", f"{model}@1", "--force")


def report(url: str, runtime: Runtime, *, rounds: int, seconds: int) -> None:
    rows_ND = np.random.default_rng(0).integers(0, 256, (max(BATCHES), 28, 28)).astype(np.float32)
    asked = of_rows(url, rows_ND[:ROWS], binary=True)
    wait_until_answered(asked)
    closed_loop(asked, connections=max(CONNECTIONS), seconds=WARM_S)
    tight: dict[int, list[float]] = {size: [] for size in BATCHES}
    served: dict[int, list[float]] = {count: [] for count in CONNECTIONS}
    failed = 0
    for _ in range(rounds):
        for size in BATCHES:
            tight[size].append(rows_per_s(runtime, rows_ND[:size], seconds=seconds))
        for count in CONNECTIONS:
            told = closed_loop(asked, connections=count, seconds=seconds)
            served[count].append(told.per_s * ROWS)
            failed += told.failed
    for size in BATCHES:
        print(f"  tight loop, batches of {size:<4}{statistics.median(tight[size]):8.0f} rows/s")
    fastest = [max(rates) for rates in zip(*tight.values(), strict=True)]
    for count in CONNECTIONS:
        print(
            f"  served, {count} connections    {statistics.median(served[count]):8.0f} rows/s:"
            f" {ratio(served[count], tight[ROWS])} of batches of {ROWS}, {ratio(served[count], fastest)} of the fastest"
        )
    print(f"  {failed} failed")


def rows_per_s(runtime: Runtime, rows_ND: np.ndarray, *, seconds: float) -> float:
    """Of one call after another."""
    begun, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        runtime.run({"x": rows_ND})
        calls += 1
    return calls * len(rows_ND) / passed


def ratio(ours: list[float], theirs: list[float]) -> str:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
