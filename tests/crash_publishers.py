"""Crash injection: publisher processes that are killed at random moments, and what must have survived.

Each publisher has a list of runs. It publishes them one by one, each until the registry acknowledges it, and
writes that down, synced, before it goes on; started again, it goes on after what it wrote down. The first runs of
each list are also in a neighbour's, so two processes publish one run at the same time. The harness kills publishers
(SIGKILL, nothing is cleaned up) and starts them again, and lets `disturb` break what they work on.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from registry_examples import draft

from raymaas.errors import OutcomeUnknown, Unavailable
from raymaas.registry.versions import Versions
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store, open_store

MODEL = "digits"
SHARED_RUNS = 3
_POLL_S = 0.02
_STUCK_AFTER_S = 540.0

Disturb = Callable[[int], None]
"""Called often, with how many versions are acknowledged by then; may break something."""


@dataclass(frozen=True)
class Load:
    """How many publishers there are, how many runs each has of its own, and how many kills there are at most.

    A publisher that is killed lived for `longest_life_s` or less.
    """

    publishers: int
    runs_each: int
    kills: int
    longest_life_s: float
    seed: int

    def runs_of(self, publisher: int) -> list[str]:
        """The neighbour's first runs come first, as they do with the neighbour."""
        neighbour = (publisher + 1) % self.publishers
        shared = [_run_id(neighbour, n) for n in range(min(SHARED_RUNS, self.runs_each))]
        own = [_run_id(publisher, n) for n in range(self.runs_each)]
        return list(dict.fromkeys(shared + own))

    @property
    def all_runs(self) -> set[str]:
        return {_run_id(publisher, n) for publisher in range(self.publishers) for n in range(self.runs_each)}


@dataclass(frozen=True)
class Survived:
    """What was done to the publishers, and how many versions there are for it."""

    seed: int
    kills: int
    starts: int
    acknowledged: int
    versions: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.versions} versions, {self.acknowledged} acknowledgements, {self.kills} kills,"
            f" {self.starts} starts, {self.seconds:.0f} s, seed {self.seed}"
        )


def files_of(run_id: str) -> Mapping[str, bytes]:
    """A file of the run's own, and one that all runs share."""
    own = hashlib.sha256(run_id.encode()).digest() * 512
    return {"model.safetensors": own, "model.onnx": b"graph" * 1000}


def publish_all(url: str, environment: Mapping[str, str], runs: Sequence[str], written_down: Path) -> None:
    """What a publisher process does."""
    os.environ.update(environment)
    versions = Versions(open_store(url))
    done = acknowledged(written_down)
    with written_down.open("ab", buffering=0) as notes:
        for run_id in runs:
            if run_id in done:
                continue
            number = _publish(versions, run_id).version
            # The line feed first: what a killed process left half written ends there.
            notes.write(f"\n{run_id} {number} .".encode())
            os.fsync(notes.fileno())


def acknowledged(written_down: Path) -> dict[str, int]:
    """Run to version, of the whole lines."""
    if not written_down.exists():
        return {}
    lines = [line.split() for line in written_down.read_text().splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) == 3}


def run_publishers(
    url: str,
    folder: Path,
    load: Load,
    *,
    environment: Mapping[str, str] | None = None,
    disturb: Disturb = lambda count: None,
) -> Survived:
    """Have all runs of `load` published in the store at `url`, killing publishers on the way; check what is there.

    `environment` is what publishers need to be let into the store. Notes go into `folder`. Raises AssertionError
    as `check_survivors`, and TimeoutError when the publishers do not end.
    """
    # Forked from a server that has imported everything: a publisher starts in milliseconds, and has no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crash_publishers", "raymaas.store.s3"])
    rng = random.Random(load.seed)
    began, kills, starts = time.monotonic(), 0, 0
    notes = [folder / f"publisher-{n}" for n in range(load.publishers)]
    living: dict[int, ForkServerProcess] = {}
    dies_at: dict[int, float] = {}
    to_do = set(range(load.publishers))
    try:
        while to_do:
            now = time.monotonic()
            if now - began > _STUCK_AFTER_S:
                raise TimeoutError(
                    f"publishers {sorted(to_do)} are not done after {now - began:.0f} s, seed {load.seed}"
                )
            for n in to_do - living.keys():
                living[n] = context.Process(
                    target=publish_all,
                    args=(url, dict(environment or {}), load.runs_of(n), notes[n]),
                    daemon=True,
                )
                living[n].start()
                starts += 1
                dies_at[n] = now + rng.uniform(0, load.longest_life_s)
            disturb(sum(len(acknowledged(each)) for each in notes))
            time.sleep(_POLL_S)
            for n, process in list(living.items()):
                if process.is_alive() and kills < load.kills and time.monotonic() > dies_at[n]:
                    process.kill()
                    process.join()
                    kills += 1
                if not process.is_alive():
                    del living[n]
                    if process.exitcode == 0:
                        to_do.discard(n)
                    elif process.exitcode != -9:
                        raise RuntimeError(f"publisher {n} ended with {process.exitcode}, seed {load.seed}")
    finally:
        for process in living.values():
            process.kill()
            process.join()
    return Survived(
        seed=load.seed,
        kills=kills,
        starts=starts,
        acknowledged=sum(len(acknowledged(each)) for each in notes),
        versions=check_survivors(open_store(url), load, notes),
        seconds=time.monotonic() - began,
    )


def check_survivors(store: Store, load: Load, notes: Sequence[Path]) -> int:
    """How many versions there are. AssertionError if one is lost, torn, double, or out of number."""
    versions = Versions(store)
    listed: list[ModelVersion] = []
    while page := versions.list(MODEL, limit=50, before=listed[-1].version if listed else None):
        listed += page
        if page[-1].version == 1:
            break
    numbers = [version.version for version in listed]
    assert numbers == list(range(len(listed), 0, -1)), f"numbers are not dense: {numbers}"
    runs = [version.run_id for version in listed]
    assert len(set(runs)) == len(runs), f"published twice: {sorted({r for r in runs if runs.count(r) > 1})}"
    assert set(runs) == load.all_runs, f"runs without a version: {sorted(load.all_runs - set(runs))}"
    by_run = {version.run_id: version.version for version in listed}
    for n, each in enumerate(notes):
        told = acknowledged(each)
        assert set(told) == set(load.runs_of(n)), (
            f"publisher {n} was not told of {set(load.runs_of(n)) - set(told)}"
        )
        assert told.items() <= by_run.items(), f"publisher {n} was told {told}, but there is {by_run}"
    for version in listed:
        assert versions.read_files(version) == files_of(version.run_id), f"version {version.version} is torn"
    return len(listed)


def _publish(versions: Versions, run_id: str) -> ModelVersion:
    while True:
        with suppress(Unavailable, OutcomeUnknown):
            return versions.publish(draft(run_id, model=MODEL), files_of(run_id))


def _run_id(publisher: int, n: int) -> str:
    return f"run-{publisher}-{n}"
