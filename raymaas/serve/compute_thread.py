"""The compute thread: does one job after the other beside the event loop, with less hand-over than an executor."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any


class ComputeThread:
    """One thread. Jobs must not raise: nobody could be told."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], object]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="compute", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], Any], tell: Callable[[Any], object]) -> None:
        """Do `job`, and `tell` what it gave; both on the thread."""
        self._jobs.put((job, tell))

    def close(self) -> None:
        """Returns when all jobs are done and the thread has ended."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while item := self._jobs.get():
            job, tell = item
            done = job()
            with suppress(RuntimeError):  # the event loop was closed: nobody waits any more
                tell(done)
