"""Runs: what was asked, how each stands, what it measured and printed; listed newest first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from raymaas.errors import AlreadyExists, InvalidInput, NotFound, Refused
from raymaas.registry.artifacts import Artifacts
from raymaas.registry.code import keep_code
from raymaas.registry.layout import (
    epoch_key,
    epochs_folder,
    index_folder,
    index_key,
    indexed_run,
    log_folder,
    log_key,
    run_key,
    status_folder,
    status_key,
    trial_key,
    trials_folder,
)
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id, write_bytes, write_document
from raymaas.registry.progress import Progresses
from raymaas.specs.runs import FINAL_STATES, EpochMetrics, Pending, Run, RunSpec, RunState, RunStatus
from raymaas.specs.search import Trial
from raymaas.store import Store

_PAGE = 1000
_NO_ATTEMPT = 999_999  # sorts after every attempt at an epoch


class Runs:
    """The runs in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.progresses = Progresses(store)

    def keep_code(self, packed: bytes) -> str:
        """Put the code of one's own that a job names into the store; its SHA-256. See `raymaas.registry.code`."""
        return keep_code(self._store, packed)

    def create(self, spec: RunSpec) -> RunSpec:
        """Record a run; from then on it is pending. Returns the spec as written, with a write id.

        Repeating it with the same `write_id` is harmless. Raises AlreadyExists when another run has that id.
        """
        written = spec if spec.write_id else spec.model_copy(update={"write_id": new_write_id()})
        # The index first: a crash before the spec leaves an entry that listing skips, never an unlisted run.
        for model in (None, written.job.model):
            key = index_key(index_folder(model), written.created_at, written.run_id)
            write_bytes(self._store, key, written.run_id.encode())
        write_document(self._store, run_key(written.run_id), written)
        return written

    def spec(self, run_id: str) -> RunSpec:
        """What the run was asked to do. Raises NotFound."""
        try:
            return RunSpec.unseal(self._store.read(run_key(run_id)), source=run_key(run_id))
        except NotFound:
            raise NotFound(f"run {run_id!r} does not exist; list the runs to see which do") from None

    def set_status(self, run_id: str, state: RunState) -> None:
        """Append how the run stands now. Repeating the newest state is harmless.

        Raises Refused when the run has ended: a final state is never followed by another, also under a race.
        """
        log = self._statuses(run_id)
        while True:
            newest = log.newest()
            if newest is None:
                self.spec(run_id)
            elif newest.status == state:
                return
            elif isinstance(newest.status, FINAL_STATES):
                raise Refused(
                    f"run {run_id!r} has ended ({newest.status.state}); its state never changes again"
                )
            sequence = newest.sequence + 1 if newest else 1
            entry = RunStatus(run_id=run_id, sequence=sequence, write_id=new_write_id(), status=state)
            try:
                log.append(entry)
            except AlreadyExists:
                continue  # Another wrote this entry; whether ours may follow depends on what it says.
            return

    def status(self, run_id: str) -> RunState:
        """How the run stands. Raises NotFound."""
        newest = self._statuses(run_id).newest()
        return Pending(at=self.spec(run_id).created_at) if newest is None else newest.status

    def get(self, run_id: str) -> Run:
        """What was asked and how it stands. Raises NotFound."""
        return self._run(self.spec(run_id))

    def add_epoch(self, metrics: EpochMetrics) -> None:
        """Record what an epoch measured. A resumed run may measure one again: the latest counts."""
        attempt, data = 1, metrics.seal()
        while True:
            try:
                self._store.create(epoch_key(metrics.run_id, metrics.epoch, attempt), data)
            except AlreadyExists:
                attempt += 1
            else:
                return

    def epochs(self, run_id: str, *, after: int = 0) -> tuple[EpochMetrics, ...]:
        """What each epoch after epoch `after` measured, in order of epochs. Raises NotFound for an unknown run."""
        latest: dict[int, EpochMetrics] = {}
        for key, data in self._all_under(epochs_folder(run_id), after=epoch_key(run_id, after, _NO_ATTEMPT)):
            metrics = EpochMetrics.unseal(data, source=key)
            latest[metrics.epoch] = metrics
        if not latest:
            self.spec(run_id)
        return tuple(latest.values())

    def artifacts(self, run_id: str) -> Artifacts:
        """The files that a run has left. Asks nothing of the store yet."""
        return Artifacts(self._store, run_id)

    def add_trial(self, trial: Trial) -> None:
        """Record how a trial ended. Of two records of one trial, as after a lost reply, the first counts."""
        with suppress(AlreadyExists):
            self._store.create(trial_key(trial.run_id, trial.trial), trial.seal())

    def trials(self, run_id: str) -> tuple[Trial, ...]:
        """The trials that have ended, by name. Raises NotFound for an unknown run."""
        found = tuple(Trial.unseal(data, source=key) for key, data in self._all_under(trials_folder(run_id)))
        if not found:
            self.spec(run_id)
        return found

    def trial(self, run_id: str, trial: str) -> Trial | None:
        """How one trial ended; None when it is not recorded."""
        key = trial_key(run_id, trial)
        try:
            return Trial.unseal(self._store.read(key), source=key)
        except NotFound:
            return None

    def append_log(self, run_id: str, sequence: int, text: str) -> None:
        """Write chunk `sequence` of the run's log: from 1, ascending, by one writer. Repeatable.

        Raises AlreadyExists when that chunk holds another text.
        """
        if sequence < 1 or not text:
            raise InvalidInput(
                f"a log chunk has text and a sequence from 1, got {sequence} and {len(text)} characters"
            )
        write_bytes(self._store, log_key(run_id, sequence), text.encode())

    def read_log(self, run_id: str, *, after: int = 0) -> tuple[str, int]:
        """The log's text after chunk `after`, and the last chunk in it: give that as the next `after`.

        Raises NotFound for an unknown run.
        """
        texts: list[str] = []
        folder, last = log_folder(run_id), after
        for key, data in self._all_under(folder, after=log_key(run_id, after)):
            texts.append(data.decode())
            last = int(key.removeprefix(folder).removesuffix(".txt"))
        if not texts:
            self.spec(run_id)
        return "".join(texts), last

    def _indexed(self, key: str, folder: str) -> Run | None:
        """The run an index entry names; None when its creation was never completed, or was another's."""
        try:
            spec = self.spec(indexed_run(key))
        except NotFound:
            return None
        return self._run(spec) if index_key(folder, spec.created_at, spec.run_id) == key else None

    def _run(self, spec: RunSpec) -> Run:
        newest = self._statuses(spec.run_id).newest()
        return Run(
            run_id=spec.run_id,
            model=spec.job.model,
            kind=spec.job.kind,
            who=spec.who,
            created_at=spec.created_at,
            status=Pending(at=spec.created_at) if newest is None else newest.status,
            resumes=spec.resumes,
        )

    def _all_under(self, folder: str, *, after: str | None = None) -> Iterator[tuple[str, bytes]]:
        while True:
            page = self._store.list(folder, after=after, limit=_PAGE)
            for key in page:
                yield key, self._store.read(key)
            if len(page) < _PAGE:
                return
            after = page[-1]

    def _statuses(self, run_id: str) -> Log[RunStatus]:
        return Log(self._store, status_folder(run_id), RunStatus, lambda s: status_key(s.run_id, s.sequence))

    def newest_ids(self, *, limit: int) -> tuple[str, ...]:
        """Ids of up to `limit` runs, newest first, in one request; one may be of a run never created."""
        return tuple(indexed_run(key) for key in self._store.list(index_folder(None), limit=limit))

    def list(self, *, limit: int = 50, model: str | None = None, before: Run | None = None) -> list[Run]:
        """Up to `limit` runs, newest first, of one model when given, older than `before` when given.

        Fewer than `limit` means there are no more.
        """
        folder = index_folder(model)
        after = index_key(folder, before.created_at, before.run_id) if before else None
        found: list[Run] = []
        while len(found) < limit:
            wanted = limit - len(found)
            page = self._store.list(folder, after=after, limit=wanted)
            found += [run for key in page if (run := self._indexed(key, folder))]
            if len(page) < wanted:
                break
            after = page[-1]
        return found
