"""The walk: one real model and its compressed version, from data to promoted answers here, every step checked."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from raymaas import wiring
from raymaas.cli.asking import (
    CheckFailed,
    Expected,
    Steady,
    ask_over_http,
    ask_with_client,
    count_answers,
    held_out_rows,
    latencies_ms,
    served_runtime,
)
from raymaas.cli.local import stop_cluster, up_options
from raymaas.client import Client
from raymaas.client.client import RunHandle
from raymaas.client.jobfile import read_job_as
from raymaas.cluster import lifecycle
from raymaas.cluster.plan import ClusterPlan
from raymaas.errors import InvalidInput, Refused
from raymaas.settings import Settings
from raymaas.specs.compression import CompressJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.versions import ModelVersion
from raymaas.wiring import Registry

TRAIN_JOB, COMPRESS_JOB = Path("jobs/train_digits.yaml"), Path("jobs/compress_digits.yaml")
LEAST_ACCURACY = 0.96
LEAST_RATIO = 8.0
_LATENCY_REQUESTS, _HTTP_REQUESTS, _SPLIT_REQUESTS = 200, 50, 600
_SPLIT_PERCENT = 10
# A fair split of that many requests is this many standard deviations off once in 30,000 walks.
_SPLIT_SIGMAS = 4.2
_MOVE_SEEN_WITHIN_S = 5.0


@dataclass(frozen=True, eq=False)
class Served:
    """A version that was deployed and asked: what it must answer, and its one-row latencies in milliseconds."""

    expected: Expected
    p50_ms: float
    p99_ms: float

    @property
    def manifest(self) -> ModelVersion:
        return self.expected.manifest


class Walk:
    """The steps, in order, over one client; each raises CheckFailed when it did not give what it must."""

    def __init__(self, client: Client, registry: Registry, console: Console, *, api_key: str | None) -> None:
        self._client = client
        self._api_key = api_key
        self._registry = registry
        self._console = console

    def train(self) -> ModelVersion:
        from raymaas.data.dataset import prepare

        job = read_job_as(TrainJob, TRAIN_JOB)
        dataset = prepare(self._registry.store, job.data)
        fingerprint = dataset.card.fingerprint[:12]
        self.say(f"data set {dataset.card.name}: {len(dataset.rows)} rows, fingerprint {fingerprint}")
        manifest = self._followed(self._client.train(job), job.model)
        accuracy = manifest.evaluation.metrics["accuracy"].value
        if accuracy < LEAST_ACCURACY:
            raise CheckFailed(f"test accuracy is {accuracy:.4f}; at least {LEAST_ACCURACY} is expected")
        return manifest

    def compress(self, dense: ModelVersion) -> ModelVersion:
        self.say(f"compressing {dense.model}@{dense.version} by a Ray Tune sweep")
        # On a store with a past, the version just trained is not the first.
        job = read_job_as(CompressJob, COMPRESS_JOB, settings=[f"parent={dense.model}@{dense.version}"])
        manifest = self._followed(self._client.compress(job), dense.model)
        if manifest.lineage.parent != dense.version:
            raise CheckFailed(
                f"version {manifest.version} was made from {manifest.lineage.parent}, not {dense.version}"
            )
        if ratio_of(manifest, dense) < LEAST_RATIO:
            raise CheckFailed(
                f"the coded file is only {ratio_of(manifest, dense):.1f} times smaller, not {LEAST_RATIO}"
            )
        return manifest

    def serve(self, manifest: ModelVersion) -> Served:
        """Deploy the version, ask it for every test row in two ways, and compare with its bundle run here."""
        reference = f"{manifest.model}@{manifest.version}"
        self.say(f"deploying {reference}")
        self._client.deploy(reference, why="quickstart")
        split = read_job_as(TrainJob, TRAIN_JOB).split
        runtime = served_runtime(self._client.url, manifest, api_key=self._api_key)
        rows = held_out_rows(self._registry, manifest, split)
        expected = Expected.of(self._registry, manifest, rows, runtime=runtime)
        self.say(
            f"sending {len(expected.x_ND)} test digits to {reference} through the client and over plain HTTP"
        )
        ask_with_client(self._client, expected)
        ask_over_http(self._client.url, expected, requests=_HTTP_REQUESTS, api_key=self._api_key)
        return Served(expected, *latencies_ms(self._client, expected, requests=_LATENCY_REQUESTS))

    def split(self, old: Served, new: Served) -> Counter[int]:
        """Give the new version a tenth of the traffic, and count who answers."""
        weights = {old.manifest.version: 100 - _SPLIT_PERCENT, new.manifest.version: _SPLIT_PERCENT}
        self.say("traffic " + "  ".join(f"version {v}: {w} %" for v, w in weights.items()))
        row_1D = old.expected.x_ND[0]
        with Steady(self._client.url, old.manifest.model, row_1D, api_key=self._api_key) as steady:
            self._client.traffic(old.manifest.model, weights, why="quickstart")
            steady.seconds_until_answered_by(new.manifest.version, since=time.monotonic(), timeout_s=20.0)
        versions = {served.manifest.version: served.expected for served in (old, new)}
        answers = count_answers(self._client, old.manifest.model, versions, requests=_SPLIT_REQUESTS)
        share = _SPLIT_PERCENT / 100
        expected, deviation = _SPLIT_REQUESTS * share, (_SPLIT_REQUESTS * share * (1 - share)) ** 0.5
        if abs(answers[new.manifest.version] - expected) > _SPLIT_SIGMAS * deviation:
            raise CheckFailed(
                f"of {_SPLIT_REQUESTS} requests version {new.manifest.version} answered {answers}"
            )
        return answers

    def promote_and_roll_back(self, old: Served, new: Served) -> None:
        """Two moves under steady requests: each seen in answers at once, and no request fails."""
        model, versions = old.manifest.model, (old.manifest.version, new.manifest.version)
        with Steady(self._client.url, model, old.expected.x_ND[0], api_key=self._api_key) as steady:
            self._client.promote(f"{model}@{versions[1]}", why="quickstart")
            seen_s = steady.seconds_until_only(
                versions[1], since=time.monotonic(), timeout_s=_MOVE_SEEN_WITHIN_S
            )
            self.say(f"promoted {model}@{versions[1]}; every answer is its own after {seen_s:.2f} s")
            moved = time.monotonic()
            self._client.rollback(model, why="quickstart")
            seen_s = steady.seconds_until_answered_by(versions[0], since=moved, timeout_s=_MOVE_SEEN_WITHIN_S)
            self.say(f"rolled back; {model}@{versions[0]} answers again after {seen_s:.2f} s")
        if steady.failures:
            raise CheckFailed(
                f"{len(steady.failures)} requests failed during the moves: {steady.failures[0]}"
            )
        self.say(f"{steady.answered} requests during the moves, none failed")

    def say(self, step: str) -> None:
        say(self._console, step)

    def _followed(self, handle: RunHandle, model: str) -> ModelVersion:
        """Show the run's log until it has ended; the version it registered."""
        for chunk in handle.logs(follow=True):
            for line in chunk.rstrip("\n").splitlines():
                self.say(line)
        done = handle.wait()
        if done.version is None:
            raise CheckFailed(f"run {handle.run_id} succeeded without registering a version")
        return self._registry.versions.get(model, done.version)


def walk(settings: Settings, *, environment: Mapping[str, str], keep: bool, stop: bool) -> None:
    """Walk, print the table and the line of JSON; raises what went wrong. Stops what it started unless kept."""
    console = Console()
    stays = keep or (sys.stdout.isatty() and not stop)
    for job in (TRAIN_JOB, COMPRESS_JOB):
        if not job.exists():
            raise InvalidInput(
                f"{job} does not exist here; run the quickstart in the repository's root folder"
            )
    if lifecycle.read_plan(settings.run_dir):
        raise Refused(f"a cluster runs from {settings.run_dir} already; `raymaas down` stops it")
    started = time.monotonic()
    plan = lifecycle.up(
        up_options(settings), environment=environment, progress=lambda step: say(console, step)
    )
    try:
        say(console, f"raymaas runs at {plan.url}")
        api_key = settings.api_key.get_secret_value() if settings.api_key else None
        with Client(plan.url, api_key=api_key) as client:
            steps = Walk(client, wiring.open_registry(plan.storage), console, api_key=api_key)
            dense = steps.serve(steps.train())
            if client.models.state(dense.manifest.model).traffic.get(dense.manifest.version) != 100:
                client.promote(dense.expected.reference, why="quickstart")
            small = steps.serve(steps.compress(dense.manifest))
            answers = steps.split(dense, small)
            steps.promote_and_roll_back(dense, small)
        seconds = time.monotonic() - started
        console.print(_table(dense, small))
        if stays:
            _show_next(console, plan, small.manifest)
    except BaseException:
        if not keep:
            stop_cluster(settings, progress=lambda step: say(console, step))
        raise
    if not stays:
        stop_cluster(settings, progress=lambda step: say(console, step))
    facts = _facts(dense.manifest, small.manifest, answers)
    facts |= {"url": plan.url, "storage": plan.storage, "seconds": round(seconds, 1)}
    print(json.dumps(facts), flush=True)  # noqa: T201 - the last line is for programs


def say(console: Console, step: str) -> None:
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] ", end="")
    console.print(step, markup=False, highlight=False, soft_wrap=True)


def ratio_of(small: ModelVersion, dense: ModelVersion) -> float:
    """How many times smaller the weights file is."""
    return dense.weights_bytes / small.weights_bytes


def _table(dense: Served, small: Served) -> Table:
    table = Table(
        "version", "test accuracy", "95 % interval", "weights, bytes", "ratio", "p50, ms", "p99, ms"
    )
    for served in (dense, small):
        accuracy = served.manifest.evaluation.metrics["accuracy"]
        table.add_row(
            served.expected.reference,
            f"{accuracy.value:.4f}",
            f"{accuracy.low:.3f} - {accuracy.high:.3f}",
            f"{served.manifest.weights_bytes:,}",
            f"{ratio_of(served.manifest, dense.manifest):.1f}",
            f"{served.p50_ms:.2f}",
            f"{served.p99_ms:.2f}",
        )
    return table


def _facts(dense: ModelVersion, small: ModelVersion, answers: Counter[int]) -> dict[str, Any]:
    def described(manifest: ModelVersion) -> dict[str, Any]:
        return {
            "accuracy": round(manifest.evaluation.metrics["accuracy"].value, 4),
            "bytes": manifest.weights_bytes,
            "parent": manifest.lineage.parent,
        }

    ratio = {"ratio": round(ratio_of(small, dense), 1)}
    versions = {str(dense.version): described(dense), str(small.version): described(small) | ratio}
    traffic = {str(version): answers[version] for version in (dense.version, small.version)}
    return {"model": dense.model, "versions": versions, "traffic": traffic}


def _show_next(console: Console, plan: ClusterPlan, small: ModelVersion) -> None:
    console.print("It stays up.")
    console.print(
        f"  open   {plan.dashboard_url}  (Ray's dashboard; its token is in {plan.token_file})",
        highlight=False,
    )
    console.print(f"         {plan.url}/api/v1/docs  (the API)", highlight=False)
    console.print(
        f"  try    raymaas models list; raymaas models history {small.model}; "
        f"raymaas promote {small.model}@{small.version}",
        highlight=False,
    )
    console.print("  stop   raymaas down")
