"""Recording a training while it goes on: its epochs, how far it is, what it uses, and its TensorBoard events."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from raymaas.errors import RaymaasError
from raymaas.jobs.events import EventLog
from raymaas.jobs.meter import Meter
from raymaas.registry.runs import Runs
from raymaas.specs.budget import overspent
from raymaas.specs.jobs import TrainJob
from raymaas.specs.runs import EpochMetrics, FirstStep, RunProgress, RunSpec
from raymaas.specs.telling import FirstStepTaken, Started, StepsTaken, Told, WorkerSpent
from raymaas.train.checkpoint import EpochReport
from raymaas.train.listening import Listener, out_of_budget
from raymaas.train.telling import EVERY_S, Allowance


def utc_now() -> datetime:
    """By this machine's clock: asking the store's may cost a request."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Beginning:
    """How the driver came to be there: seconds until Ray had started it, and until it had joined the cluster then."""

    driver_s: float
    joining_s: float


class Recorder(Listener):
    """Records the training of `spec` among `runs`.

    `on_epoch` is called with what each epoch measured and how far the run is then, `on_first_step` once. A store that
    does not answer costs progress and events, never the run; epochs must be recorded, so what `epoch` raises ends it.
    """

    def __init__(
        self,
        runs: Runs,
        spec: RunSpec,
        *,
        beginning: Beginning,
        on_epoch: Callable[[EpochMetrics, RunProgress], None],
        on_first_step: Callable[[FirstStep], None],
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs = runs
        self._now, self._clock = now, clock
        self._on_epoch, self._on_first_step = on_epoch, on_first_step
        self._events = EventLog(runs.artifacts(spec.run_id), now=now)
        former = runs.progresses.newest(spec.run_id)
        self._progress = former or RunProgress(
            run_id=spec.run_id, at=now(), before=runs.progresses.spent_before(spec)
        )
        self._meter = Meter(age_s=beginning.joining_s, former=self._progress.spent, clock=clock)
        self._beginning = beginning
        self._made_s = self._called_s = self._started_s = clock()
        self._kept_s: float | None = None
        self._gpus = 0.0

    def called(self, job: TrainJob) -> Allowance | None:
        self._called_s = self._clock()
        self._gpus = job.scaling.workers * job.scaling.gpus_per_worker
        if job.budget is None:
            return None
        spent = self._progress.before + self._meter.spent()
        why = overspent(job.budget, spent)
        if why is not None:
            raise out_of_budget(why, self._progress.run_id)
        return Allowance(job.budget, spent, called_at=time.time(), gpus=self._gpus)

    def epoch(self, report: EpochReport) -> None:
        metrics = EpochMetrics(run_id=self._progress.run_id, epoch=report.epoch, metrics=report.metrics())
        self._runs.add_epoch(metrics)
        speed = report.rows / report.seconds if report.seconds > 0 else None
        self._update(epoch=report.epoch, share=1.0, samples_per_s=speed)
        self._on_epoch(metrics, self._progress)
        with suppress(RaymaasError):
            self._events.epoch(report)
        self._keep_now_and_then()

    def told(self, told: Told) -> None:
        match told:
            case Started():
                self._started_s = self._clock()
                self._meter.hold(self._gpus)
            case FirstStepTaken() if self._progress.first_step is None:
                first_step = self._first_step(told)
                self._update(first_step=first_step)
                self._on_first_step(first_step)
            case StepsTaken():
                self._update(
                    epoch=told.epoch, epochs=told.epochs, share=told.share, samples_per_s=told.samples_per_s
                )
                self._keep_now_and_then()
            case WorkerSpent():
                self._meter.worker(told.worker, told.cpu_seconds)

    def drawn(self, name: str, png: bytes, *, epoch: int) -> None:
        self._events.picture(name, png, step=epoch)

    def ended(self) -> None:
        self._meter.hold(0.0)

    def close(self) -> None:
        """Keep what was not kept yet. To be called when the run is over, before it is recorded as that."""
        with suppress(RaymaasError):
            self._events.flush()
        self._keep()

    def _first_step(self, told: FirstStepTaken) -> FirstStep:
        return FirstStep(
            driver_s=self._beginning.driver_s,
            joining_s=self._beginning.joining_s,
            data_s=self._called_s - self._made_s,
            workers_s=self._started_s - self._called_s,
            reading_s=told.reading_s,
            building_s=told.building_s,
            step_s=told.step_s,
        )

    def _update(self, **told: object) -> None:
        update = {"at": self._now(), "spent": self._meter.spent(), **told}
        self._progress = self._progress.model_copy(update=update)

    def _keep_now_and_then(self) -> None:
        if self._kept_s is None or self._clock() - self._kept_s >= EVERY_S:
            self._keep()

    def _keep(self) -> None:
        self._kept_s = self._clock()
        self._update()
        with suppress(RaymaasError):
            self._runs.progresses.replace(self._progress)
