"""How far a run is and what it has used: one document, replaced as the run goes on.

No key is written twice, so each is a new entry of a log; the one before it is deleted.
"""

from __future__ import annotations

from raymaas.registry.layout import progress_folder, progress_key
from raymaas.registry.log import Log
from raymaas.registry.once import new_write_id
from raymaas.specs.budget import Spent
from raymaas.specs.runs import RunProgress, RunSpec
from raymaas.store import Store


class Progresses:
    """The progress of the runs in a store. Of each run one process at a time may write."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def newest(self, run_id: str) -> RunProgress | None:
        """None when nothing was ever told: of a run that has not started, or is no training."""
        return self._log(run_id).newest()

    def replace(self, progress: RunProgress) -> None:
        """Afterwards `progress` is the newest, whatever its sequence was, and the one before it is gone.

        Raises AlreadyExists when another process wrote meanwhile, Unavailable and OutcomeUnknown as the store does;
        the newest is then that process's, the one before, or this.
        """
        log = self._log(progress.run_id)
        sequence = log.newest_sequence() + 1
        log.append(progress.model_copy(update={"sequence": sequence, "write_id": new_write_id()}))
        if sequence > 1:
            self._store.delete(progress_key(progress.run_id, sequence - 1))

    def spent_before(self, spec: RunSpec) -> Spent:
        """What the runs that `spec` continues had used. A run that branched off begins at nothing."""
        if spec.resumes is None or spec.resumes.epoch is not None:
            return Spent()
        newest = self.newest(spec.resumes.run)
        return newest.spent + newest.before if newest else Spent()

    def _log(self, run_id: str) -> Log[RunProgress]:
        return Log(
            self._store, progress_folder(run_id), RunProgress, lambda p: progress_key(p.run_id, p.sequence)
        )
