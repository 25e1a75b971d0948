"""What is kept of a training while it goes on: epochs, progress, what it used, its first step, its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from event_files import read_events
from registry_examples import START, memory_store, run_spec

from raymaas.errors import OutOfBudget, Unavailable
from raymaas.jobs.meter import Meter
from raymaas.jobs.recording import Beginning, Recorder
from raymaas.registry.runs import Runs
from raymaas.specs.budget import Budget, Spent
from raymaas.specs.jobs import TrainJob, Workers
from raymaas.specs.runs import EpochMetrics, FirstStep, Resumes, RunProgress, RunSpec
from raymaas.specs.telling import FirstStepTaken, Started, StepsTaken, WorkerSpent
from raymaas.store import MemoryStore
from raymaas.train.checkpoint import EpochReport


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scene:
    """A run and its driver, which was started 2 s after it was asked for and joined 3 s later."""

    store: MemoryStore = field(default_factory=memory_store)
    clock: Clock = field(default_factory=Clock)
    heard: list[tuple[EpochMetrics, RunProgress]] = field(default_factory=list)
    first_steps: list[FirstStep] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runs = Runs(self.store)

    def asked(self) -> RunSpec:
        return self.runs.create(run_spec("run-a"))

    def recorder(self, spec: RunSpec) -> Recorder:
        return Recorder(
            self.runs,
            spec,
            beginning=Beginning(driver_s=2.0, joining_s=3.0),
            on_epoch=lambda metrics, progress: self.heard.append((metrics, progress)),
            on_first_step=self.first_steps.append,
            now=lambda: START + timedelta(seconds=self.clock.now),
            clock=self.clock,
        )

    @property
    def progress(self) -> RunProgress:
        found = self.runs.progresses.newest("run-a")
        assert found is not None
        return found

    def events(self) -> list[dict[str, float]]:
        artifacts = self.runs.artifacts("run-a")
        files = [artifacts.read(file.name) for file in artifacts.list() if "tfevents" in file.name]
        return [event for data in files for event in read_events(data) if "file_version" not in event]


def job_of(spec: RunSpec) -> TrainJob:
    assert isinstance(spec.job, TrainJob)
    return spec.job


def report(epoch: int, **changes: object) -> EpochReport:
    fields = {"train_loss": 0.5, "validation_loss": 0.6, "figures": {"accuracy": 0.75}, "rows": 100}
    return EpochReport(epoch=epoch, seconds=2.0, **(fields | changes))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_first_step_is_what_all_before_it_took(scene: Scene):
    spec = scene.asked()
    recorder = scene.recorder(spec)
    scene.clock.now += 4
    recorder.called(job_of(spec))
    scene.clock.now += 5
    recorder.told(Started())
    recorder.told(FirstStepTaken(reading_s=1, building_s=0.5, step_s=0.25))
    (first,) = scene.first_steps
    assert first.model_dump() == {
        "driver_s": 2,
        "joining_s": 3,
        "data_s": 4,
        "workers_s": 5,
        "reading_s": 1,
        "building_s": 0.5,
        "step_s": 0.25,
    }
    assert first.seconds == 15.75
    recorder.told(FirstStepTaken(reading_s=9, building_s=9, step_s=9))
    assert len(scene.first_steps) == 1, "a replaced worker's is not the run's first"
    recorder.close()
    assert scene.progress.first_step == first


def test_an_epoch_is_recorded_and_told_with_how_far_the_run_is(scene: Scene):
    recorder = scene.recorder(scene.asked())
    recorder.told(StepsTaken(epoch=1, epochs=4, share=0.5, samples_per_s=70))
    assert (scene.progress.epoch, scene.progress.share, scene.progress.samples_per_s) == (1, 0.5, 70)
    scene.clock.now += 10
    recorder.epoch(report(1))
    (epoch,) = scene.runs.epochs("run-a")
    assert epoch.metrics["validation_accuracy"] == 0.75
    ((told, progress),) = scene.heard
    assert told == epoch
    assert (progress.epoch, progress.epochs, progress.share, progress.samples_per_s) == (1, 4, 1, 50)
    assert progress.spent.seconds == 13


def test_progress_is_written_at_most_every_two_seconds_and_only_the_newest_is_kept(scene: Scene):
    recorder = scene.recorder(scene.asked())
    for epoch in range(1, 20):
        recorder.epoch(report(epoch))
        scene.clock.now += 0.5
    assert scene.progress.epoch == 17
    recorder.close()
    assert scene.progress.epoch == 19
    assert len(scene.store.list("runs/run-a/progress/", limit=99)) == 1


def test_a_second_driver_goes_on_counting_where_the_first_one_was(scene: Scene):
    spec = scene.asked()
    first = scene.recorder(spec)
    first.told(WorkerSpent(worker="a 1", cpu_seconds=1000))
    scene.clock.now += 7
    first.close()
    second = scene.recorder(spec)
    scene.clock.now += 5
    second.close()
    assert scene.progress.spent.seconds == (3 + 7) + (3 + 5)
    assert scene.progress.spent.cpu_seconds >= 1000


def test_a_continuation_counts_apart_what_was_used_before_it(scene: Scene):
    recorder = scene.recorder(scene.asked())
    scene.clock.now += 97
    recorder.close()
    next_spec = run_spec("run-a-r2").model_copy(update={"resumes": Resumes(run="run-a")})
    scene.recorder(scene.runs.create(next_spec)).close()
    later = scene.runs.progresses.newest("run-a-r2")
    assert later is not None
    assert (later.before.seconds, later.spent.seconds) == (100, 3)
    branch = run_spec("run-b").model_copy(update={"resumes": Resumes(run="run-a", epoch=3)})
    assert scene.runs.progresses.spent_before(branch) == Spent()


def test_a_budget_is_told_to_the_workers_and_a_spent_one_refuses_to_begin(scene: Scene):
    spec = scene.asked()
    job = job_of(spec).model_copy(
        update={"budget": Budget(hours=1), "scaling": Workers(workers=3, gpus_per_worker=0.5)}
    )
    recorder = scene.recorder(spec)
    allowance = recorder.called(job)
    assert allowance is not None
    assert (allowance.budget, allowance.spent.seconds, allowance.gpus) == (Budget(hours=1), 3, 1.5)
    scene.clock.now += 3600
    with pytest.raises(
        OutOfBudget, match=r"used 1\.001 of its budget of 1 hours; .* --set budget\.hours=MORE"
    ):
        recorder.called(job)


def test_gpus_count_from_when_workers_start_until_they_end(scene: Scene):
    spec = scene.asked()
    job = job_of(spec).model_copy(update={"scaling": Workers(workers=2, gpus_per_worker=1)})
    recorder = scene.recorder(spec)
    recorder.called(job)
    scene.clock.now += 10
    recorder.told(Started())
    scene.clock.now += 30
    recorder.ended()
    scene.clock.now += 50
    recorder.close()
    assert scene.progress.spent.gpu_seconds == 60


def test_a_worker_that_was_replaced_keeps_what_it_had_used():
    meter = Meter(clock=lambda: 5.0, cpu_clock=lambda: 1.0, age_s=4)
    meter.worker("a 1", 10)
    meter.worker("a 1", 12)
    meter.worker("a 2", 3)
    assert meter.spent() == Spent(seconds=4, cpu_seconds=1 + 12 + 3)


def test_the_curves_go_into_event_files_in_pieces(scene: Scene):
    recorder = scene.recorder(scene.asked())
    for epoch in range(1, 6):
        recorder.epoch(report(epoch))
        scene.clock.now += 6
    recorder.drawn("learning", PNG, epoch=5)
    recorder.close()
    assert len([file for file in scene.runs.artifacts("run-a").list() if "tfevents" in file.name]) == 2
    events = scene.events()
    assert [event["step"] for event in events] == [1, 2, 3, 4, 5, 5]
    assert events[0]["values"] == pytest.approx(
        {"loss/train": 0.5, "loss/validation": 0.6, "validation/accuracy": 0.75, "speed/samples_per_s": 50}
    )
    assert events[-1]["images"] == {"report/learning": (3, 2, PNG)}


class NoProgress(MemoryStore):
    def create(self, key: str, data: bytes) -> None:
        if "/progress/" in key or "/tensorboard/" in key:
            raise Unavailable("the store does not answer")
        super().create(key, data)


def test_a_store_that_takes_no_progress_costs_no_epoch():
    scene = Scene(store=NoProgress(lambda: START))
    recorder = scene.recorder(scene.asked())
    for epoch in (1, 2):
        recorder.epoch(report(epoch))
        scene.clock.now += 60
    recorder.close()
    assert [epoch.epoch for epoch in scene.runs.epochs("run-a")] == [1, 2]


def png_of(width: int, height: int) -> bytes:
    """The head of a PNG of that size, which is all that is looked at."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big")


PNG = png_of(3, 2)
