"""Blobs: bytes kept under their SHA-256, so equal files are stored once and reading them is checked.

A blob may lie in several copies, each under a key of its own: the time its upload began, by the store's
clock, and a random word. No key is ever written twice, so what garbage collection takes away cannot be what
a publisher has just put there, however late the delete arrives. An old copy may be collected at any moment;
a publisher therefore reuses a copy only while it is younger than half the grace period, and must commit the
document that names it within the other half.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

from raymaas.errors import IntegrityError, NotFound
from raymaas.registry.cache import BlobCache
from raymaas.registry.layout import blob_folder, blob_key, inverted_time, time_of
from raymaas.registry.once import write_bytes
from raymaas.specs.base import sha256_hex
from raymaas.specs.versions import FileEntry
from raymaas.store import Store

GRACE = timedelta(days=1)
"""No blob younger than this is ever collected. Everyone who shares a store goes by the same period."""

_AT_ONCE = 8

OnKept = Callable[[str, int], None]
"""Told the name and bytes of each file when it is in the store, from any thread."""


class Blobs:
    """The blobs of a store, shared by all models. `name` in each call is the file's name, for messages."""

    def __init__(self, store: Store, *, grace: timedelta = GRACE, cache: BlobCache | None = None) -> None:
        self._store = store
        self._cache = cache
        self.grace = grace

    def put(self, data: bytes, *, name: str) -> FileEntry:
        """Keep `data`; afterwards `get` of the entry returned gives it back.

        A copy that is young enough and whole is reused. Raises Unavailable or OutcomeUnknown as the store
        does; then put it again.
        """
        return self._put(data, name=name, now=self._store.now())

    def put_all(
        self, files: Mapping[str, bytes], *, on_kept: OnKept | None = None
    ) -> tuple[dict[str, FileEntry], datetime]:
        """Keep all `files`, several at a time; gives their entries and until when a document may name them.

        That moment is by the store's clock; after it, put them again. Raises as `put`.
        """
        now = self._store.now()

        def keep(name: str) -> FileEntry:
            entry = self._put(files[name], name=name, now=now)
            if on_kept is not None:
                on_kept(name, entry.bytes)
            return entry

        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, max(1, len(files)))) as pool:
            entries = dict(zip(files, pool.map(keep, files), strict=True))
        return entries, now + self.grace / 2

    def get(self, entry: FileEntry, *, name: str) -> bytes:
        """The bytes that were put, from the cache if they are there, else from the store.

        Raises IntegrityError naming the file when they are missing in the store or differ.
        """
        cached = self._cache.get(entry) if self._cache else None
        if cached is not None:
            return cached
        data = self._from_store(entry, name)
        if self._cache:
            self._cache.put(entry, data)
        return data

    def _from_store(self, entry: FileEntry, name: str) -> bytes:
        key = blob_key(entry)
        try:
            data = self._store.read(key)
        except NotFound:
            raise IntegrityError(f"{name} is missing: there is no {key} in {self._store.url}") from None
        if len(data) != entry.bytes or sha256_hex(data) != entry.sha256:
            raise IntegrityError(
                f"{name} is damaged: {key} in {self._store.url} is not what was published; nothing was loaded"
            )
        return data

    def _put(self, data: bytes, *, name: str, now: datetime) -> FileEntry:
        sha256 = sha256_hex(data)
        newest = self._store.first(blob_folder(sha256))
        if newest is not None and now - time_of(newest) < self.grace / 2:
            young = FileEntry(sha256=sha256, bytes=len(data), copy_id=newest.rpartition("/")[2])
            with suppress(IntegrityError):
                self._from_store(young, name)
                return young
        made = FileEntry(
            sha256=sha256, bytes=len(data), copy_id=f"{inverted_time(now)}-{secrets.token_hex(8)}"
        )
        write_bytes(self._store, blob_key(made), data)
        return made
