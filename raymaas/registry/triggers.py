"""Triggers: jobs that are run again by themselves, each with one log of what it is and one of its starts."""

from __future__ import annotations

from raymaas.errors import NotFound
from raymaas.registry.layout import (
    TRIGGERS,
    trigger_folder,
    trigger_key,
    trigger_start_key,
    trigger_starts_folder,
)
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id
from raymaas.registry.revisions import append_next
from raymaas.specs.jobs import TrainJob
from raymaas.specs.triggers import TriggerRevision, TriggerStart
from raymaas.store import Store


class Triggers:
    """The triggers in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, name: str) -> TriggerRevision:
        """Raises NotFound, also for one that was removed."""
        newest = self._log(name).newest()
        if newest is None or newest.job is None:
            known = ", ".join(one.name for one in self.list()) or "there is none"
            raise NotFound(
                f"trigger {name!r} does not exist; known: {known}; `raymaas triggers add JOB` makes one"
            )
        return newest

    def set(self, name: str, job: TrainJob, *, who: str, why: str = "") -> TriggerRevision:
        """Have `job`, which has a `start`, run when that says. Its schedule counts from now. Raises AlreadyExists when
        another changed it meanwhile.
        """
        return self._next(name, job=job, paused=False, anew=True, who=who, why=why)

    def pause(self, name: str, *, paused: bool, who: str, why: str = "") -> TriggerRevision:
        """Start nothing, or go on: then a schedule counts from now. Raises NotFound, and AlreadyExists as `set`."""
        now = self.get(name)
        if now.paused == paused:
            return now
        return self._next(name, job=now.job, paused=paused, anew=not paused, who=who, why=why)

    def remove(self, name: str, *, who: str, why: str = "") -> TriggerRevision:
        """Raises NotFound, and AlreadyExists as `set`. Its starts stay to be read in the store."""
        self.get(name)
        return self._next(name, job=None, paused=False, anew=False, who=who, why=why)

    def last_start(self, name: str) -> TriggerStart | None:
        return self._starts(name).newest()

    def claim(self, start: TriggerStart) -> None:
        """Keep `start`, which follows the last one. Raises AlreadyExists when another was first, which then counts."""
        self._starts(start.name).append(start)

    def _next(
        self, name: str, *, job: TrainJob | None, paused: bool, anew: bool, who: str, why: str
    ) -> TriggerRevision:
        log, what = self._log(name), f"the trigger {name}"
        newest = log.newest()

        def entry(revision: int) -> TriggerRevision:
            at = self._store.now()
            fields = {
                "name": name,
                "revision": revision,
                "write_id": new_write_id(),
                "job": job,
                "paused": paused,
                "since": at if anew or newest is None else newest.since,
                "who": who,
                "why": why,
                "at": at,
            }
            return TriggerRevision.parse(fields, source=what)

        return append_next(log, newest, entry, what=what)

    def _log(self, name: str) -> Log[TriggerRevision]:
        return Log(
            self._store,
            trigger_folder(name),
            TriggerRevision,
            lambda one: trigger_key(one.name, one.revision),
        )

    def _starts(self, name: str) -> Log[TriggerStart]:
        return Log(
            self._store,
            trigger_starts_folder(name),
            TriggerStart,
            lambda one: trigger_start_key(one.name, one.revision),
        )

    def starts(self, name: str, *, limit: int = 10) -> list[TriggerStart]:
        """The last ones, newest first."""
        return self._starts(name).entries(limit=limit)

    # Last, so that `list[...]` in the signatures above means the builtin.
    def list(self) -> list[TriggerRevision]:
        """Those that were not removed, by name, ascending."""
        found = (self._log(name).newest() for name in self._store.children(TRIGGERS))
        return [one for one in found if one is not None and one.job is not None]
