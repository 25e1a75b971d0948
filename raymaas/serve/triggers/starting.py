"""Starting: a round over all triggers. A start is written first, then its run, then Ray is asked: killed in between,
the next round goes on where it was, and nothing is started twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
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
from raymaas.specs.names import Reference, new_run_id
from raymaas.specs.runs import FINAL_STATES, Pending, RunSpec
from raymaas.specs.starting import StartWhen
from raymaas.specs.triggers import TriggerRevision, TriggerStart

log = logging.getLogger("raymaas.triggers")

_SUBMITTED_WITHIN = timedelta(minutes=2)
"""A run that Ray does not know after that time is called failed by who looks after runs."""


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

    def round(self, now: datetime) -> None:
        """What goes wrong with one trigger is logged, and tried again in the next round."""
        for trigger in self.triggers.list():
            try:
                self.look(trigger, now)
            except RaymaasError as error:
                log.warning("trigger %s waits: %s", trigger.name, error)

    def look(self, trigger: TriggerRevision, now: datetime) -> TriggerStart | None:
        """The start that this round made, or went on with; None when nothing is due."""
        last = self.triggers.last_start(trigger.name)
        if last is not None and not self._is_over(last, now):
            return self._carried_on(trigger, last, now)
        if trigger.paused or trigger.job is None or trigger.job.start is None:
            return None
        when = trigger.job.start
        found = due(
            when,
            since=trigger.since,
            now=now,
            last=last.due if last else None,
            drift=partial(self._drift, when, now),
            labelled=partial(self._labelled, trigger.job.model, last.at if last else trigger.since),
        )
        return None if found is None else self._started(trigger, found, last, now)

    def _is_over(self, start: TriggerStart, now: datetime) -> bool:
        """Whether its run has ended, or was never recorded and is too old to be now."""
        try:
            return isinstance(self.runs.status(start.run_id), FINAL_STATES)
        except NotFound:
            return now - start.at > _SUBMITTED_WITHIN

    def _started(
        self, trigger: TriggerRevision, found: Due, last: TriggerStart | None, now: datetime
    ) -> TriggerStart | None:
        assert trigger.job is not None
        start = TriggerStart(
            name=trigger.name,
            revision=last.revision + 1 if last else 1,
            write_id=new_write_id(),
            run_id=new_run_id(trigger.job.kind, trigger.job.model),
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
        return self._carried_on(trigger, start, now)

    def _carried_on(
        self, trigger: TriggerRevision, start: TriggerStart, now: datetime
    ) -> TriggerStart | None:
        """Record the run of `start` and have Ray start it, unless that was done before."""
        if trigger.job is None or now - start.at > _SUBMITTED_WITHIN:
            return None
        try:
            status = self.runs.status(start.run_id)
        except NotFound:
            job = pinned(trigger.job, self.versions, self.states, now=start.at)
            who = f"trigger {trigger.name}, of {start.who}"
            self.runs.create(
                RunSpec(
                    run_id=start.run_id,
                    job=job,
                    who=who,
                    why=start.why,
                    created_at=start.at,
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
            log.info("run %s of trigger %s: %s", start.run_id, trigger.name, error)
        return start

    def _drift(self, when: StartWhen, now: datetime) -> DriftReport:
        assert when.on_drift is not None
        reference = Reference.parse(when.on_drift)
        version = resolve(reference, self.versions, self.states)
        manifest = self.versions.get(reference.model, version)
        since = now - timedelta(hours=when.drift_over_h)
        return drift_of(manifest, self.versions, self.drifts, since=since, until=now)

    def _labelled(self, model: str, since: datetime) -> int:
        rows: int = pc.sum(self.feedback.table(model, since=since)["label"].is_valid()).as_py() or 0
        return rows
