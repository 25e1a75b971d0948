"""The feedback log: what turned out to be true of a model's answers, one chunk for each write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from raymaas.errors import InvalidInput
from raymaas.registry.chunks import keys_between, read_those_left
from raymaas.registry.layout import feedback_folder, feedback_key
from raymaas.registry.once import new_write_id, write_bytes
from raymaas.registry.samples import SAMPLE_COLUMNS, Samples
from raymaas.registry.tables import from_parquet, joined, to_parquet
from raymaas.specs.feedback import Feedback
from raymaas.store import Store

_CHUNKS_PER_TABLE = 200_000
_TICK = timedelta(microseconds=1)

FEEDBACK_COLUMNS = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),
        ("label", pa.string()),
        ("reward", pa.float64()),
        ("at", pa.timestamp("us", "UTC")),
    ]
)


class FeedbackLog:
    """The feedback in a store, on answers of all models."""

    def __init__(self, store: Store, *, chunks_per_table: int = _CHUNKS_PER_TABLE) -> None:
        self._store = store
        self._chunks_per_table = chunks_per_table
        self._said_until = datetime(1970, 1, 1, tzinfo=UTC)

    def append(self, model: str, items: Sequence[Feedback]) -> None:
        """Keep `items`, in this order, after what was appended before, by one caller at a time.

        Raises Unavailable or OutcomeUnknown as the store does; then append again.
        """
        # The clock of a store may stand still, of a bucket for a second, and what is said last must lie last.
        at = self._said_until = max(self._store.now(), self._said_until + _TICK)
        rows = [{"at": at} | item.model_dump() for item in items]
        key = feedback_key(model, at, new_write_id())
        write_bytes(self._store, key, to_parquet(pa.Table.from_pylist(rows, schema=FEEDBACK_COLUMNS)))

    def table(self, model: str, *, since: datetime, until: datetime | None = None) -> pa.Table:
        """What was said after `since`, not after `until`, in FEEDBACK_COLUMNS: of each row of a request the last, its
        label and its reward each as they were last said.

        Raises InvalidInput when there is too much to read at once, before any is read.
        """
        after = None if until is None else feedback_key(model, until, "0")
        newest_first = keys_between(self._store, feedback_folder(model), after=after, since=since)
        keys = list(islice(newest_first, self._chunks_per_table + 1))
        if len(keys) > self._chunks_per_table:
            raise InvalidInput(
                f"more than {self._chunks_per_table} pieces of feedback on {model} are younger than"
                f" {since.isoformat(timespec='seconds')}; ask for a shorter time"
            )
        said = read_those_left(self._store, reversed(keys))
        oldest_first = joined([from_parquet(raw, source=key) for key, raw in said], FEEDBACK_COLUMNS)
        return _last_said(oldest_first)

    def older_than(self, moment: datetime, *, model: str) -> Iterator[str]:
        """Keys of the chunks from before `moment`."""
        return keys_between(self._store, feedback_folder(model), after=feedback_key(model, moment, "0"))


def _last_said(oldest_first: pa.Table) -> pa.Table:
    ordered = oldest_first.group_by(["request_id", "row"], use_threads=False)
    skipping = pc.ScalarAggregateOptions(skip_nulls=True, min_count=1)
    last = ordered.aggregate([("label", "last", skipping), ("reward", "last", skipping), ("at", "last")])
    named = last.rename_columns([name.removesuffix("_last") for name in last.column_names])
    return named.select(FEEDBACK_COLUMNS.names).cast(FEEDBACK_COLUMNS)


class Judged(NamedTuple):
    """Rows of samples that something was said of, as `with_feedback` gives them, and of how many there were."""

    sampled: int
    rows: pa.Table


def judged(
    samples: Samples,
    said: pa.Table,
    model: str,
    *,
    versions: Sequence[int] | None = None,
    since: datetime,
    until: datetime,
    columns: Sequence[str] | None = None,
) -> Judged:
    """The samples of a model that `said` is about. No others are held in memory; raises as `Samples.pieces`."""
    ids, sampled, kept = set(said["request_id"].to_pylist()), 0, []
    for piece in samples.pieces(model, versions=versions, since=since, until=until, columns=columns):
        sampled += len(piece)
        found = [one in ids for one in piece["request_id"].to_pylist()]
        if any(found):
            kept.append(piece.filter(pa.array(found)))
    rows = joined(kept, pa.schema([*SAMPLE_COLUMNS, ("version", pa.int32())]))
    return Judged(sampled, with_feedback(rows, said))


def with_feedback(sampled: pa.Table, said: pa.Table) -> pa.Table:
    """The sampled rows that something was said of, with `label` and `reward`, in the order in which they were answered.

    Columns of `sampled` are those of `registry.samples`, of `said` FEEDBACK_COLUMNS. Where a caller used a request id
    twice it is the last row: that is the answer it knows of.
    """
    rows = sampled.sort_by([("at", "ascending"), ("request_id", "ascending"), ("row", "ascending")])
    # Arrow joins no tables with lists in them: places are joined, and the rows taken by them.
    places = pa.table(
        {
            "request_id": rows["request_id"],
            "row": rows["row"],
            "place": pa.array(range(len(rows)), pa.int64()),
        }
    )
    keys = ["request_id", "row"]
    found = places.join(said.select([*keys, "label", "reward"]), keys, join_type="inner")
    found = found.sort_by("place").group_by(keys, use_threads=False)
    found = found.aggregate([("place", "last"), ("label", "last"), ("reward", "last")]).sort_by("place_last")
    taken = rows.take(found["place_last"])
    return taken.append_column("label", found["label_last"]).append_column("reward", found["reward_last"])
