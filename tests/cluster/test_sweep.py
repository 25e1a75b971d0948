"""Searching with Ray Tune: whole spaces, sampled ones, failures, early stopping, and going on after a kill."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from marks import CLUSTER
from own_network import forget, submitted, write_package

from raymaas.errors import InvalidInput, RunFailed
from raymaas.jobs.parts import JobParts
from raymaas.jobs.sweep import sweep
from raymaas.registry.blobs import Blobs
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.runs import RunSpec
from raymaas.specs.search import Broken, Dimension, Effort, Finished, Objective, Point, Trial
from raymaas.specs.sweeping import SweepJob
from raymaas.store import LocalStore
from raymaas.sweep.search import Report, Search, finished_trials, search

pytestmark = CLUSTER

LOSS = (Objective(metric="loss", mode="min"),)
CHOICES = {"a": Dimension(kind="choice", values=(1, 2, 3))}
RANGE = {"a": Dimension(kind="uniform", values=(0.0, 3.0))}
EFFORT = Effort(trials=3, concurrent=1, cpus_per_trial=0.5)

# A driver of its own, killed while it searches: each trial adds a line to a file, and the last one waits.
DRIVER = """
import json, sys, time
from pathlib import Path
import ray
from raymaas.registry.runs import Runs
from raymaas.specs.search import Dimension, Effort, Objective
from raymaas.store import LocalStore
from raymaas.sweep.search import Report, Search, search

def trial(point, tell, *, seen=sys.argv[3], gate=sys.argv[4]):
    from pathlib import Path
    import time
    with Path(seen).open("a") as file:
        file.write(f"{point['a']}\\n")
    while point["a"] == 2 and not Path(gate).exists():
        time.sleep(0.05)
    tell(Report({"loss": float(point["a"])}))

ray.init(sys.argv[1], log_to_driver=False)
store = LocalStore(Path(sys.argv[2]))
wanted = Search(
    {"a": Dimension(kind="choice", values=(1, 2, 3))},
    (Objective(metric="loss", mode="min"),),
    Effort(trials=3, concurrent=1),
)
trials = search(trial, wanted, run_id="killed", store=store, book=Runs(store))
print(json.dumps(sorted(t.metrics["loss"] for t in trials)))
"""


def book(store: LocalStore, run_id: str) -> Runs:
    runs = Runs(store)
    job = TrainJob(model="m", data=Component(use="digits"), architecture=Component(use="mlp"))
    runs.create(RunSpec(run_id=run_id, job=job, who="me", created_at=datetime(2026, 1, 1, tzinfo=UTC)))
    return runs


def test_every_choice_is_tried_once_its_files_kept_and_a_failure_ends_only_its_trial(ray_cluster, store):
    def trial(point: Point, tell: Callable[[Report], None]) -> None:
        if point["a"] == 2:
            raise ValueError("two is too many")
        tell(Report({"loss": float(str(point["a"]))}, files={"note": str(point["a"]).encode()}))

    told: list[Trial] = []
    trials = search(
        trial,
        Search(CHOICES, LOSS, EFFORT),
        run_id="whole",
        store=store,
        book=book(store, "whole"),
        on_trial=told.append,
    )
    by_point = {t.point["a"]: t.outcome for t in trials}
    assert sorted(by_point) == [1, 2, 3]
    assert sorted(t.trial for t in told) == [t.trial for t in trials]
    assert isinstance(by_point[2], Broken)
    assert "two is too many" in by_point[2].error
    three = by_point[3]
    assert isinstance(three, Finished)
    assert (three.metrics, three.reports) == ({"loss": 3.0}, 1)
    assert Blobs(store).get(three.files["note"], name="note") == b"3"
    assert len(finished_trials(trials, run_id="whole")) == 2


def test_several_objectives_are_sampled_and_a_second_call_only_adds_what_is_missing(ray_cluster, store):
    def trial(point: Point, tell: Callable[[Report], None]) -> None:
        a = float(str(point["a"]))
        tell(Report({"low": a, "high": -a}))

    both = (Objective(metric="low", mode="min"), Objective(metric="high", mode="max"))
    runs = book(store, "several")

    def searched(trials: int) -> tuple[Trial, ...]:
        effort = EFFORT.model_copy(update={"trials": trials})
        return search(trial, Search(RANGE, both, effort), run_id="several", store=store, book=runs)

    first = searched(2)
    assert len({t.trial for t in first}) == 2
    assert all(0 <= t.metrics["low"] <= 3 for t in first)
    more = searched(3)
    assert len(more) == 3
    assert set(map(str, first)) < set(map(str, more))
    assert searched(3) == more


def test_asha_stops_poor_trials_early(ray_cluster, store):
    def trial(point: Point, tell: Callable[[Report], None]) -> None:
        for _ in range(20):
            tell(Report({"loss": float(str(point["a"]))}))

    choices = {"a": Dimension(kind="choice", values=(1, 2, 3, 4))}
    effort = EFFORT.model_copy(update={"trials": 4})
    trials = search(
        trial,
        Search(choices, LOSS, effort, scheduler="asha"),
        run_id="asha",
        store=store,
        book=book(store, "asha"),
    )
    reports = {t.point["a"]: t.outcome.reports for t in trials if isinstance(t.outcome, Finished)}
    assert len(reports) == 4
    assert max(reports.values()) == 20
    assert min(reports.values()) < 20


def test_a_search_killed_with_its_driver_goes_on_and_repeats_no_trial_that_ended(
    ray_cluster, store, tmp_path
):
    runs = book(store, "killed")
    seen, gate = tmp_path / "seen", tmp_path / "gate"
    command = [sys.executable, "-c", DRIVER, ray_cluster, str(store.root), str(seen), str(gate)]
    with (tmp_path / "output").open("w") as output:
        first = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 100
            while not (seen.exists() and "2" in seen.read_text().split()):
                assert first.poll() is None, (tmp_path / "output").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            first.send_signal(signal.SIGKILL)
            first.wait()
    assert [t.point for t in runs.trials("killed")] == [{"a": 1}]
    gate.touch()
    second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout.splitlines()[-1]) == [1.0, 2.0, 3.0]
    assert sorted(seen.read_text().split()) == ["1", "2", "2", "3"]


def test_a_sweep_over_a_network_of_ones_own_brings_its_code_to_the_trials(ray_cluster, store, tmp_path):
    own = submitted(store, write_package(tmp_path), training={"epochs": 1})
    values = {"architecture.config.hidden": {"choice": [2, 32]}}
    job = SweepJob(job=own, fields=values, search=EFFORT.model_copy(update={"concurrent": 2}))
    parts = JobParts(
        store=store,
        versions=Versions(store),
        runs=book(store, "own"),
        run_id="own",
        say=lambda sentence: None,
        on_trial=lambda trial: None,
    )
    try:
        trials = sweep(job, parts)
    finally:
        forget()
    assert [sorted(trial.metrics)[0] for trial in finished_trials(trials, run_id="own")] == ["gap", "gap"]


def test_a_scheduler_with_several_objectives_is_refused_before_anything_starts(store):
    both = (Objective(metric="low", mode="min"), Objective(metric="high", mode="max"))
    with pytest.raises(InvalidInput, match=r"'asha' ranks trials by one metric, got 2 \(low, high\)"):
        search(
            lambda point, tell: None,
            Search(RANGE, both, EFFORT, scheduler="asha"),
            run_id="refused",
            store=store,
            book=book(store, "refused"),
        )


def test_when_every_trial_failed_the_first_reason_is_given():
    failed = Trial(run_id="r", trial="t", point={}, outcome=Broken(error="no memory"))
    with pytest.raises(RunFailed, match="every trial failed, the first with: no memory"):
        finished_trials([failed], run_id="r")
