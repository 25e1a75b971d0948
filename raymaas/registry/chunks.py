"""Chunks: what replicas leave in the store every so often, by version and newest first, and how it is read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from raymaas.errors import NotFound
from raymaas.registry.layout import time_of
from raymaas.store import Store

_READ_AT_ONCE = 16
_PAGE = 1000

KeyAt = Callable[[str, int, datetime, str], str]
"""The key of a model's version, a time and a replica; its last segment begins with the time, inverted."""


class Chunks:
    """The chunks below the folder `root` of a store, which are at `<root><model>/<version>/`, as `key_at` says."""

    def __init__(self, store: Store, root: str, key_at: KeyAt) -> None:
        self._store, self._root, self._key_at = store, root, key_at

    def versions(self) -> Iterator[tuple[str, int]]:
        """Model and version of whatever has chunks."""
        for model in self._store.children(self._root):
            for version in self._store.children(f"{self._root}{model}/"):
                yield model, int(version)

    def keys(
        self, model: str, version: int, *, before: datetime | None = None, since: datetime | None = None
    ) -> Iterator[str]:
        """Of one version, newest first."""
        after = None if before is None else self._key_at(model, version, before, "0")
        return keys_between(self._store, f"{self._root}{model}/{version}/", after=after, since=since)

    def older_than(self, moment: datetime) -> Iterator[str]:
        """Keys of the chunks of all versions that are from before `moment`."""
        for model, version in self.versions():
            yield from self.keys(model, version, before=moment)

    def read(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """What lies at each of `keys` that is there still, several being read at a time."""
        return read_those_left(self._store, keys)


def keys_between(
    store: Store, folder: str, *, after: str | None, since: datetime | None = None
) -> Iterator[str]:
    """The keys of a folder's chunks, newest first: those behind `after`, and until one is older than `since`."""
    while True:
        page = store.list(folder, after=after, limit=_PAGE)
        for key in page:
            if since is not None and time_of(key) < since:
                return
            yield key
        if len(page) < _PAGE:
            return
        after = page[-1]


def read_those_left(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """What lies at each of `keys` that is there still, several being read at a time."""

    def raw_of(key: str) -> bytes:
        try:
            return store.read(key)
        except NotFound:
            return b""  # Its time was over between listing and reading.

    with ThreadPoolExecutor(max_workers=_READ_AT_ONCE) as pool:
        listed = list(keys)
        for key, raw in zip(listed, pool.map(raw_of, listed), strict=True):
            if raw:
                yield key, raw
