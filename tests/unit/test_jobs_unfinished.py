"""What a training leaves that ended before its version: why, how to go on, what it used, and its curves so far."""

from __future__ import annotations

import logging

import pytest
from registry_examples import START, memory_store, run_spec

from raymaas.errors import NotFound
from raymaas.jobs.unfinished import keep_unfinished_report
from raymaas.registry.checkpoints import CheckpointFiles, Checkpoints
from raymaas.registry.runs import Runs
from raymaas.report.curves import learning_png
from raymaas.specs.budget import Overspent, Spent
from raymaas.specs.jobs import TrainJob
from raymaas.specs.runs import EpochMetrics, Failed, Resumes, RunProgress, RunSpec, Stopped
from raymaas.store import MemoryStore
from raymaas.train.listening import out_of_budget

FAILED = Failed(at=START, error="ValueError: no rows\n# not a heading")


@pytest.fixture
def store() -> MemoryStore:
    return memory_store()


@pytest.fixture
def runs(store: MemoryStore) -> Runs:
    return Runs(store)


def began(runs: Runs, run_id: str, *, epochs: range, resumes: Resumes | None = None) -> RunSpec:
    """A run that measured `epochs` of 9."""
    spec = runs.create(run_spec(run_id).model_copy(update={"resumes": resumes}))
    for epoch in epochs:
        runs.add_epoch(EpochMetrics(run_id=run_id, epoch=epoch, metrics=losses(epoch)))
    progress = RunProgress(
        run_id=run_id,
        at=START,
        epochs=9,
        spent=Spent(seconds=1800, cpu_seconds=3600),
        before=runs.progresses.spent_before(spec),
    )
    runs.progresses.replace(progress)
    return spec


def losses(epoch: int) -> dict[str, float]:
    """The validation loss is lowest after epoch 3."""
    return {"train_loss": 1 / epoch, "validation_loss": 0.5 + abs(epoch - 3) / 10}


def report(spec: RunSpec, ended: Failed | Stopped, runs: Runs, store: MemoryStore) -> dict[str, bytes]:
    """The files of the report of a run that ended so."""
    assert isinstance(spec.job, TrainJob)
    runs.set_status(spec.run_id, ended)
    keep_unfinished_report(spec, spec.job, runs=runs, store=store)
    artifacts = runs.artifacts(spec.run_id)
    return {file.name: artifacts.read(file.name) for file in artifacts.list()}


def page(spec: RunSpec, ended: Failed | Stopped, runs: Runs, store: MemoryStore) -> str:
    return report(spec, ended, runs, store)["report/report.md"].decode()


def test_a_failed_training_says_why_what_it_used_and_how_far_it_got(store: MemoryStore, runs: Runs) -> None:
    spec = began(runs, "run-a", epochs=range(1, 6))
    Checkpoints(store, "run-a").add(4, CheckpointFiles(state=b"s", progress=b"p"))
    files = report(spec, FAILED, runs, store)
    text = files["report/report.md"].decode()
    assert text.startswith("# run-a: failed\n")
    assert "```\nValueError: no rows\n# not a heading\n```" in text
    assert "`raymaas runs resume run-a` goes on after epoch 4, of which there is a checkpoint." in text
    assert "| hours | 0.5000 |\n| CPU hours | 1.0000 |\n| GPU hours | 0.0000 |" in text
    assert "5 of 9 epochs were measured." in text
    assert "| last | 5 | 0.2 | 0.7 |\n| lowest validation loss | 3 | 0.3333 | 0.5 |" in text
    assert "](learning.png)" in text
    drawn = learning_png({epoch: losses(epoch) for epoch in range(1, 6)}, best_epoch=3)
    assert files["report/learning.png"] == drawn


def test_a_spent_budget_says_which_and_how_to_give_more(store: MemoryStore, runs: Runs) -> None:
    spec = began(runs, "run-a", epochs=range(1, 2))
    why = out_of_budget(Overspent("hours", 0.5, 0.52), "run-a")
    text = page(spec, Stopped(at=START, who="its budget", why=str(why)), runs, store)
    assert "It was stopped by its budget: the run used 0.52 of its budget of 0.5 hours.\n" in text
    assert (
        "What it trained is kept, and `raymaas runs resume run-a --set budget.hours=MORE` goes on.\n" in text
    )


def test_a_run_stopped_at_once_says_by_whom_and_begins_anew(store: MemoryStore, runs: Runs) -> None:
    spec = began(runs, "run-a", epochs=range(0))
    text = page(spec, Stopped(at=START, who="bob"), runs, store)
    assert "It was stopped by bob.\n" in text
    assert "`raymaas runs resume run-a` begins anew: there is no checkpoint yet." in text
    assert "No epoch was measured." in text


def test_a_continuation_counts_and_draws_what_came_before_it(store: MemoryStore, runs: Runs) -> None:
    began(runs, "run-a", epochs=range(1, 5))
    Checkpoints(store, "run-a").add(2, CheckpointFiles(state=b"s", progress=b"p"))
    after = began(runs, "run-a-r2", epochs=range(3, 4), resumes=Resumes(run="run-a"))
    files = report(after, FAILED, runs, store)
    text = files["report/report.md"].decode()
    assert "3 of 9 epochs were measured." in text, "epochs 3 and 4 of the first were lost, and 3 came again"
    assert files["report/learning.png"] == learning_png({n: losses(n) for n in (1, 2, 3)}, best_epoch=3)
    assert "| hours | 0.5000 | 1.0000 |" in text
    assert "| goes on from | run-a |" in text
    assert "goes on after epoch 2" in text, "it died before it had a checkpoint of its own"


def test_a_branch_counts_what_came_before_its_epoch(store: MemoryStore, runs: Runs) -> None:
    began(runs, "run-a", epochs=range(1, 9))
    branch = began(runs, "run-b", epochs=range(0), resumes=Resumes(run="run-a", epoch=5))
    text = page(branch, FAILED, runs, store)
    assert "5 of 9 epochs were measured." in text
    assert "goes on after epoch 5" in text


def test_a_report_that_cannot_be_made_costs_nothing_else(
    store: MemoryStore, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    spec = began(runs, "run-a", epochs=range(1, 3))
    runs.add_epoch(EpochMetrics(run_id="run-a", epoch=3, metrics={"of another release": 1.0}))
    with caplog.at_level(logging.CRITICAL):
        assert report(spec, FAILED, runs, store) == {}
    with pytest.raises(NotFound):
        runs.artifacts("run-a").read("report/report.md")
