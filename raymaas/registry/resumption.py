"""Resumption: what run goes on from another, and which cannot be gone on from.

It is a new run that names the one it resumes. A final state so stays final for whoever waits for the run or reads of
it later, and each run's log, epochs and attempts are those of one life.

A run is continued at most once, since the continuation's id follows from its own: `<run>-r2`, then `<run>-r3`. So of
a run and its continuations at most one publishes: only one that ended without a version is continued. From a chosen
epoch any number of runs may branch off, with ids of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from raymaas.errors import InvalidInput, NotFound, Refused
from raymaas.registry.checkpoints import Checkpoints
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.budget import Budget, overspent
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import Job
from raymaas.specs.names import check_name, new_run_id
from raymaas.specs.runs import FINAL_STATES, Resumes, RunSpec, Succeeded
from raymaas.store import Store

_CONTINUATION = re.compile(r"(.+)-r([1-9][0-9]*)")

Changed = Callable[[TrainJob], Job]


class Resumption:
    """Says how the runs of a store may go on. It only reads."""

    def __init__(self, store: Store, runs: Runs, versions: Versions) -> None:
        self._store, self._runs, self._versions = store, runs, versions

    def continued(
        self, run_id: str, *, who: str, at: datetime, changed: Changed = lambda job: job
    ) -> RunSpec:
        """The run that takes up `run_id` where its newest checkpoint left it, or anew when it has none.

        Raises NotFound, InvalidInput when it is no training or when more than its budget is changed, and Refused,
        with what to do instead, when it has not ended, has published, was continued before, or has nothing left of
        its budget.
        """
        _, job = self._training(run_id)
        budgeted = _with_budget_of(changed(job), job)
        status = self._runs.status(run_id)
        branch = f"`raymaas runs resume {run_id} --from-epoch N` branches off from one of its checkpoints"
        if not isinstance(status, FINAL_STATES):
            raise Refused(
                f"run {run_id!r} is {status.state}, so nothing is to be resumed; `raymaas runs stop {run_id}` "
                f"stops it, {branch}"
            )
        published = self._versions.of_run(job.model, run_id)
        if published is not None:
            raise Refused(f"run {run_id!r} published {job.model}@{published.version}; {branch}")
        if isinstance(status, Succeeded):
            raise Refused(f"run {run_id!r} has succeeded; {branch}")
        next_id = continuation_id(run_id)
        try:
            state = self._runs.status(next_id).state
        except NotFound:
            wanted = RunSpec(
                run_id=next_id, job=budgeted, who=who, created_at=at, resumes=Resumes(run=run_id)
            )
            self._check_budget(budgeted.budget, wanted)
            return wanted
        raise Refused(
            f"run {run_id!r} was resumed before, as {next_id}, which is {state}; see `raymaas runs show {next_id}`"
        )

    def branched(
        self, run_id: str, epoch: int, *, who: str, at: datetime, changed: Changed = lambda job: job
    ) -> RunSpec:
        """A new run from the checkpoint after `epoch` of `run_id`, its job `changed`; whatever became of that run.

        Raises NotFound with the epochs there are, and InvalidInput when it is no training, or when more is changed
        than how it is trained and by how many.
        """
        _, job = self._training(run_id)
        Checkpoints(self._store, run_id).of_epoch(epoch)
        wanted = changed(job)
        same = {name: getattr(job, name) for name in ("training", "scaling", "budget", "description")}
        if not isinstance(wanted, TrainJob) or wanted.model_copy(update=same) != job:
            raise InvalidInput(
                "a resumed run keeps its model, data, split and architecture; change only training.*, scaling.*, "
                "budget.* and description, or start another run with `raymaas train`"
            )
        if wanted.training.optimizer != job.training.optimizer:
            raise InvalidInput(
                f"the checkpoint holds the state of {job.training.optimizer}, which {wanted.training.optimizer} "
                "cannot use; leave training.optimizer as it was"
            )
        new = new_run_id(job.kind, job.model)
        resumes = Resumes(run=run_id, epoch=epoch)
        return RunSpec(run_id=new, job=wanted, who=who, created_at=at, resumes=resumes)

    def _check_budget(self, budget: Budget | None, wanted: RunSpec) -> None:
        why = overspent(budget, self._runs.progresses.spent_before(wanted))
        if why is not None:
            raise Refused(
                f"what {wanted.run_id!r} continues has {why.sentence}; give more with --set "
                f"budget.{why.field}=MORE, or take the limit away with --set budget=null"
            )

    def _training(self, run_id: str) -> tuple[RunSpec, TrainJob]:
        spec = self._runs.spec(run_id)
        if not isinstance(spec.job, TrainJob):
            raise InvalidInput(
                f"run {run_id!r} is a {spec.job.kind!r} job, and only trainings are resumed; submit its job again"
            )
        return spec, spec.job


def _with_budget_of(wanted: Job, job: TrainJob) -> TrainJob:
    """`job` with the budget of `wanted`. Raises InvalidInput when they differ in anything else."""
    if not isinstance(wanted, TrainJob) or wanted.model_copy(update={"budget": job.budget}) != job:
        raise InvalidInput(
            "a continued run ends as it would have ended uninterrupted, so only its budget can be set; add from_epoch "
            "to branch off with other settings"
        )
    return wanted


def continuation_id(run_id: str) -> str:
    """The id of the run that continues `run_id`. Raises InvalidInput when it would be too long to be one."""
    again = _CONTINUATION.fullmatch(run_id)
    base, life = (again[1], int(again[2]) + 1) if again else (run_id, 2)
    try:
        return check_name(f"{base}-r{life}")
    except ValueError as error:
        raise InvalidInput(f"run {run_id!r} cannot be continued: {error}") from None
