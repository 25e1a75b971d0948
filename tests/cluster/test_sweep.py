"""Searching with Ray Tune: whole spaces, sampled ones, failures, early stopping, and going on after a kill."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
import ray
from marks import CLUSTER
from own_network import forget, submitted, write_package
from recipe_ground import clouds, compress_job

from raymaas.errors import InvalidInput, RunFailed
from raymaas.jobs.ground import with_shelf
from raymaas.jobs.parts import JobParts
from raymaas.jobs.recipes import RecipeTrial
from raymaas.jobs.sweep import sweep
from raymaas.registry.blobs import Blobs
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.runs import RunSpec
from raymaas.specs.search import (
    Broken,
    Dimension,
    Effort,
    Finished,
    Objective,
    Point,
    Stopped,
    Trial,
)
from raymaas.specs.sweeping import SweepJob
from raymaas.store import LocalStore
from raymaas.sweep.asking import Asker, sampler_of
from raymaas.sweep.search import TIME_WAS_UP, Report, Search, finished_trials, search
from raymaas.sweep.shelf import Shelf

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

def trial(point, shared, tell, *, seen=sys.argv[3], gate=sys.argv[4]):
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
    def trial(point: Point, shared: object, tell: Callable[[Report], None]) -> None:
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
    def trial(point: Point, shared: object, tell: Callable[[Report], None]) -> None:
        a = float(str(point["a"]))
        tell(Report({"low": a, "high": -a}))

    both = (Objective(metric="low", mode="min"), Objective(metric="high", mode="max"))
    runs = book(store, "several")

    def searched(trials: int) -> tuple[Trial, ...]:
        effort = EFFORT.model_copy(update={"trials": trials})
        return search(
            trial, Search(RANGE, both, effort), run_id="several", store=store, book=runs, seeds=[{"a": 1.5}]
        )

    first = searched(2)
    assert len({t.trial for t in first}) == 2
    assert {"a": 1.5} in [t.point for t in first]
    assert all(0 <= t.metrics["low"] <= 3 for t in first)
    more = searched(3)
    assert len(more) == 3
    assert set(map(str, first)) < set(map(str, more))
    assert searched(3) == more


def test_seeds_come_first_then_what_the_chosen_sampler_draws_and_all_trials_share_one_object(
    ray_cluster, store, tmp_path
):
    class Shared:
        """Says in a file each time that it is put somewhere."""

        def __init__(self) -> None:
            self.log, self.rows = tmp_path / "pickled", np.arange(100_000.0)

        def __getstate__(self) -> dict[str, object]:
            with self.log.open("a") as file:
                file.write("once\n")
            return vars(self)

    def trial(point: Point, shared: Shared, tell: Callable[[Report], None]) -> None:
        a = float(str(point["a"]))
        tell(Report({"low": a, "high": -a, "writable": float(shared.rows.flags.writeable)}))

    both = (Objective(metric="low", mode="min"), Objective(metric="high", mode="max"))
    effort = EFFORT.model_copy(update={"trials": 5, "sampler": "nsga2"})
    seeds: list[Point] = [{"a": 2.5}, {"a": 4.0}, {"a": 0.125}]
    told: list[Trial] = []
    search(
        trial,
        Search(RANGE, both, effort),
        run_id="seeds",
        store=store,
        book=book(store, "seeds"),
        shared=Shared(),
        seeds=seeds,
        on_trial=told.append,
    )
    alone = Asker(
        RANGE,
        both,
        sampler=sampler_of(effort, going_on_after=0),
        first=[seeds[0], seeds[2]],
        done=(),
    )
    expected = []
    for number in range(5):
        expected.append(alone.suggest(str(number)))
        alone.on_trial_complete(str(number), {"low": expected[-1]["a"], "high": -expected[-1]["a"]})
    assert [t.point for t in told] == expected
    assert expected[:2] == [{"a": 2.5}, {"a": 0.125}], "4.0 is outside the space"
    assert (tmp_path / "pickled").read_text() == "once\n"
    assert {t.metrics["writable"] for t in told} == {0.0}


def test_a_hopeless_trial_is_recorded_as_stopped_and_never_among_those_to_choose_from(ray_cluster, store):
    def trial(point: Point, shared: object, tell: Callable[[Report], None]) -> None:
        a = float(str(point["a"]))
        tell(Report({"loss": a}, hopeless="it lost too much" if a == 1 else ""))
        if a == 2:
            tell(Report({"loss": a}, reused=("prune",)))

    trials = search(
        trial,
        Search(CHOICES, LOSS, EFFORT),
        run_id="hopeless",
        store=store,
        book=book(store, "hopeless"),
    )
    by_point = {t.point["a"]: t.outcome for t in trials}
    one, two = by_point[1], by_point[2]
    assert isinstance(one, Stopped)
    assert (one.reason, one.metrics, one.reports) == ("it lost too much", {"loss": 1.0}, 1)
    assert isinstance(two, Finished)
    assert two.reused == ("prune",)
    assert sorted(t.point["a"] for t in finished_trials(trials, run_id="hopeless")) == [2, 3]


def test_when_the_time_is_up_what_is_under_way_ends_and_another_driver_begins_nothing(ray_cluster, store):
    def trial(point: Point, shared: object, tell: Callable[[Report], None]) -> None:
        tell(Report({"loss": 1.0}))
        while point["a"] != 1:
            time.sleep(0.05)
            tell(Report({"loss": 1.0}))

    def searched() -> tuple[Trial, ...]:
        effort = EFFORT.model_copy(update={"minutes": 0.25})
        return search(
            trial,
            Search(CHOICES, LOSS, effort),
            run_id="limited",
            store=store,
            book=runs,
            on_trial=told.append,
        )

    runs, told = book(store, "limited"), list[Trial]()
    trials = searched()
    done, waiting = sorted(trials, key=lambda t: t.ended_s or 0)
    assert isinstance(done.outcome, Finished)
    assert isinstance(waiting.outcome, Stopped)
    assert waiting.outcome.reason == TIME_WAS_UP
    assert waiting.outcome.metrics == {"loss": 1.0}
    assert waiting.ended_s is not None
    assert waiting.ended_s >= 15
    assert searched() == trials
    assert len(told) == 2


def test_a_shelf_hands_on_what_another_process_left_and_lets_go_of_what_was_not_asked_for_longest(
    ray_cluster,
):
    shelf = Shelf.of(limit_bytes=2_000_000)

    @ray.remote(num_cpus=0.1)
    class Trials:
        def leave(self, shelf: Shelf, key: str, megabytes: float) -> None:
            shelf.keep(key, np.full(125_000, float(len(key))), nbytes=int(megabytes * 1e6))

    trials = Trials.remote()
    for key in ("a", "bb"):
        ray.get(trials.leave.remote(shelf, key, 1))
    assert shelf.find("a")[0] == 1.0
    ray.get(trials.leave.remote(shelf, "ccc", 1))
    assert shelf.find("bb") is None
    ray.get(trials.leave.remote(shelf, "dddd", 3))
    assert shelf.find("dddd") is None
    assert shelf.find("a")[0] == 1.0
    ray.kill(trials)
    deadline = time.monotonic() + 60
    while shelf.find("ccc") is not None:  # lost with the process that left it, and that is no failure
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_recipe_begins_where_another_trial_was_and_makes_the_file_it_would_have_made_alone(
    ray_cluster, store
):
    bits = {"use": "quantize", "config": {"bits": {"choice": [3, 5]}, "epochs": 1}}
    job = compress_job({"use": "prune", "config": {"sparsity": 0.6, "epochs": 2}}, bits)
    ground, alone = clouds(), list[Report]()
    trials = search(
        RecipeTrial(job),
        Search(job.space(), (Objective(metric="bytes", mode="min"),), EFFORT),
        run_id="recipes",
        store=store,
        book=book(store, "recipes"),
        shared=with_shelf(ground),
    )
    first, second = sorted(trials, key=lambda t: t.ended_s or 0)
    assert isinstance(first.outcome, Finished)
    assert isinstance(second.outcome, Finished)
    assert (first.outcome.reused, second.outcome.reused) == ((), ("prune",))
    RecipeTrial(job)(second.point, ground, alone.append)
    blobs = Blobs(store)
    files = {name: blobs.get(entry, name=name) for name, entry in second.outcome.files.items()}
    assert files == alone[-1].files
    assert second.metrics == alone[-1].metrics


def test_asha_stops_poor_trials_early(ray_cluster, store):
    def trial(point: Point, shared: object, tell: Callable[[Report], None]) -> None:
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
            lambda point, shared, tell: None,
            Search(RANGE, both, EFFORT, scheduler="asha"),
            run_id="refused",
            store=store,
            book=book(store, "refused"),
        )


def test_when_every_trial_failed_the_first_reason_is_given():
    failed = Trial(run_id="r", trial="t", point={}, outcome=Broken(error="no memory"))
    with pytest.raises(RunFailed, match="every trial failed, the first with: no memory"):
        finished_trials([failed], run_id="r")
