"""Requests: what each version answered, in chunks that replicas leave in the store, found again by request id.

Chunks lie newest first. A request id that begins with its time, as ids made by the edge and the client do (and
any UUIDv7), leads to the few chunks of that moment; for any other id they are looked through from the newest
on, and not endlessly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice

from raymaas.errors import IntegrityError, InvalidInput, NotFound
from raymaas.registry.chunks import Chunks
from raymaas.registry.layout import REQUESTS, replica_of, requests_key, time_of
from raymaas.registry.once import write_bytes
from raymaas.specs.requests import RequestChunk, RequestRecord
from raymaas.store import Store

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_TIMED_ID = re.compile(r"([0-9a-f]{8})-?([0-9a-f]{4}).*")
_SKEW = timedelta(minutes=2)
_LATEST_CHUNK_AFTER = timedelta(minutes=10)
_CHUNKS_PER_SEARCH = 5000
_READ_IN_A_ROW = 64


class Requests:
    """The request chunks in a store, of all models."""

    def __init__(self, store: Store, *, chunks_per_search: int = _CHUNKS_PER_SEARCH) -> None:
        self._store = store
        self._chunks = Chunks(store, REQUESTS, requests_key)
        self._chunks_per_search = chunks_per_search

    def append(self, chunk: RequestChunk, *, at: datetime) -> None:
        """Keep `chunk`, whose requests were answered until `at` by the store's clock. Repeatable.

        Raises Unavailable or OutcomeUnknown as the store does; then append the same again.
        """
        write_bytes(self._store, requests_key(chunk.model, chunk.version, at, chunk.replica), chunk.seal())

    def find(
        self, model: str, version: int, request_id: str, *, before: datetime | None = None
    ) -> RequestRecord:
        """The request of that id that the version answered, not after `before` when given.

        Of two with one id, the newer. Raises InvalidInput for what is no request id; NotFound when it is not
        recorded, or not among the newest chunks: then the message says how to look further back.
        """
        if not REQUEST_ID.fullmatch(request_id):
            raise InvalidInput(
                f"{request_id[:140]!r} is not a request id: 1 to 128 of A-Z a-z 0-9 . _ -, as in x-request-id"
            )
        told = time_in(request_id)
        if told is not None:
            around = self._chunks.keys(model, version, before=told + _LATEST_CHUNK_AFTER, since=told - _SKEW)
            found = self._search(around, model, version, request_id)
            if found is not None:
                return found
        newest_first = self._chunks.keys(model, version, before=before and before + _SKEW)
        looked = list(islice(newest_first, self._chunks_per_search))
        found = self._search(looked, model, version, request_id)
        if found is None:
            raise self._unknown(model, version, request_id, more=next(newest_first, None))
        return found

    def model_of(self, request_id: str) -> str:
        """The model that answered the request of that id, of whichever version.

        Raises InvalidInput for an id that does not begin with its time, and NotFound when it is not recorded (yet).
        """
        told = time_in(request_id) if REQUEST_ID.fullmatch(request_id) else None
        if told is None:
            raise InvalidInput(
                f"{request_id[:140]!r} does not begin with its time, as ids that raymaas makes do; say which model"
            )
        for model, version in self._chunks.versions():
            around = self._chunks.keys(model, version, before=told + _LATEST_CHUNK_AFTER, since=told - _SKEW)
            if self._search(around, model, version, request_id) is not None:
                return model
        raise NotFound(
            f"no model's log has the request {request_id!r}; it is recorded some seconds after its answer: try again,"
            " or say which model"
        )

    def since(self, moment: datetime, *, model: str | None = None) -> Iterator[RequestChunk]:
        """The chunks, of all versions or of one model's, that may hold requests answered after `moment`.

        Raises InvalidInput when there are too many to read at once, before any is read.
        """
        found = list(islice(self._keys_since(moment, model), self._chunks_per_search + 1))
        if len(found) > self._chunks_per_search:
            raise InvalidInput(
                f"more than {self._chunks_per_search} pieces of the request log are younger than"
                f" {moment.isoformat(timespec='seconds')}; ask for a shorter time, or for one model"
            )
        for key, raw in self._chunks.read(found):
            yield RequestChunk.unseal(raw, source=key)

    def after(
        self, model: str, version: int, *, since: datetime, read: Mapping[str, datetime]
    ) -> Iterator[tuple[datetime, RequestChunk]]:
        """The chunks of a version after `since`, newest first, with their times; of a replica in `read` after that."""
        keys = [
            key
            for key in self._chunks.keys(model, version, since=since)
            if time_of(key) > max(since, read.get(replica_of(key), since))
        ]
        for key, raw in self._chunks.read(keys):
            yield time_of(key), RequestChunk.unseal(raw, source=key)

    def older_than(self, moment: datetime) -> Iterator[str]:
        """Keys of the chunks of all versions whose requests were answered before `moment`."""
        return self._chunks.older_than(moment)

    def _keys_since(self, moment: datetime, only: str | None) -> Iterator[str]:
        for model, version in self._chunks.versions():
            if only in (None, model):
                yield from self._chunks.keys(model, version, since=moment)

    def _search(self, keys: Iterable[str], model: str, version: int, request_id: str) -> RequestRecord | None:
        wanted = request_id.encode()
        pending = iter(keys)
        while batch := list(islice(pending, _READ_IN_A_ROW)):
            for key, raw in self._chunks.read(batch):
                # Most chunks are other requests': only one that holds the id is worth parsing.
                if wanted not in raw:
                    continue
                chunk = RequestChunk.unseal(raw, source=key)
                if (chunk.model, chunk.version) != (model, version):
                    raise IntegrityError(f"{key} holds requests of {chunk.model}@{chunk.version}")
                if request_id in chunk.request_ids:
                    return record_of(chunk, request_id)
        return None

    def _unknown(self, model: str, version: int, request_id: str, *, more: str | None) -> NotFound:
        sentence = f"no request {request_id!r} is recorded of {model}@{version}"
        if more is not None:
            back_to = time_of(more).isoformat(timespec="seconds")
            return NotFound(f"{sentence} since {back_to}; say before={back_to} to look further back")
        return NotFound(
            f"{sentence}; requests are recorded some seconds after their answer, under the version that gave"
            " it, and kept for the days of the setting keep_requests_days"
        )


def time_in(request_id: str) -> datetime | None:
    """The time that a request id begins with: 12 hexadecimal digits, milliseconds since 1970, as in a UUIDv7.

    None for an id without one. A random id may look as if it had one; nothing may depend on it.
    """
    match = _TIMED_ID.fullmatch(request_id)
    milliseconds = int(match[1] + match[2], 16) if match else 0
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=min(milliseconds, 10**14))
    return moment if 2020 <= moment.year < 2100 else None


def record_of(chunk: RequestChunk, request_id: str) -> RequestRecord:
    """The last request of that id in `chunk`, which has one."""
    row = len(chunk.request_ids) - 1 - chunk.request_ids[::-1].index(request_id)
    return RequestRecord(
        request_id=request_id,
        at=datetime.fromtimestamp(chunk.at_ms[row] / 1000, UTC),
        model=chunk.model,
        version=chunk.version,
        replica=chunk.replica,
        status=chunk.statuses[row],
        milliseconds=chunk.microseconds[row] / 1000,
        rows=chunk.rows[row],
        key_id=chunk.key_of(row),
        shadow=row in chunk.shadows,
    )
