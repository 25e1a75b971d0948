"""Fronts: what a search has found so far, as files that are replaced while it goes on and settled when it is over.

No key is written twice: while it goes on each state of a file is a new key and the one before is deleted, and the
last lies at a key of its own, `runs/<run>/front.html`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from raymaas.errors import AlreadyExists, NotFound
from raymaas.registry.layout import front_key, moving_front_folder, moving_front_key
from raymaas.registry.log import sequence_of
from raymaas.specs.runs import RunFile
from raymaas.store import Store

_KINDS = ("csv", "png", "html")
FRONT_FILES = tuple(f"front.{kind}" for kind in _KINDS)
_TRIES = 5

T = TypeVar("T")


class Fronts:
    """The files of the front of one run in a store. One process at a time writes them."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self.run_id = run_id

    def replace(self, name: str, data: bytes) -> None:
        """Afterwards `data` is what is read, unless the file was settled. `name` is one of FRONT_FILES."""
        kind = _kind(name)
        newest = self._newest(kind)
        self._store.create(moving_front_key(self.run_id, kind, newest + 1), data)
        if newest:
            self._store.delete(moving_front_key(self.run_id, kind, newest))

    def settle(self, name: str, data: bytes) -> None:
        """Afterwards the file never changes again. One that was settled stays as it is."""
        kind = _kind(name)
        with suppress(AlreadyExists):
            self._store.create(front_key(self.run_id, kind), data)
        while newest := self._newest(kind):
            self._store.delete(moving_front_key(self.run_id, kind, newest))

    def read(self, name: str) -> bytes:
        """The newest state of a file. Raises NotFound while there is none."""
        return self._found(_kind(name), self._store.read)

    def list(self) -> tuple[RunFile, ...]:
        """Those there are."""
        found = []
        for kind in _KINDS:
            with suppress(NotFound):
                found.append(RunFile(name=f"front.{kind}", bytes=self._found(kind, self._store.size)))
        return tuple(found)

    def _found(self, kind: str, look: Callable[[str], T]) -> T:
        """What `look` finds at the key of the newest state. Raises NotFound while there is none."""
        for _ in range(_TRIES):
            with suppress(NotFound):  # replaced, or settled, since it was looked up
                return look(self._place(kind))
        raise NotFound(f"run {self.run_id!r} has no front.{kind}")

    def _place(self, kind: str) -> str:
        settled = front_key(self.run_id, kind)
        if self._store.exists(settled):
            return settled
        newest = self._newest(kind)
        if not newest:
            raise NotFound(f"run {self.run_id!r} has no front.{kind}")
        return moving_front_key(self.run_id, kind, newest)

    def _newest(self, kind: str) -> int:
        """The counter of the newest state; 0 when there is none."""
        key = self._store.first(moving_front_folder(self.run_id, kind))
        return 0 if key is None else sequence_of(f"{key}.json")


def _kind(name: str) -> str:
    kind = name.removeprefix("front.")
    if kind not in _KINDS:
        raise NotFound(f"{name!r} is no file of a front; they are {', '.join(FRONT_FILES)}")
    return kind
