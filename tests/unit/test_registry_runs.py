"""Runs: created whole, listed newest first, ended once, with logs and epochs that survive repeating."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Literal

import pytest
from registry_examples import START, Crash, CrashingStore, WatchedStore, memory_store, run_spec

from raymaas.errors import AlreadyExists, InvalidInput, NotFound, Refused
from raymaas.registry.runs import Runs
from raymaas.specs.runs import EpochMetrics, Failed, Pending, Running, RunState, Stopped, Succeeded
from raymaas.store import LocalStore, Store

RUNNING = Running(at=START, step="training", ray_job_id="raysubmit_1")
SUCCEEDED = Succeeded(at=START, version=3, seconds=12.5)
FAILED = Failed(at=START, error="ValueError: no rows")
STOPPED = Stopped(at=START, who="bob")


def epoch(number: int, loss: float) -> EpochMetrics:
    return EpochMetrics(run_id="run-a", epoch=number, metrics={"loss": loss})


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return memory_store() if request.param == "memory" else LocalStore(tmp_path)


@pytest.fixture
def runs() -> Runs:
    runs = Runs(memory_store())
    runs.create(run_spec("run-a"))
    return runs


def test_a_created_run_is_pending_and_says_what_was_asked(store: Store) -> None:
    runs = Runs(store)
    written = runs.create(run_spec("run-a"))
    assert written.write_id
    assert runs.spec("run-a") == written
    assert runs.status("run-a") == Pending(at=START)
    run = runs.get("run-a")
    assert (run.model, run.kind, run.who, run.created_at) == ("digits", "train", "ana", START)
    assert runs.list() == [run]


def test_creating_a_run_again_is_harmless_and_another_of_that_id_is_refused() -> None:
    runs = Runs(memory_store())
    written = runs.create(run_spec("run-a"))
    assert runs.create(written) == written
    later = START + timedelta(hours=1)
    with pytest.raises(AlreadyExists):
        runs.create(run_spec("run-a", created_at=later, model="other"))
    assert [run.created_at for run in runs.list()] == [START]
    assert runs.list(model="other") == []


@pytest.mark.parametrize("how", ["before", "after", "lost reply"])
def test_a_crash_while_creating_leaves_no_run_or_a_whole_one(
    how: Literal["before", "after", "lost reply"],
) -> None:
    spec = run_spec("run-a", write_id="mine")
    for crash_at in range(1, 5):
        inner = memory_store()
        with suppress(Crash):
            Runs(CrashingStore(inner, crash_at, how)).create(spec)
        whole = ["run-a"] if inner.exists("runs/run-a/spec.json") else []
        assert [run.run_id for run in Runs(inner).list()] == whole
        Runs(inner).create(spec)
        assert [run.run_id for run in Runs(inner).list()] == ["run-a"]
        assert [run.run_id for run in Runs(inner).list(model="digits")] == ["run-a"]


def test_an_unknown_run_is_not_found_whatever_is_asked_of_it(runs: Runs) -> None:
    for ask in (runs.spec, runs.status, runs.get, runs.epochs, runs.read_log):
        with pytest.raises(NotFound, match="run 'run-z' does not exist"):
            ask("run-z")
    with pytest.raises(NotFound, match="run 'run-z' does not exist"):
        runs.set_status("run-z", RUNNING)
    with pytest.raises(InvalidInput, match="is not a name"):
        runs.get("../run-a")


def test_the_newest_status_is_the_truth(runs: Runs) -> None:
    for status in (RUNNING, RUNNING.model_copy(update={"step": "evaluating"}), SUCCEEDED):
        runs.set_status("run-a", status)
        assert runs.status("run-a") == status
        assert runs.get("run-a").status == status
    assert runs.list()[0].status == SUCCEEDED


@pytest.mark.parametrize("final", [SUCCEEDED, FAILED, STOPPED])
def test_a_run_ends_once(runs: Runs, final: RunState) -> None:
    runs.set_status("run-a", final)
    runs.set_status("run-a", final)
    for later in (RUNNING, Failed(at=START, error="another"), Pending(at=START)):
        with pytest.raises(Refused, match=f"run 'run-a' has ended \\({final.state}\\)"):
            runs.set_status("run-a", later)
    assert runs.status("run-a") == final


def test_of_racing_ends_exactly_one_is_kept(store: Store) -> None:
    Runs(store).create(run_spec("run-a"))
    Runs(store).set_status("run-a", RUNNING)
    ends: list[RunState] = [SUCCEEDED, FAILED, STOPPED, Stopped(at=START, who="eve")]
    start = Barrier(len(ends), timeout=30)

    def end(state: RunState) -> RunState | None:
        start.wait()
        try:
            Runs(store).set_status("run-a", state)
        except Refused:
            return None
        return state

    with ThreadPoolExecutor(len(ends)) as executor:
        kept = [state for state in executor.map(end, ends) if state]
    assert kept == [Runs(store).status("run-a")]


def test_runs_list_newest_first_in_pages_and_by_model(store: Store) -> None:
    runs = Runs(store)
    for n in range(7):
        created_at = START + timedelta(microseconds=n)
        runs.create(run_spec(f"run-{n}", created_at=created_at, model="even" if n % 2 == 0 else "odd"))
    assert [run.run_id for run in runs.list(limit=3)] == ["run-6", "run-5", "run-4"]
    assert [run.run_id for run in runs.list(limit=2, before=runs.get("run-4"))] == ["run-3", "run-2"]
    assert [run.run_id for run in runs.list(before=runs.get("run-1"))] == ["run-0"]
    assert [run.run_id for run in runs.list(model="odd")] == ["run-5", "run-3", "run-1"]
    assert [run.run_id for run in runs.list(model="odd", limit=1, before=runs.get("run-5"))] == ["run-3"]
    assert runs.list(model="none") == []


def test_runs_of_one_moment_are_all_listed_once() -> None:
    runs = Runs(memory_store())
    for n in range(5):
        runs.create(run_spec(f"run-{n}"))
    first = runs.list(limit=2)
    rest = runs.list(before=first[-1])
    assert sorted(run.run_id for run in first + rest) == [f"run-{n}" for n in range(5)]


def test_a_page_is_full_although_runs_were_never_completed() -> None:
    store = memory_store()
    for n in range(6):
        spec = run_spec(f"run-{n}", created_at=START + timedelta(seconds=n))
        if n % 2:
            with pytest.raises(Crash):
                Runs(CrashingStore(store, 2, "after")).create(spec)
        else:
            Runs(store).create(spec)
    assert [run.run_id for run in Runs(store).list(limit=2)] == ["run-4", "run-2"]
    assert [run.run_id for run in Runs(store).list(limit=9)] == ["run-4", "run-2", "run-0"]


def test_listing_reads_no_more_than_its_page() -> None:
    store = memory_store()
    for n in range(50):
        Runs(store).create(run_spec(f"run-{n:02d}", created_at=START + timedelta(seconds=n)))
    watched = WatchedStore(store)
    assert len(Runs(watched).list(limit=3)) == 3
    assert len(watched.calls) <= 10


def test_a_log_is_read_on_from_where_it_was_left(runs: Runs) -> None:
    assert runs.read_log("run-a") == ("", 0)
    runs.append_log("run-a", 1, "epoch 1\n")
    runs.append_log("run-a", 2, "épôch 2\n")
    assert runs.read_log("run-a") == ("epoch 1\népôch 2\n", 2)
    runs.append_log("run-a", 10, "epoch 10\n")
    assert runs.read_log("run-a", after=2) == ("epoch 10\n", 10)
    assert runs.read_log("run-a", after=10) == ("", 10)


def test_a_log_longer_than_a_page_is_read_whole(runs: Runs) -> None:
    for n in range(1, 2003):
        runs.append_log("run-a", n, f"{n}\n")
    text, last = runs.read_log("run-a")
    assert text == "".join(f"{n}\n" for n in range(1, 2003))
    assert last == 2002


def test_a_log_chunk_may_be_repeated_but_not_changed(runs: Runs) -> None:
    runs.append_log("run-a", 1, "text")
    runs.append_log("run-a", 1, "text")
    with pytest.raises(AlreadyExists):
        runs.append_log("run-a", 1, "other text")
    for sequence, text in ((0, "text"), (2, "")):
        with pytest.raises(InvalidInput, match="log chunk"):
            runs.append_log("run-a", sequence, text)


def test_epochs_come_in_order_and_the_latest_measurement_of_each_counts(runs: Runs) -> None:
    assert runs.epochs("run-a") == ()
    for number in range(1, 12):
        runs.add_epoch(epoch(number, 1 / number))
    runs.add_epoch(epoch(10, 0.5))
    runs.add_epoch(epoch(10, 0.4))
    runs.add_epoch(epoch(10, 0.5))
    losses = [metrics.metrics["loss"] for metrics in runs.epochs("run-a")]
    assert [metrics.epoch for metrics in runs.epochs("run-a")] == list(range(1, 12))
    assert losses[9] == 0.5
    assert losses[0] == 1


def test_epochs_are_read_from_one_on(runs: Runs) -> None:
    for number in (1, 2, 2, 3):
        runs.add_epoch(epoch(number, 1.0))
    assert [found.epoch for found in runs.epochs("run-a", after=1)] == [2, 3]
    assert runs.epochs("run-a", after=3) == ()
