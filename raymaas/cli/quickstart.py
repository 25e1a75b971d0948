"""The walk: one real model from data to a served answer on this machine, every step checked."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from raymaas import wiring
from raymaas.cli.local import stop_cluster, up_options
from raymaas.client import Client
from raymaas.cluster import lifecycle
from raymaas.errors import InvalidInput, RaymaasError
from raymaas.registry.blobs import blob_key
from raymaas.settings import Settings
from raymaas.specs.jobs import TrainJob
from raymaas.specs.versions import ModelVersion
from raymaas.wiring import Registry

JOB_FILE = Path("jobs/train_digits.yaml")
_LATENCY_REQUESTS = 300
_HTTP_REQUESTS = 50
# Served answers come from the same runtime and bytes; batches of another size may round differently.
_TOLERANCE = 1e-5


class CheckFailed(RaymaasError):
    """A step of the walk did not give what it must."""

    code = "check-failed"


@dataclass(frozen=True)
class Observed:
    """What the served model showed: answers by version, and one-row latencies in milliseconds."""

    answers: Counter[int]
    p50_ms: float
    p99_ms: float


def walk(settings: Settings, *, environment: Mapping[str, str], keep: bool, stop: bool) -> None:
    """Walk, print the table and the line of JSON; raises what went wrong. Stops what it started unless kept."""
    console = Console()
    stays = keep or (sys.stdout.isatty() and not stop)
    if not JOB_FILE.exists():
        raise InvalidInput(
            f"{JOB_FILE} does not exist here; run the quickstart in the repository's root folder"
        )
    started = time.monotonic()
    plan = lifecycle.up(
        up_options(settings), environment=environment, progress=lambda step: _say(console, step)
    )
    try:
        _say(console, f"raymaas runs at {plan.url}")
        registry = wiring.open_registry(plan.storage)
        with Client(plan.url) as client:
            manifest = _train(client, registry, console)
            observed = _serve(client, registry, manifest, console)
        seconds = time.monotonic() - started
        console.print(_table(manifest, observed))
        if stays:
            _show_next(console, plan.url, plan.dashboard_url)
    except BaseException:
        if not keep:
            stop_cluster(settings, progress=lambda step: _say(console, step))
        raise
    if not stays:
        stop_cluster(settings, progress=lambda step: _say(console, step))
    facts = _facts(manifest, observed, url=plan.url, storage=plan.storage, seconds=seconds)
    print(json.dumps(facts), flush=True)  # noqa: T201 - the last line is for programs


def _train(client: Client, registry: Registry, console: Console) -> ModelVersion:
    from raymaas.client.jobfile import read_job
    from raymaas.data.dataset import prepare

    job = read_job(JOB_FILE)
    dataset = prepare(registry.store, job.data)
    _say(
        console,
        f"data set {dataset.card.name}: {len(dataset.rows)} rows, fingerprint {dataset.card.fingerprint[:12]}",
    )
    handle = client.train(job)
    for line in _lines(handle.logs(follow=True)):
        _say(console, line)
    done = handle.wait()
    if done.version is None:
        raise CheckFailed(f"run {handle.run_id} succeeded without registering a version")
    manifest = registry.versions.get(job.model, done.version)
    accuracy = manifest.evaluation.metrics["accuracy"].value
    if accuracy < 0.96:
        raise CheckFailed(
            f"{job.model}@{done.version} reached {accuracy:.4f} test accuracy; at least 0.96 is expected"
        )
    return manifest


def _serve(client: Client, registry: Registry, manifest: ModelVersion, console: Console) -> Observed:
    """Deploy the version, ask it for every test row in three ways, and compare with the bundle run here."""
    reference = f"{manifest.model}@{manifest.version}"
    _say(console, f"deploying {reference}")
    state = client.deploy(reference, why="quickstart")
    if state.traffic.get(manifest.version) != 100:
        client.traffic(manifest.model, {manifest.version: 100}, why="quickstart")
    x_ND, expected_NC = _expected(registry, manifest)
    answers: Counter[int] = Counter()
    _say(console, f"sending {len(x_ND)} test digits through the client")
    prediction = client.model(manifest.model).predict(x_ND)
    answers[prediction.model_version] += 1
    _require_equal(prediction.outputs["probabilities"], expected_NC, "the Python client")
    _say(console, f"sending {_HTTP_REQUESTS} of them over plain HTTP")
    answers += _over_http(client.url, manifest, x_ND, expected_NC)
    latencies_ms = []
    for row in range(_LATENCY_REQUESTS):
        begun = time.perf_counter()
        one = client.model(manifest.model).predict(x_ND[row % len(x_ND)][None])
        latencies_ms.append((time.perf_counter() - begun) * 1e3)
        answers[one.model_version] += 1
    if set(answers) != {manifest.version}:
        raise CheckFailed(
            f"all traffic goes to version {manifest.version}, but versions {sorted(answers)} answered"
        )
    p50_ms, p99_ms = np.percentile(latencies_ms, [50, 99])
    return Observed(answers, float(p50_ms), float(p99_ms))


def _expected(registry: Registry, manifest: ModelVersion) -> tuple[np.ndarray, np.ndarray]:
    """The test rows, and what the version's own bundle answers for them in this process."""
    from raymaas.bundle.runtimes.opening import open_runtime
    from raymaas.data.dataset import open_dataset
    from raymaas.data.split import split

    lineage = manifest.lineage
    job = TrainJob.parse(lineage.job, source="the version's job")
    rows = split(open_dataset(registry.store, lineage.dataset, lineage.data_fingerprint), job.split).test
    runtime = open_runtime(manifest, lambda sha256: registry.store.read(blob_key(sha256)))
    return rows.x_ND, runtime.run({manifest.signature.inputs[0].name: rows.x_ND})["probabilities"]


def _over_http(url: str, manifest: ModelVersion, x_ND: np.ndarray, expected_NC: np.ndarray) -> Counter[int]:
    """Ask as somebody with curl would: Open Inference Protocol JSON, no client of ours."""
    answers: Counter[int] = Counter()
    name = manifest.signature.inputs[0].name
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        for row in range(_HTTP_REQUESTS):
            data = x_ND[row : row + 1]
            tensor = {"name": name, "datatype": "FP32", "shape": data.shape, "data": data.ravel().tolist()}
            answer = http.post(f"/v2/models/{manifest.model}/infer", json={"inputs": [tensor]})
            if answer.status_code != 200:
                raise CheckFailed(f"HTTP {answer.status_code} for a test digit: {answer.text[:300]}")
            body = answer.json()
            outputs = {output["name"]: output for output in body["outputs"]}
            got = np.array(outputs["probabilities"]["data"]).reshape(outputs["probabilities"]["shape"])
            _require_equal(got, expected_NC[row : row + 1], "plain HTTP")
            answers[int(body["model_version"])] += 1
    return answers


def _require_equal(got: np.ndarray, expected: np.ndarray, way: str) -> None:
    if got.shape != expected.shape or not np.allclose(got, expected, atol=_TOLERANCE, rtol=0):
        raise CheckFailed(f"the answers over {way} are not the model's own")


def _table(manifest: ModelVersion, observed: Observed) -> Table:
    accuracy = manifest.evaluation.metrics["accuracy"]
    table = Table("version", "test accuracy", "95 % interval", "weights, bytes", "p50, ms", "p99, ms")
    table.add_row(
        f"{manifest.model}@{manifest.version}",
        f"{accuracy.value:.4f}",
        f"{accuracy.low:.4f} to {accuracy.high:.4f}",
        f"{manifest.weights_bytes:,}",
        f"{observed.p50_ms:.2f}",
        f"{observed.p99_ms:.2f}",
    )
    return table


def _facts(
    manifest: ModelVersion, observed: Observed, *, url: str, storage: str, seconds: float
) -> dict[str, Any]:
    version = {
        "accuracy": round(manifest.evaluation.metrics["accuracy"].value, 4),
        "bytes": manifest.weights_bytes,
        "parent": manifest.lineage.parent,
    }
    return {
        "model": manifest.model,
        "versions": {str(manifest.version): version},
        "traffic": {str(v): count for v, count in sorted(observed.answers.items())},
        "url": url,
        "storage": storage,
        "seconds": round(seconds, 1),
    }


def _show_next(console: Console, url: str, dashboard_url: str) -> None:
    console.print("It stays up.")
    console.print(f"  open   {dashboard_url}  (Ray's dashboard; its token: raymaas env)", highlight=False)
    console.print(f"         {url}/api/v1/docs  (the API)", highlight=False)
    console.print("  try    raymaas models list; raymaas models show digits@1; raymaas runs list")
    console.print("  stop   raymaas down")


def _say(console: Console, step: str) -> None:
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {step}", highlight=False, soft_wrap=True)


def _lines(chunks: Any) -> Any:
    for chunk in chunks:
        yield from chunk.rstrip("\n").splitlines()
