"""The collector: surveys a store for what nothing needs any more, and deletes it under a lease.

Why it may, and the order it keeps to, is argued in `registry.collection`. Everything it does can be cut off at
any point and begun again: whatever was deleted is no longer found, and nothing else remembers.

Never deleted: manifests, tombstones, states, policies, run specs, statuses, epochs, trials, fronts, data sets,
leases. Not looked for either: the unfinished multipart uploads of a killed S3 client (a lifecycle rule of the bucket
ends those), and temporary files in a local store's hidden folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from raymaas.errors import IntegrityError, NotFound
from raymaas.registry.blobs import GRACE
from raymaas.registry.collection import Part, Plan, candidates, expired_runs, unnamed
from raymaas.registry.drifts import Drifts
from raymaas.registry.feedback import FeedbackLog
from raymaas.registry.layout import BLOBS, log_folder
from raymaas.registry.leases import Lease, Leases
from raymaas.registry.leftovers import delete_ray_folders, ray_folders
from raymaas.registry.marks import marks
from raymaas.registry.requests import Requests
from raymaas.registry.runs import Runs
from raymaas.registry.samples import Samples
from raymaas.registry.sampling import SamplingRules
from raymaas.specs.retention import Retention
from raymaas.specs.runs import Run
from raymaas.store import Store

LEASE = "gc"
LEASE_S = 600.0
_PAGE = 1000
_AT_ONCE = 8
_BATCH = 100  # Keys between two looks at the lease.

T = TypeVar("T")

OnDeleted = Callable[[str, int, int], None]
"""Told what is being deleted, how many are gone, and of how many."""


class Collector:
    """Collects the garbage of one store. `grace` is the period that all its publishers go by, or a longer one."""

    def __init__(self, store: Store, retention: Retention, *, holder: str, grace: timedelta = GRACE) -> None:
        self._store = store
        self._retention = retention
        self._holder = holder
        self._grace = grace

    def survey(self, *, alive: Callable[[], None] = lambda: None) -> Plan:
        """What may be deleted now; nothing is changed. `alive` is called now and then, and may raise.

        Raises IntegrityError when a document that may name files is damaged or missing.
        """
        now, keep = self._store.now(), self._retention
        found = candidates(self._keys(BLOBS, alive), now=now, grace=self._grace)
        runs = list(self._runs(alive))
        with_trials = expired_runs(runs, days=keep.keep_trial_files_days, now=now)
        kept_trials = {run.run_id for run in runs}.difference(with_trials.delete)
        files = unnamed(found, self._marks(kept_trials, now, alive))
        checkpoints = expired_runs(runs, days=keep.keep_checkpoints_days, now=now)
        logs = expired_runs(runs, days=keep.keep_logs_days, now=now)
        answered_before = now - timedelta(days=keep.keep_requests_days)
        return Plan(
            files=files,
            files_bytes=sum(size for batch in self._each(self._size, files.delete, alive) for size in batch),
            checkpoints=_only(checkpoints, lambda run_id: bool(ray_folders(self._store, run_id))),
            logs=_only(logs, lambda run_id: self._store.first(log_folder(run_id)) is not None),
            requests=Part(tuple(Requests(self._store).older_than(answered_before)), {}),
            drift=Part(tuple(Drifts(self._store).older_than(answered_before)), {}),
            samples=Part(tuple(self._sampled_too_long_ago(now)), {}),
        )

    def collect(self, *, on_deleted: OnDeleted = lambda what, gone, of: None) -> Plan:
        """Survey and delete; returns what was deleted.

        Raises Refused when another collector is at it, or when the lease is lost on the way: then nothing more
        is deleted. Raises as `survey` and as the store does; what was deleted by then stays deleted.
        """
        with Leases(self._store).held(LEASE, holder=self._holder, for_s=LEASE_S) as lease:
            plan = self.survey(alive=lease.keep)
            self._delete("files", plan.files.delete, lease, on_deleted)
            for gone, run_id in enumerate(plan.checkpoints.delete, start=1):
                lease.keep()
                delete_ray_folders(self._store, run_id)
                on_deleted("checkpoints", gone, len(plan.checkpoints.delete))
            for gone, run_id in enumerate(plan.logs.delete, start=1):
                chunks = list(self._keys(log_folder(run_id), lease.keep))
                list(self._each(self._store.delete, chunks, lease.keep))
                on_deleted("logs", gone, len(plan.logs.delete))
            self._delete("requests", plan.requests.delete, lease, on_deleted)
            self._delete("drift", plan.drift.delete, lease, on_deleted)
            self._delete("samples", plan.samples.delete, lease, on_deleted)
        return plan

    def collect_if_due(self, every: timedelta) -> Plan | None:
        """`collect`, unless somebody began to within `every`; None then. Raises as `collect`."""
        newest = Leases(self._store).newest(LEASE)
        if newest is not None and self._store.now() - newest.acquired_at < every:
            return None
        return self.collect()

    def _delete(self, what: str, keys: Sequence[str], lease: Lease, on_deleted: OnDeleted) -> None:
        gone = 0
        for batch in self._each(self._store.delete, keys, lease.keep):
            gone += len(batch)
            on_deleted(what, gone, len(keys))

    def _sampled_too_long_ago(self, now: datetime) -> Iterator[str]:
        """Samples and feedback beyond the days of their model's newest sampling rule, also where it was removed."""
        for revision in SamplingRules(self._store).ever():
            before = now - timedelta(days=revision.keep_days)
            yield from Samples(self._store).older_than(before, model=revision.model)
            yield from FeedbackLog(self._store).older_than(before, model=revision.model)

    def _marks(self, trials_of: set[str], now: datetime, alive: Callable[[], None]) -> dict[str, str]:
        try:
            return marks(self._store, trials_of=trials_of, deleted_since=now - self._grace, alive=alive)
        except (IntegrityError, NotFound) as error:
            raise IntegrityError(
                f"nothing was deleted, since it cannot be told which files are in use: {error}"
            ) from error

    def _keys(self, folder: str, alive: Callable[[], None]) -> Iterator[str]:
        after: str | None = None
        while True:
            alive()
            page = self._store.list(folder, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1]

    def _runs(self, alive: Callable[[], None]) -> Iterator[Run]:
        runs, before = Runs(self._store), None
        while True:
            alive()
            page = runs.list(limit=_PAGE, before=before)
            yield from page
            if len(page) < _PAGE:
                return
            before = page[-1]

    def _each(
        self, act: Callable[[str], T], keys: Sequence[str], alive: Callable[[], None]
    ) -> Iterator[list[T]]:
        """What `act` gives for the keys, batch by batch, several at a time; `alive` is called before each batch."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for start in range(0, len(keys), _BATCH):
                alive()
                yield list(pool.map(act, keys[start : start + _BATCH]))

    def _size(self, key: str) -> int:
        with suppress(NotFound):  # Another collector, beside whom this one is only looking.
            return self._store.size(key)
        return 0


def _only(part: Part, there: Callable[[str], bool]) -> Part:
    """`part` without those of which nothing is left."""
    return replace(part, delete=tuple(run_id for run_id in part.delete if there(run_id)))
