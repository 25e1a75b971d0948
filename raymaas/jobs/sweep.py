"""Sweeping: any job, carried out many times with other values in some fields. It registers nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from raymaas.data.sources.base import DataFiles
from raymaas.errors import InvalidInput
from raymaas.evaluate.pareto import Candidate, front
from raymaas.jobs.ground import Ground, ground_of
from raymaas.jobs.origin import rows_of_version, trained_original
from raymaas.jobs.parts import JobParts
from raymaas.jobs.preparing import prepared, refuse_streamed
from raymaas.jobs.recipes import RecipeTrial
from raymaas.registry.resolve import resolve
from raymaas.registry.runs import Runs
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import Job, parse_job
from raymaas.specs.search import Point, Trial, extremes
from raymaas.specs.sweeping import SweepJob
from raymaas.store import open_store
from raymaas.sweep.search import Report, Search, finished_trials, search
from raymaas.train.checkpoint import Checkpoint, EpochReport
from raymaas.train.loop import fit
from raymaas.train.world import World


def sweep(job: SweepJob, parts: JobParts) -> tuple[Trial, ...]:
    """Carry out the trials; returns them all. Repeated for the same run, it goes on where that was.

    Raises InvalidInput when a field or one of its values does not fit the job, and RunFailed when no trial
    finished.
    """
    space = job.space()
    for point in extremes(space):
        _prepared(varied(job, point), parts)
    parts.say(f"sweeping {', '.join(space)}: up to {job.search.trials} trials")
    trials = search(
        JobTrial(job, parts.store.url, parts.files),
        Search(space, job.objectives, job.search, job.scheduler),
        run_id=parts.run_id,
        store=parts.store,
        book=parts.runs,
        on_trial=parts.on_trial,
    )
    finished = finished_trials(trials, run_id=parts.run_id)
    best = front([Candidate(t.trial, t.point, t.metrics) for t in finished], job.objectives)
    for candidate in best:
        settings = " ".join(f"--set {field}={value}" for field, value in candidate.settings.items())
        parts.say(f"best: {settings}")
    return trials


@dataclass(frozen=True)
class JobTrial:
    """The job at a point, in this process alone: what is compared is the settings, not the cluster."""

    job: SweepJob
    store_url: str
    files: DataFiles

    def __call__(self, point: Point, shared: object, tell: Callable[[Report], None]) -> None:
        """Reports the job's figures: after every epoch the best so far, or those of the compressed version."""
        match varied(self.job, point):
            case TrainJob() as job:
                _train_here(job, self.store_url, self.files, tell)
            case CompressJob() as job:
                RecipeTrial(job)({}, _ground_of(job, self.store_url, self.files), tell)


def varied(job: SweepJob, point: Point) -> Job:
    """The job document at `point`. Raises InvalidInput for a field it does not have, or a value out of place."""
    document: JsonValue = dict(job.job)
    for field, value in point.items():
        document = _with_field(document, field.split("."), value, field)
    made = parse_job(document, source="job")
    if isinstance(made, SweepJob | EvaluateJob):
        raise InvalidInput(f"a sweep varies a job that makes a version, not a {made.kind!r} job")
    if isinstance(made, CompressJob) and made.space():
        raise InvalidInput(
            f"the recipe leaves {', '.join(made.space())} open; settle it, or name it among the sweep's fields"
        )
    return made


def _with_field(document: JsonValue, path: Sequence[str], value: JsonValue, field: str) -> JsonValue:
    if not path:
        return value
    if isinstance(document, list):
        if not path[0].isdigit() or int(path[0]) >= len(document):
            raise InvalidInput(f"{field}: {path[0]!r} is not a place from 0 to {len(document) - 1} in a list")
        index = int(path[0])
        inner = _with_field(document[index], path[1:], value, field)
        return [*document[:index], inner, *document[index + 1 :]]
    if not isinstance(document, dict):
        raise InvalidInput(f"{field}: the job has no mapping at {path[0]!r}")
    return document | {path[0]: _with_field(document.get(path[0], {}), path[1:], value, field)}


def _prepared(job: Job, parts: JobParts) -> None:
    """Check that the job can begin; a training job's data set is in the store afterwards."""
    if isinstance(job, TrainJob):
        if job.budget is not None:
            raise InvalidInput(
                "no trial is stopped by a budget; leave it out, with --set budget=null, and limit trials and epochs"
            )
        refuse_streamed(job, parts.store, parts.files, who="the trials of a sweep")
        prepared(job, parts.store, parts.files)


def _ground_of(job: CompressJob, store_url: str, files: DataFiles) -> Ground:
    store = open_store(store_url)
    parts = JobParts(
        store=store,
        versions=Versions(store),
        runs=Runs(store),
        run_id="",
        say=lambda sentence: None,
        on_trial=lambda trial: None,
        files=files,
    )
    parent = parts.versions.get(job.model, resolve(job.reference, parts.versions, States(store)))
    original = trained_original(parts.versions, parent)
    return ground_of(job, parent, original, rows_of_version(store, original), parts)


def _train_here(job: TrainJob, store_url: str, files: DataFiles, tell: Callable[[Report], None]) -> None:
    ready = prepared(job, open_store(store_url), files)
    best: list[EpochReport] = []

    def on_epoch(report: EpochReport, checkpoint: Checkpoint | None) -> None:
        # Training keeps the best epoch's weights, so the best epoch is what the settings are worth.
        if not best or report.validation_loss < best[0].validation_loss:
            best[:] = [report]
        tell(Report(best[0].metrics()))

    fit(ready.start, job.training, parts=ready.rows, world=World.single(), on_epoch=on_epoch)
