"""Starting: a round over all triggers. A start is written first, then its run, then Ray is asked: killed in between,
the next round goes on where it was, however much later that is, and nothing is started twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import pyarrow.compute as pc

from raymaas.errors import AlreadyExists, NotFound, RaymaasError, Unavailable
from raymaas.registry.drifts import Drifts
from raymaas.registry.feedback import FeedbackLog
from raymaas.registry.once import new_write_id
from raymaas.registry.resolve import pinned, resolve
from raymaas.registry.runs import Runs
from raymaas.registry.states import States
from raymaas.registry.triggers import Triggers
from raymaas.registry.versions import Versions
from raymaas.serve.drift_report import drift_of
from raymaas.serve.triggers.due import Due, due
from raymaas.specs.drift import DriftReport
from raymaas.specs.feedback import FEEDBACK_ROWS
from raymaas.specs.jobs import TrainJob
from raymaas.specs.names import Reference, new_run_id
from raymaas.specs.runs import FINAL_STATES, Pending, RunSpec
from raymaas.specs.starting import StartWhen
from raymaas.specs.triggers import TriggerRevision, TriggerStart

log = logging.getLogger("raymaas.triggers")

_BETWEEN_LOOKS = timedelta(minutes=5)
"""Drift and feedback are read from the store whole, a day of them or more, so not in every round."""


@dataclass(frozen=True)
class Starter:
    """Starts what is due. `submit` asks Ray for a recorded run, and raises Unavailable when nothing was started."""

    triggers: Triggers
    runs: Runs
    versions: Versions
    states: States
    drifts: Drifts
    feedback: FeedbackLog
    submit: Callable[[RunSpec], None]
    looked: dict[str, datetime] = field(default_factory=dict)
    """When drift or feedback was last read, by the `write_id` of the trigger it was read for."""

    def round(self, now: datetime) -> None:
        """What goes wrong with one trigger is logged, and tried again in the next round."""
        for trigger in self.triggers.list():
            try:
                self.look(trigger, now)
            except Exception as error:  # whatever it is, the others must not wait for it
                log.warning(
                    "trigger %s waits: %s",
                    trigger.name,
                    error,
                    exc_info=not isinstance(error, RaymaasError),
                )

    def look(self, trigger: TriggerRevision, now: datetime) -> TriggerStart | None:
        """The start that this round made, or went on with; None when nothing is due.

        Raises NotFound, before anything is written, while what the job or `on_drift` names is not there.
        """
        if trigger.paused or trigger.job is None or trigger.job.start is None:
            return None
        last = self.triggers.last_start(trigger.name)
        if last is not None and not self._is_over(last, trigger):
            return self._carried_on(last, now)
        when = trigger.job.start
        if not self._looks_now(trigger, when, now):
            return None
        found = due(
            when,
            since=trigger.since,
            now=now,
            last=last.due if last else None,
            drift=partial(self._drift, when, now),
            labelled=partial(self._labelled, trigger.job, last.at if last else trigger.since),
        )
        return None if found is None else self._started(trigger, trigger.job, found, last, now)

    def _looks_now(self, trigger: TriggerRevision, when: StartWhen, now: datetime) -> bool:
        if when.on_drift is None and not when.min_feedback:
            return True
        last = self.looked.get(trigger.write_id)
        if last is not None and now - last < _BETWEEN_LOOKS:
            return False
        self.looked[trigger.write_id] = now
        return True

    def _is_over(self, start: TriggerStart, trigger: TriggerRevision) -> bool:
        """Whether its run has ended; or was never recorded, and is of what the trigger was before."""
        try:
            return isinstance(self.runs.status(start.run_id), FINAL_STATES)
        except NotFound:
            return start.at < trigger.since

    def _started(
        self,
        trigger: TriggerRevision,
        job: TrainJob,
        found: Due,
        last: TriggerStart | None,
        now: datetime,
    ) -> TriggerStart | None:
        pinned_job = pinned(job, self.versions, self.states, now=now)
        assert isinstance(pinned_job, TrainJob)
        start = TriggerStart(
            name=trigger.name,
            revision=last.revision + 1 if last else 1,
            write_id=new_write_id(),
            run_id=new_run_id(job.kind, job.model),
            job=pinned_job,
            due=found.moment,
            why=found.why,
            who=trigger.who,
            at=now,
        )
        try:
            self.triggers.claim(start)
        except AlreadyExists:
            return None  # Another controller was first, and starts it.
        log.info("trigger %s starts %s: %s", trigger.name, start.run_id, start.why)
        return self._carried_on(start, now)

    def _carried_on(self, start: TriggerStart, now: datetime) -> TriggerStart | None:
        """Record the run of `start` and have Ray start it, unless that was done before."""
        try:
            status = self.runs.status(start.run_id)
        except NotFound:
            self.runs.create(
                RunSpec(
                    run_id=start.run_id,
                    job=start.job,
                    who=f"trigger {start.name}, of {start.who}",
                    why=start.why,
                    created_at=now,
                    write_id=start.write_id,
                )
            )
            status = self.runs.status(start.run_id)
        if not isinstance(status, Pending):
            return None
        try:
            self.submit(self.runs.spec(start.run_id))
        except Unavailable as error:
            # Perhaps because Ray has it already; who looks after runs will know.
            log.info("run %s of trigger %s: %s", start.run_id, start.name, error)
        return start

    def _drift(self, when: StartWhen, now: datetime) -> DriftReport:
        assert when.on_drift is not None
        reference = Reference.parse(when.on_drift)
        version = resolve(reference, self.versions, self.states)
        manifest = self.versions.get(reference.model, version)
        since = now - timedelta(hours=when.drift_over_h)
        return drift_of(manifest, self.versions, self.drifts, since=since, until=now)

    def _labelled(self, job: TrainJob, since: datetime) -> int:
        said = self.feedback.table(learns_of(job), since=since)
        rows: int = pc.sum(said["label"].is_valid()).as_py() or 0
        return rows


def learns_of(job: TrainJob) -> str:
    """The model whose feedback `job` learns from; where its data is something else, its own."""
    of = job.data.config.get("of")
    return Reference.parse(of).model if job.data.use == FEEDBACK_ROWS and isinstance(of, str) else job.model
