"""The sample log: keeps what some requests asked and were answered, as the model's sampling rule says.

The rule is read again before anything is written, and hides what it hides then. While it cannot be read, nothing is
written.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from raymaas.errors import RaymaasError
from raymaas.monitor.masking import Masker
from raymaas.registry.sampling import SamplingRules
from raymaas.serve.plan import Target
from raymaas.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

EVERY_S = 10.0  # So soon a rule holds at every replica.
_MOST_BYTES = 32 << 20
_TICK = timedelta(microseconds=1)
_PARTS = 2**32
_OVERHEAD_BYTES = 1024  # of a request that waits, beside its values

Arrays = Mapping[str, np.ndarray]

log = logging.getLogger("raymaas.replica")


class _Asked(NamedTuple):
    request_id: str
    at: datetime
    inputs: Arrays
    outputs: Arrays


def is_sampled(request_id: str, rate: float) -> bool:
    """Whether a rule with this rate keeps the request: the same everywhere, for its answer and its feedback."""
    return zlib.crc32(request_id.encode()) < rate * _PARTS


class SampleLog:
    """Of one replica. Until a rule is read, and while there is none, nothing is remembered.

    What a killed replica had not written yet, at most `EVERY_S` of it, is lost. At most 32 MB wait; those beyond are
    counted in the replica's log.
    """

    def __init__(
        self,
        store: Store,
        target: Target,
        *,
        replica: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._rules = store, SamplingRules(store)
        self._target, self._replica = target, replica
        self._clock = clock
        self.rate = 0.0
        self._changing = threading.Lock()
        self._waiting: list[_Asked] = []
        self._room_bytes = _MOST_BYTES
        self._dropped = 0
        self._written_until = datetime(1970, 1, 1, tzinfo=UTC)
        self._unwritten: tuple[pa.Table, datetime, Masker] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sample-log", daemon=True)

    def start(self) -> None:
        """Read the rule and write every few seconds, from a thread of its own, until `close`."""
        self._thread.start()

    def wants(self, request_id: str) -> bool:
        """Whether `hear` is to be told of the answer."""
        return bool(self.rate and request_id) and is_sampled(request_id, self.rate)

    def hear(self, request_id: str, inputs: Arrays, outputs: Arrays) -> None:
        """Remember an answer. Arrays are copied only out of larger ones: nobody may write into them afterwards."""
        inputs, outputs = _alone(inputs), _alone(outputs)
        size = sum(_bytes_of(array) for arrays in (inputs, outputs) for array in arrays.values())
        with self._changing:
            if size + _OVERHEAD_BYTES > self._room_bytes:
                self._dropped += 1
                return
            self._room_bytes -= size + _OVERHEAD_BYTES
            self._waiting.append(_Asked(request_id, self._clock(), inputs, outputs))

    def write(self) -> None:
        """Read the rule, and write what is remembered and may be kept. Raises as the store does; then write again."""
        revision = self._rules.newest(self._target.model)
        masker = Masker.of_revision(revision) if revision else None
        self.rate = masker.rule.rate if masker else 0.0
        if self._unwritten is not None and self._unwritten[2] != masker:
            self._unwritten = None  # What an older rule let through may not be kept any more.
        self._write_out()
        # The rule may keep fewer by now than were remembered.
        asked = [each for each in self._taken() if is_sampled(each.request_id, self.rate)]
        if masker is None or not asked:
            return
        from raymaas.serve.sample_table import table_of

        # The clock of a store may stand still for milliseconds, and two chunks need two keys.
        self._written_until = max(self._store.now(), self._written_until + _TICK)
        self._unwritten = table_of(asked, masker), self._written_until, masker
        self._write_out()

    def _write_out(self) -> None:
        if self._unwritten is None:
            return
        rows, at, _ = self._unwritten
        # Imported with Arrow, by the first who keeps something: it takes a replica 50 MB.
        from raymaas.registry.samples import Samples

        target = self._target
        Samples(self._store).append(target.model, target.version, rows, replica=self._replica, at=at)
        self._unwritten = None

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Write what is left and stop. Returns after `timeout_s` at the latest; may be called twice."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _taken(self) -> Sequence[_Asked]:
        with self._changing:
            asked, self._waiting = self._waiting, []
            dropped, self._dropped = self._dropped, 0
            self._room_bytes = _MOST_BYTES
        if dropped:
            log.warning("%d answers were not sampled: there was no room for more than 32 MB", dropped)
        return asked

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closed.is_set()  # Before the last write, so that nothing falls between.
            try:
                self.write()
            except RaymaasError as error:
                log.warning("answers are not sampled at the moment: %s", error)
            except Exception:
                log.exception("some answers were not sampled")
            if not closing:
                self._closed.wait(EVERY_S)


def _alone(arrays: Arrays) -> Arrays:
    """Without what is not theirs: a request's part of a batch would keep the whole batch in memory."""
    return {
        name: array.copy()
        if isinstance(array.base, np.ndarray) and array.base.nbytes > array.nbytes
        else array
        for name, array in arrays.items()
    }


def _bytes_of(array: np.ndarray) -> int:
    """What it takes in memory; of texts about that."""
    texts = 0 if array.dtype != object else sum(len(text) for text in array.flat if isinstance(text, str))
    return array.nbytes + texts
