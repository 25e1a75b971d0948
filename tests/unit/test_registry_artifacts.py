"""What a run leaves beside its version: files for people, and how far it is with what it used."""

from __future__ import annotations

import pytest
from registry_examples import START, memory_store, run_spec

from raymaas.errors import InvalidInput, NotFound
from raymaas.registry.runs import Runs
from raymaas.specs.budget import Budget, Spent, overspent
from raymaas.specs.runs import RunProgress


@pytest.fixture
def runs() -> Runs:
    runs = Runs(memory_store())
    runs.create(run_spec("run-a"))
    return runs


def test_files_are_kept_listed_and_read_by_name(runs: Runs) -> None:
    artifacts = runs.artifacts("run-a")
    assert artifacts.list() == ()
    artifacts.keep("tensorboard/events.out.tfevents.1", b"events")
    artifacts.keep("report/report.md", b"# digits@1")
    assert [(file.name, file.bytes) for file in artifacts.list()] == [
        ("report/report.md", 10),
        ("tensorboard/events.out.tfevents.1", 6),
    ]
    assert artifacts.read("report/report.md") == b"# digits@1"
    assert runs.artifacts("run-b").list() == ()


def test_a_file_that_is_there_stays(runs: Runs) -> None:
    for data in (b"first", b"second"):
        runs.artifacts("run-a").keep("report/report.md", data)
    assert runs.artifacts("run-a").read("report/report.md") == b"first"


@pytest.mark.parametrize("name", ["spec.json", "status/000/001.json", "report/../spec.json", "report/", ""])
def test_nothing_else_of_a_run_can_be_read_or_written_as_a_file(runs: Runs, name: str) -> None:
    with pytest.raises(InvalidInput):
        runs.artifacts("run-a").read(name)
    with pytest.raises(InvalidInput):
        runs.artifacts("run-a").keep(name, b"")


def test_a_missing_file_is_named(runs: Runs) -> None:
    with pytest.raises(NotFound, match=r"no file 'report/x.png'; `raymaas runs show run-a`"):
        runs.artifacts("run-a").read("report/x.png")


def test_of_progress_only_the_newest_is_kept(runs: Runs) -> None:
    progresses = runs.progresses
    assert progresses.newest("run-a") is None
    for epoch in (1, 2, 3):
        progresses.replace(RunProgress(run_id="run-a", at=START, epoch=epoch))
    newest = progresses.newest("run-a")
    assert newest is not None
    assert (newest.epoch, newest.sequence) == (3, 3)


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        (None, None),
        (Budget(hours=2.5), None),
        (Budget(hours=2), "used 2 of its budget of 2 hours"),
        (Budget(hours=9, cpu_hours=0.5), "used 0.5011 of its budget of 0.5 CPU hours"),
        (Budget(gpu_hours=1), "used 4 of its budget of 1 GPU hours"),
    ],
)
def test_a_budget_is_spent_when_one_of_its_limits_is_reached(
    budget: Budget | None, sentence: str | None
) -> None:
    why = overspent(budget, Spent(seconds=7200, cpu_seconds=1804, gpu_seconds=14400))
    assert (why and why.sentence) == sentence


def test_an_empty_budget_is_refused() -> None:
    with pytest.raises(InvalidInput, match="an empty budget limits nothing"):
        Budget.parse({}, source="job")
