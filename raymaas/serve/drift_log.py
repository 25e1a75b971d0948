"""The drift log: counts some of a replica's rows in the bins of the version's reference, and leaves the counts.

No row is kept: what the event loop remembers of requests is counted, and forgotten, within about a second.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from raymaas.bundle.files import REFERENCE
from raymaas.errors import RaymaasError
from raymaas.monitor.counts import Counting, Counts, added
from raymaas.monitor.drift import beyond_chance, judged
from raymaas.monitor.looking import Tensors
from raymaas.registry.drifts import Drifts
from raymaas.serve.app import INFER, Compute
from raymaas.serve.plan import Target
from raymaas.specs.drift import DriftCounts, Reference
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store

COUNT_EVERY_S = 1.0
WRITE_EVERY_S = 60.0  # A day of one replica is 1,440 documents of some kilobytes each.
MOST_ROWS = 200
_MOST_BYTES = 16 << 20
_RECENT = 60  # Writes: about an hour.
_TICK = timedelta(microseconds=1)

Arrays = Mapping[str, np.ndarray]
Asked = tuple[Arrays, Arrays, int]
"""Inputs, outputs, and every which row is to be counted."""

log = logging.getLogger("raymaas.replica")


@dataclass(frozen=True)
class Bins:
    """A version's reference, and the SHA-256 of its file."""

    reference: Reference
    sha256: str

    @classmethod
    def of_version(cls, manifest: ModelVersion, read: Callable[[str], bytes]) -> Bins | None:
        """None of a version that has none, and of one whose cannot be read: it can be served all the same."""
        if REFERENCE not in manifest.files:
            return None
        name = f"{REFERENCE} of {manifest.model}@{manifest.version}"
        try:
            reference = Reference.unseal(read(REFERENCE), source=name)
        except RaymaasError as error:
            log.warning("nothing is counted for drift: %s", error)
            return None
        return cls(reference, manifest.files[REFERENCE].sha256)


class DriftLog:
    """Counts at most `MOST_ROWS` rows a second, those that come first; of a larger request, evenly spread ones.

    What a killed replica had not written yet, at most `WRITE_EVERY_S` of it, is lost. While the store is behind, counts
    add up. `tell` hears once a minute how far the rows of about the last hour have drifted: the stability index of the
    feature that is furthest beyond chance, 0 while none is.
    """

    def __init__(
        self,
        store: Store,
        target: Target,
        *,
        replica: str,
        bins: Bins,
        tell: Callable[[float], None] = lambda psi: None,
    ) -> None:
        self._tell = tell
        self._recent: deque[DriftCounts] = deque(maxlen=_RECENT)
        self._store, self._drifts = store, Drifts(store)
        self._target, self._replica, self._bins = target, replica, bins
        self._counting = Counting(bins.reference.features)
        self._waiting: deque[Asked] = deque()
        self._room_rows, self._room_bytes = MOST_ROWS, _MOST_BYTES
        self._rows = 0
        self._counts: Counts | None = None
        self._since = store.now()
        self._unwritten: DriftCounts | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drift-log", daemon=True)

    def start(self) -> None:
        """Count every second and write every minute, from a thread of its own, until `close`."""
        self._thread.start()

    def watched(self, compute: Compute) -> Compute:
        """`compute`, of whose answers to `infer` this log hears."""

        async def heard(
            method: str, inputs: dict[str, np.ndarray], *, timeout_s: float | None = None
        ) -> dict[str, np.ndarray]:
            outputs = await compute(method, inputs, timeout_s=timeout_s)
            if method == INFER and self._room_rows > 0:
                self.hear(inputs, outputs)
            return outputs

        return heard

    def hear(self, inputs: Arrays, outputs: Arrays) -> None:
        """Remember a request until it is counted. What there is no room for this second is forgotten.

        The arrays are not copied: nobody may write into them afterwards.
        """
        rows = len(next(iter(inputs.values())))
        size = sum(array.nbytes for array in inputs.values())
        if self._room_rows <= 0 or size > self._room_bytes:
            return
        every = -(-rows // self._room_rows)
        self._room_rows -= -(-rows // every)
        self._room_bytes -= size
        self._waiting.append((inputs, outputs, every))

    def count(self) -> None:
        """Count what was heard, and make room for more."""
        alike: dict[Hashable, list[Asked]] = defaultdict(list)
        # One by one: the event loop appends meanwhile, to the same deque.
        for _ in range(len(self._waiting)):
            asked = self._waiting.popleft()
            alike[_shapes(asked)].append(asked)
        self._room_rows, self._room_bytes = MOST_ROWS, _MOST_BYTES
        for group in alike.values():
            rows: Tensors = {
                "input": _joined([asked for asked, _, _ in group], [every for _, _, every in group]),
                "prediction": _joined([given for _, given, _ in group], [every for _, _, every in group]),
            }
            counts = self._counting.of(rows)
            self._counts = counts if self._counts is None else added([self._counts, counts])
            self._rows += len(next(iter(rows["input"].values())))

    def write(self) -> None:
        """Write all that is counted, unless it is nothing. Raises as the store does; then write again."""
        if self._unwritten is None and self._counts is not None:
            until = max(self._store.now(), self._since + _TICK)
            self._unwritten = DriftCounts(
                model=self._target.model,
                version=self._target.version,
                replica=self._replica,
                reference=self._bins.sha256,
                since=self._since,
                until=until,
                rows=self._rows,
                counts=self._counts,
            )
            self._rows, self._counts, self._since = 0, None, until
            self._recent.append(self._unwritten)
            self._tell(self._furthest())
        if self._unwritten is not None:
            self._drifts.append(self._unwritten)
            self._unwritten = None

    def _furthest(self) -> float:
        report = judged(
            self._bins.reference,
            sum(counts.rows for counts in self._recent),
            added(counts.counts for counts in self._recent),
            model=self._target.model,
            version=self._target.version,
            since=self._recent[0].since,
            until=self._recent[-1].until,
        )
        return beyond_chance(report)

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Count and write what is left and stop. Returns after `timeout_s` at the latest; may be called twice."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        closing, waited_s = False, 0.0
        while not closing:
            closing = self._closed.wait(COUNT_EVERY_S)
            waited_s += COUNT_EVERY_S
            try:
                self.count()
                if closing or waited_s >= WRITE_EVERY_S:
                    waited_s = 0.0
                    self.write()
            except RaymaasError as error:
                log.warning("counts for drift are not recorded at the moment: %s", error)
            except Exception:
                log.exception("some rows were not counted for drift")


def _shapes(asked: Asked) -> Hashable:
    """What requests have in common whose rows can be put below one another."""
    inputs, outputs, _ = asked
    return tuple((name, array.shape[1:]) for arrays in (inputs, outputs) for name, array in arrays.items())


def _joined(pieces: Sequence[Arrays], every: Sequence[int]) -> dict[str, np.ndarray]:
    return {
        name: np.concatenate([piece[name][::step] for piece, step in zip(pieces, every, strict=True)])
        for name in pieces[0]
    }
