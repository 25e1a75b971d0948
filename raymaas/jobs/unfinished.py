"""The report of a training that ended before its version: why, how to go on, what it used, and how far it got."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from raymaas.registry.checkpoints import Checkpoints
from raymaas.registry.runs import Runs
from raymaas.report.curves import learning_png
from raymaas.report.page import Picture, Section, block, files_of, table
from raymaas.specs.jobs import TrainJob
from raymaas.specs.runs import Failed, RunProgress, RunSpec, Stopped
from raymaas.store import Store

log = logging.getLogger("raymaas.report")

Measured = Mapping[int, Mapping[str, float]]
"""What each epoch measured, by its number."""


def keep_unfinished_report(spec: RunSpec, job: TrainJob, *, runs: Runs, store: Store) -> None:
    """Keep the report of a run that is recorded as failed or stopped among its files, from what is recorded of it.

    One that cannot be made costs nothing else.
    """
    try:
        ended = runs.status(spec.run_id)
        if not isinstance(ended, Failed | Stopped):
            return
        progress = runs.progresses.newest(spec.run_id)
        sections = [
            Section("Why it ended", (_why(ended),)),
            Section("How to go on", (_how_to_go_on(spec, ended, runs, store),)),
            _facts(spec, job),
            _used(progress),
            _reached(_measured(spec, runs), job, progress),
        ]
        for name, data in files_of(f"{spec.run_id}: {ended.state}", sections).items():
            runs.artifacts(spec.run_id).keep(f"report/{name}", data)
    except Exception:
        log.exception("the report of %s", spec.run_id)


def _why(ended: Failed | Stopped) -> str:
    match ended:
        case Failed(error=error):
            return block(error)
        case Stopped(who=who, why=why):
            return f"It was stopped by {who}{': ' if why else ''}{why.partition('; ')[0]}."


def _how_to_go_on(spec: RunSpec, ended: Failed | Stopped, runs: Runs, store: Store) -> str:
    if isinstance(ended, Stopped) and ended.why:
        advice = ended.why.rpartition("; ")[2]
        return f"{advice[:1].upper()}{advice[1:]}."
    command = f"`raymaas runs resume {spec.run_id}`"
    newest = _newest_checkpoint(spec, runs, store)
    if newest is None:
        return f"{command} begins anew: there is no checkpoint yet."
    return f"{command} goes on after epoch {newest}, of which there is a checkpoint."


def _newest_checkpoint(spec: RunSpec, runs: Runs, store: Store) -> int | None:
    """The epoch that a continuation begins after: that of the run's own checkpoint, or of what it was to go on from."""
    there = Checkpoints(store, spec.run_id).list()
    if there:
        return there[-1].epoch
    if spec.resumes is None:
        return None
    return spec.resumes.epoch or _newest_checkpoint(runs.spec(spec.resumes.run), runs, store)


def _facts(spec: RunSpec, job: TrainJob) -> Section:
    facts = [
        ("model", job.model),
        ("architecture", job.architecture.use),
        ("data set", job.data.use),
        ("workers", job.scaling.workers),
        ("seed", job.training.seed),
        ("asked for", f"by {spec.who}, {spec.created_at:%Y-%m-%d %H:%M:%S} UTC"),
    ]
    if spec.resumes:
        facts.append(("goes on from", spec.resumes.run))
    return Section("What it was to be", (table(("", ""), facts),))


def _used(progress: RunProgress | None) -> Section:
    title = "What it used"
    if progress is None:
        return Section(title, ("It ended before that was measured.",))
    columns = {"this run": progress.spent}
    if progress.before.seconds:
        columns["with what it continues"] = progress.spent + progress.before
    rows = [
        (unit, *(f"{getattr(spent, field):.4f}" for spent in columns.values()))
        for unit, field in (("hours", "hours"), ("CPU hours", "cpu_hours"), ("GPU hours", "gpu_hours"))
    ]
    return Section(title, (table(("", *columns), rows),))


def _measured(spec: RunSpec, runs: Runs) -> Measured:
    """Also the epochs of what the run goes on from, up to where it took over."""
    own = {epoch.epoch: epoch.metrics for epoch in runs.epochs(spec.run_id)}
    if spec.resumes is None:
        return own
    last = min(own) - 1 if own else spec.resumes.epoch or math.inf
    before = _measured(runs.spec(spec.resumes.run), runs)
    return {epoch: metrics for epoch, metrics in before.items() if epoch <= last} | own


def _reached(epochs: Measured, job: TrainJob, progress: RunProgress | None) -> Section:
    title = "How far it got"
    if not epochs:
        return Section(title, ("No epoch was measured.",))
    last, best = max(epochs), min(epochs, key=lambda epoch: epochs[epoch]["validation_loss"])
    wanted = f" of {progress.epochs}" if progress and progress.epochs else ""
    losses = [
        (when, epoch, *(f"{epochs[epoch][name]:.4g}" for name in ("train_loss", "validation_loss")))
        for when, epoch in (("last", last), ("lowest validation loss", best))
    ]
    paragraphs = (
        f"{last}{wanted} epochs were measured.",
        table(("", "epoch", "training loss", "validation loss"), losses),
    )
    kept = last if job.training.keep == "last" else best
    picture = Picture(
        "learning.png", "Losses and validation figures so far", learning_png(epochs, best_epoch=kept)
    )
    return Section(title, paragraphs, (picture,))
