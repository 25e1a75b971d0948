"""Saving a fit beside its training: checkpoints on their way into the store, and the newest one that can be read.

While a checkpoint is written the next epoch is already trained, but not told of before the write is done (`settle`).
So a fit that is killed repeats at most the epochs of one checkpoint interval that anybody had heard of.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from raymaas.errors import IntegrityError, NotFound
from raymaas.registry.checkpoints import CheckpointId, Checkpoints
from raymaas.train.checkpoint import Checkpoint


class Saver:
    """Writes checkpoints one after another in a thread of its own, and deletes those that need not be kept.

    Leaving its block waits for the last one. What a write raised is raised by the next call, or on leaving.
    """

    def __init__(self, checkpoints: Checkpoints, *, keep_every: int) -> None:
        self._checkpoints = checkpoints
        self._keep_every = keep_every
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown(wait=True)
        if error is None:
            self.settle()

    def save(self, checkpoint: Checkpoint) -> None:
        """Begin to write `checkpoint`, once what was begun before is written."""
        self.settle()
        self._pending = self._writer.submit(self._write, checkpoint.detached())

    def settle(self) -> None:
        """Wait until everything is in the store."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _write(self, checkpoint: Checkpoint) -> None:
        self._checkpoints.add(len(checkpoint.history), checkpoint.to_files())
        self._checkpoints.prune(best_epoch=checkpoint.progress.best_epoch, every=self._keep_every)


def load(checkpoints: Checkpoints, which: CheckpointId) -> Checkpoint:
    """One checkpoint, verified. Raises IntegrityError or NotFound."""
    source = f"epoch {which.epoch} in {checkpoints.state_key(which)}"
    return Checkpoint.from_files(checkpoints.read(which), source=source)


def newest_intact(checkpoints: Checkpoints, *, warn: Callable[[str], None]) -> CheckpointId | None:
    """The newest checkpoint that is what was written; None when there is none. `warn` hears of each that is not."""
    for which in reversed(checkpoints.list()):
        try:
            load(checkpoints, which)
        except (IntegrityError, NotFound) as error:
            warn(f"a checkpoint of {checkpoints.run_id} cannot be used, so an older one is: {error}")
        else:
            return which
    return None
