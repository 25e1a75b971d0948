"""Blobs: bytes kept under their SHA-256, so writing them again is harmless and reading them is checked."""

from __future__ import annotations

from raymaas.errors import AlreadyExists, IntegrityError, NotFound
from raymaas.registry.once import write_bytes
from raymaas.specs.base import sha256_hex
from raymaas.specs.versions import FileEntry
from raymaas.store import Store


class Blobs:
    """The blobs of a store, shared by all models. `name` in each call is the file's name, for messages."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, data: bytes, *, name: str) -> FileEntry:
        """Keep `data`; afterwards `get` of the entry returned gives it back.

        Raises IntegrityError when a damaged blob lies in its place, and Unavailable or OutcomeUnknown as the
        store does; then put it again.
        """
        entry = FileEntry(sha256=sha256_hex(data), bytes=len(data))
        try:
            write_bytes(self._store, blob_key(entry.sha256), data)
        except AlreadyExists:
            raise self._damaged(entry, name) from None
        return entry

    def get(self, entry: FileEntry, *, name: str) -> bytes:
        """The bytes that were put, or IntegrityError naming the file when they are missing or differ."""
        key = blob_key(entry.sha256)
        try:
            data = self._store.read(key)
        except NotFound:
            raise IntegrityError(f"{name} is missing: there is no {key} in {self._store.url}") from None
        if len(data) != entry.bytes or sha256_hex(data) != entry.sha256:
            raise self._damaged(entry, name)
        return data

    def _damaged(self, entry: FileEntry, name: str) -> IntegrityError:
        return IntegrityError(
            f"{name} is damaged: {blob_key(entry.sha256)} in {self._store.url} is not what was published;"
            " nothing was loaded"
        )


def blob_key(sha256: str) -> str:
    return f"blobs/sha256/{sha256}"
