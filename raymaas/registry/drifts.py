"""Drifts: the counts that replicas leave in the store of what they were asked and answered, held against references."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from raymaas.errors import InvalidInput
from raymaas.registry.chunks import Chunks
from raymaas.registry.layout import DRIFT, drift_key
from raymaas.registry.once import write_bytes
from raymaas.specs.drift import DriftCounts
from raymaas.store import Store

_CHUNKS_PER_SUM = 20_000


class Drifts:
    """The drift counts in a store, of all models."""

    def __init__(self, store: Store, *, chunks_per_sum: int = _CHUNKS_PER_SUM) -> None:
        self._store = store
        self._chunks = Chunks(store, DRIFT, drift_key)
        self._chunks_per_sum = chunks_per_sum

    def append(self, counts: DriftCounts) -> None:
        """Keep `counts`. Repeatable. Raises Unavailable or OutcomeUnknown as the store does; then append them again."""
        key = drift_key(counts.model, counts.version, counts.until, counts.replica)
        write_bytes(self._store, key, counts.seal())

    def since(self, moment: datetime, *, model: str, version: int) -> Iterator[DriftCounts]:
        """The counts of a version that hold rows from after `moment`, newest first.

        Raises InvalidInput when there are too many to read at once, before any is read.
        """
        newest_first = self._chunks.keys(model, version, since=moment)
        found = list(islice(newest_first, self._chunks_per_sum + 1))
        if len(found) > self._chunks_per_sum:
            raise InvalidInput(
                f"more than {self._chunks_per_sum} counts of {model}@{version} are younger than"
                f" {moment.isoformat(timespec='seconds')}; ask for a shorter time"
            )
        for key, raw in self._chunks.read(found):
            yield DriftCounts.unseal(raw, source=key)

    def older_than(self, moment: datetime) -> Iterator[str]:
        """Keys of the counts of all versions whose rows were answered before `moment`."""
        return self._chunks.older_than(moment)
