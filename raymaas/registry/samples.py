"""Samples: what some requests of a version asked and were answered, in chunks that replicas leave in the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

import pyarrow as pa

from raymaas.errors import InvalidInput
from raymaas.registry.chunks import Chunks
from raymaas.registry.layout import SAMPLES, samples_key
from raymaas.registry.once import write_bytes
from raymaas.registry.tables import from_parquet, joined, to_parquet
from raymaas.store import Store

_CHUNKS_PER_TABLE = 100_000
_AT = pa.timestamp("us", "UTC")
_SENT = [("request_id", pa.string()), ("row", pa.int32()), ("at", _AT)]

SAMPLE_COLUMNS = pa.schema(_SENT)
"""Of what a replica samples: request, which of its rows, and when. One `in.NAME` for each input and one `out.NAME` for
each output follow: single values, or the numbers of a row in a list."""


class Samples:
    """The samples in a store, of all models."""

    def __init__(self, store: Store, *, chunks_per_table: int = _CHUNKS_PER_TABLE) -> None:
        self._store = store
        self._chunks = Chunks(store, SAMPLES, samples_key)
        self._chunks_per_table = chunks_per_table

    def append(self, model: str, version: int, rows: pa.Table, *, replica: str, at: datetime) -> None:
        """Keep `rows`, which were sampled until `at` by the store's clock. Repeatable.

        Raises Unavailable or OutcomeUnknown as the store does; then append the same again.
        """
        write_bytes(self._store, samples_key(model, version, at, replica), to_parquet(rows))

    def versions(self, model: str) -> list[int]:
        """Those of which anything is kept, ascending."""
        return sorted(int(version) for version in self._store.children(f"{SAMPLES}{model}/"))

    def table(
        self,
        model: str,
        *,
        versions: Sequence[int] | None = None,
        since: datetime,
        until: datetime | None = None,
    ) -> pa.Table:
        """Rows that were asked after `since`, not after `until`, of these versions or all, newest chunks first.

        Columns are SAMPLE_COLUMNS, `version` (int32), then `in.NAME` and `out.NAME`; what a sampling rule drops is
        missing, and what it hashes is text. Raises as `pieces`.
        """
        pieces = self.pieces(model, versions=versions, since=since, until=until)
        return joined(list(pieces), pa.schema([*SAMPLE_COLUMNS, ("version", pa.int32())]))

    def pieces(
        self,
        model: str,
        *,
        versions: Sequence[int] | None = None,
        since: datetime,
        until: datetime | None = None,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:
        """The same chunk by chunk, all columns or, of inputs and outputs, only `columns`.

        Raises InvalidInput when there are too many chunks of a version, before any of it is read, and IntegrityError
        for one that was damaged.
        """
        wanted = None if columns is None else [*SAMPLE_COLUMNS.names, *columns]
        for version in self.versions(model) if versions is None else versions:
            keys = list(islice(self._chunks.keys(model, version, since=since), self._chunks_per_table + 1))
            if len(keys) > self._chunks_per_table:
                raise InvalidInput(
                    f"more than {self._chunks_per_table} pieces of the samples of {model}@{version} are younger than"
                    f" {since.isoformat(timespec='seconds')}; ask for a shorter time"
                )
            for key, raw in self._chunks.read(keys):
                rows = _between(from_parquet(raw, source=key, columns=wanted), since, until)
                yield rows.append_column("version", pa.array([version] * len(rows), pa.int32()))

    def older_than(self, moment: datetime, *, model: str) -> Iterator[str]:
        """Keys of the model's chunks that are from before `moment`."""
        for version in self.versions(model):
            yield from self._chunks.keys(model, version, before=moment)


def _between(rows: pa.Table, since: datetime, until: datetime | None) -> pa.Table:
    import pyarrow.compute as pc

    kept = pc.greater(rows["at"], pa.scalar(since, _AT))
    if until is not None:
        kept = pc.and_(kept, pc.less_equal(rows["at"], pa.scalar(until, _AT)))
    return rows.filter(kept)
