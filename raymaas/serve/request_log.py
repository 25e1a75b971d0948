"""The request log: remembers each answer beside the event loop, and leaves them in the store every few seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from raymaas.errors import RaymaasError
from raymaas.registry.requests import Requests
from raymaas.serve.plan import Target
from raymaas.specs.keys import KEY_ID
from raymaas.specs.requests import Compared, RequestChunk
from raymaas.store import Store

EVERY_S = 5.0
PER_CHUNK = 8192
_MOST_WAITING = 8 * PER_CHUNK
_DENIED = 401
_TICK = timedelta(microseconds=1)
_LONGEST_ID = 128  # The edge replaces longer ones.

log = logging.getLogger("raymaas.replica")


class _Answered(NamedTuple):
    request_id: str
    at_s: float
    status: int
    seconds: float
    rows: int | None
    key_id: str
    shadow: bool


class RequestLog:
    """The requests of one replica with `least_status` or more. Calling it costs half a microsecond and never waits.

    When the store is behind, `_MOST_WAITING` requests are remembered; those beyond are counted, and the next
    chunk says how many. What a killed replica had not written yet, at most `EVERY_S` of it, is lost. Each chunk has
    what `compared` says is new of shadowing.
    """

    def __init__(
        self,
        store: Store,
        target: Target,
        *,
        replica: str,
        least_status: int = 0,
        clock: Callable[[], float] = time.time,
        compared: Callable[[], Mapping[int, Compared]] = dict,
    ) -> None:
        self._compared = compared
        self._store, self._requests = store, Requests(store)
        self._target, self._replica = target, replica
        self._least_status = least_status
        self._clock = clock
        self._waiting: deque[_Answered] = deque()
        self._dropped = self._dropped_said = 0
        self._written_until = datetime(1970, 1, 1, tzinfo=UTC)
        self._unwritten: tuple[RequestChunk, datetime] | None = None
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)

    def start(self) -> None:
        """Write what is remembered every few seconds, from a thread of its own, until `close`."""
        self._thread.start()

    def __call__(
        self,
        *,
        status: int,
        seconds: float,
        request_id: str,
        rows: int | None,
        key_id: str = "",
        shadow: bool = False,
    ) -> None:
        """Remember one answer. Those without an id did not come through an edge, nor did those denied."""
        if status < self._least_status or status == _DENIED or not 0 < len(request_id) <= _LONGEST_ID:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append(_Answered(request_id, self._clock(), status, seconds, rows, key_id, shadow))
        if len(self._waiting) == PER_CHUNK:
            self._wake.set()

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Write what is left and stop. Returns after `timeout_s` at the latest; may be called twice."""
        self._closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def write(self) -> None:
        """Write all that is remembered. Raises as the store does; then write again, nothing is forgotten."""
        while True:
            if self._unwritten is None:
                compared = self._compared()
                if not self._waiting and not compared:
                    return
                # The clock of a store may stand still for milliseconds, and two chunks need two keys.
                self._written_until = max(self._store.now(), self._written_until + _TICK)
                self._unwritten = self._chunk(compared), self._written_until
            chunk, at = self._unwritten
            self._requests.append(chunk, at=at)
            self._unwritten = None

    def _run(self) -> None:
        closing = False
        while not closing:
            self._wake.wait(EVERY_S)
            self._wake.clear()
            closing = self._closed  # Before the last write, so that nothing falls between.
            try:
                self.write()
            except RaymaasError as error:
                log.warning("requests are not recorded at the moment: %s", error)
            except Exception:
                log.exception("requests are not recorded at the moment")

    def _chunk(self, compared: Mapping[int, Compared]) -> RequestChunk:
        # One by one: the event loop appends meanwhile, to the same deque.
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), PER_CHUNK))]
        columns = zip(*taken, strict=True) if taken else ((),) * len(_Answered._fields)
        request_ids, at_s, statuses, seconds, rows, asked_by, shadow = columns
        # Whoever reaches a replica's health may write what it likes there: a chunk must not fail of it.
        key_ids = tuple(sorted(key_id for key_id in set(asked_by) if KEY_ID.fullmatch(key_id)))
        number_of = {key_id: number for number, key_id in enumerate(key_ids, start=1)}
        dropped = self._dropped
        newly, self._dropped_said = dropped - self._dropped_said, dropped
        return RequestChunk(
            model=self._target.model,
            version=self._target.version,
            replica=self._replica,
            request_ids=request_ids,
            at_ms=_whole(at_s, 1e3),
            statuses=statuses,
            microseconds=_whole(seconds, 1e6),
            rows=rows,
            key_ids=key_ids,
            asked_with=tuple(number_of.get(key_id, 0) for key_id in asked_by),
            dropped=newly,
            shadows=tuple(place for place, is_copy in enumerate(shadow) if is_copy),
            compared=dict(compared),
        )


def _whole(seconds: Sequence[float], per_second: float) -> tuple[int, ...]:
    return tuple((np.array(seconds) * per_second).astype(np.int64).tolist())
