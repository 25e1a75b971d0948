"""Checkpoints of a run: for each, a state and the progress that describes it; listed by epoch, kept by rule.

The state is written first and the progress last, so a checkpoint that is listed was written whole. An epoch that
is trained again, after its checkpoint was found damaged, gives another attempt; the latest of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from raymaas.errors import AlreadyExists, NotFound
from raymaas.registry.layout import checkpoint_key, checkpoint_of, checkpoints_folder
from raymaas.registry.once import write_bytes
from raymaas.store import Store

_PAGE = 1000
_NEWEST_KEPT = 2  # the one before the newest is there for when that one cannot be read


@dataclass(frozen=True, order=True)
class CheckpointId:
    """Which checkpoint of a run: after which epoch, and written in which attempt. Later ones are greater."""

    epoch: int
    attempt: int


@dataclass(frozen=True)
class CheckpointFiles:
    """The bytes of a checkpoint; what they mean is the trainer's affair."""

    state: bytes
    progress: bytes


class Checkpoints:
    """The checkpoints of one run in a store. They may be asked for from any thread."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self.run_id = run_id

    def add(self, epoch: int, files: CheckpointFiles) -> CheckpointId:
        """Keep a checkpoint after `epoch`, as its latest attempt. Raises Unavailable or OutcomeUnknown as the store
        does; then add it again.
        """
        attempt = 1
        while True:
            which = CheckpointId(epoch, attempt)
            try:
                write_bytes(self._store, self.state_key(which), files.state)
                write_bytes(self._store, self.progress_key(which), files.progress)
            except AlreadyExists:
                attempt += 1
            else:
                return which

    def list(self) -> tuple[CheckpointId, ...]:
        """All of them, oldest first: of each epoch the latest attempt."""
        latest: dict[int, CheckpointId] = {}
        for which in self._all():
            latest[which.epoch] = which
        return tuple(latest.values())

    def read(self, which: CheckpointId) -> CheckpointFiles:
        """The bytes, unverified. Raises NotFound when it is no longer there."""
        return CheckpointFiles(
            state=self._store.read(self.state_key(which)),
            progress=self._store.read(self.progress_key(which)),
        )

    def of_epoch(self, epoch: int) -> CheckpointId:
        """The checkpoint after `epoch`. Raises NotFound with the epochs there are."""
        found = {which.epoch: which for which in self.list()}
        if epoch in found:
            return found[epoch]
        others = f"there are those of {', '.join(map(str, found))}" if found else "it has none"
        raise NotFound(
            f"run {self.run_id!r} has no checkpoint of epoch {epoch}; {others}. `training.checkpoint_every` and "
            "`training.keep_checkpoint_every` say which are written and kept"
        )

    def prune(self, *, best_epoch: int, every: int) -> None:
        """Delete what `kept` does not name."""
        there = tuple(self._all())
        for which in set(there) - kept(there, best_epoch=best_epoch, every=every):
            # The progress first: what is half deleted is no longer listed.
            self._store.delete(self.progress_key(which))
            self._store.delete(self.state_key(which))

    def progress_key(self, which: CheckpointId) -> str:
        return checkpoint_key(self.run_id, which.epoch, which.attempt, "json")

    def state_key(self, which: CheckpointId) -> str:
        return checkpoint_key(self.run_id, which.epoch, which.attempt, "safetensors")

    def _all(self) -> Iterable[CheckpointId]:
        folder, after = checkpoints_folder(self.run_id), None
        while True:
            page = self._store.list(folder, after=after, limit=_PAGE)
            yield from (CheckpointId(*checkpoint_of(key)) for key in page if key.endswith(".json"))
            if len(page) < _PAGE:
                return
            after = page[-1]


def kept(there: Iterable[CheckpointId], *, best_epoch: int, every: int) -> set[CheckpointId]:
    """Which checkpoints to keep: the newest two, the best epoch's, and those of epochs that `every` divides.

    Of several attempts at an epoch only the latest.
    """
    latest = {which.epoch: which for which in sorted(there)}
    newest = sorted(latest)[-_NEWEST_KEPT:]
    return {
        which
        for epoch, which in latest.items()
        if epoch in newest or epoch == best_epoch or epoch % every == 0
    }
