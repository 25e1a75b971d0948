"""A create-only log: numbered documents in a folder, of which the newest is the truth.

Keys carry a fixed-width inverted counter, so the smallest key is the newest entry and asking the store for
one key costs the same at ten entries as at a million. Its last three digits are a segment of their own, so that
a folder on a local disk, which is listed whole, never has more than a thousand entries before the millionth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from raymaas.errors import IntegrityError, InvalidInput, NotFound
from raymaas.registry.once import Entry, write_document
from raymaas.store import Store

_DIGITS = 12
_LARGEST: int = 10**_DIGITS - 1
_FANNED_OUT = 3
_PAGE = 1000
_READ_AT_ONCE = 8
_KEY = re.compile(rf"(?:.*/)?([0-9]{{{_DIGITS - _FANNED_OUT}}})/([0-9]{{{_FANNED_OUT}}})\.json")


def sequence_key(sequence: int) -> str:
    """The inverted counter of entry `sequence` (from 1): greater sequences give smaller keys."""
    if not 1 <= sequence <= _LARGEST:
        raise InvalidInput(f"sequence must be 1 to {_LARGEST}, got {sequence}")
    digits = f"{_LARGEST - sequence:0{_DIGITS}d}"
    return f"{digits[:-_FANNED_OUT]}/{digits[-_FANNED_OUT:]}"


def sequence_of(key: str) -> int:
    """The sequence in a key such as `models/x/state/999999999/996.json`. Raises IntegrityError for others."""
    match = _KEY.fullmatch(key)
    sequence = _LARGEST - int(match[1] + match[2]) if match else 0
    if sequence == 0:
        raise IntegrityError(
            f"{key} is not an entry of a log: an older raymaas wrote it so; or it is none of raymaas, then remove it"
        )
    return sequence


E = TypeVar("E", bound=Entry)


@dataclass(frozen=True)
class Log(Generic[E]):
    """The log in `folder`. `place` gives the key where an entry must lie; one found elsewhere is refused."""

    store: Store
    folder: str
    document: type[E]
    place: Callable[[E], str]

    def newest_sequence(self) -> int:
        """The sequence of the newest entry; 0 while the log is empty."""
        key = self.store.first(self.folder)
        return 0 if key is None else sequence_of(key)

    def newest(self) -> E | None:
        key = self.store.first(self.folder)
        return None if key is None else self._read(key)

    def find(self, sequence: int) -> E | None:
        try:
            return self._read(self._key(sequence))
        except NotFound:
            return None

    def append(self, entry: E) -> None:
        """Write `entry` at its place. Repeating it with the same `write_id` is harmless.

        Raises AlreadyExists when another entry is there, Unavailable when nothing was written, and
        OutcomeUnknown when it cannot be told which: then append the same entry again.
        """
        write_document(self.store, self.place(entry), entry)

    def entries(self, *, limit: int, before: int | None = None) -> list[E]:
        """Up to `limit` entries, newest first, from the newest or from the one before sequence `before`."""
        after = None if before is None else self._key(before)
        return self._read_all(self.store.list(self.folder, after=after, limit=limit))

    def read(self, sequences: Iterable[int]) -> list[E]:
        """Those entries, which must be there, in the order given. Raises NotFound."""
        return self._read_all([self._key(sequence) for sequence in sequences])

    def sequences(self, *, newest: int, oldest: int = 1) -> Iterator[int]:
        """The sequences there are from `newest` down to `oldest`; no entry is read."""
        after = self._key(newest + 1)
        while True:
            page = self.store.list(self.folder, after=after, limit=_PAGE)
            for key in page:
                sequence = sequence_of(key)
                if sequence < oldest:
                    return
                yield sequence
            if len(page) < _PAGE:
                return
            after = page[-1]

    def _key(self, sequence: int) -> str:
        return f"{self.folder}{sequence_key(sequence)}.json"

    def _read_all(self, keys: Sequence[str]) -> list[E]:
        with ThreadPoolExecutor(max_workers=_READ_AT_ONCE) as pool:
            return list(pool.map(self._read, keys))

    def _read(self, key: str) -> E:
        entry = self.document.unseal(self.store.read(key), source=key)
        if self.place(entry) != key:
            raise IntegrityError(
                f"{key} holds the document of {self.place(entry)}; nothing was loaded from it"
            )
        return entry
