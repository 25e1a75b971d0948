"""MemoryStore: a store inside one process, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from raymaas.errors import InvalidInput
from raymaas.store.contract import (
    absent,
    check_key,
    check_limit,
    check_prefix,
    check_range,
    held,
    is_a_folder,
    lies_below_a_key,
)

if TYPE_CHECKING:
    import pyarrow.fs


class MemoryStore:
    """A store inside one process, for tests; `clock` is its clock."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._held: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return "memory://"

    def read(self, key: str) -> bytes:
        try:
            return self._held[check_key(key)]
        except KeyError:
            raise absent(key, self.url) from None

    def read_range(self, key: str, *, start: int, length: int) -> bytes:
        check_range(start, length)
        return self.read(key)[start : start + length]

    def size(self, key: str) -> int:
        return len(self.read(key))

    def exists(self, key: str) -> bool:
        return check_key(key) in self._held

    def create(self, key: str, data: bytes) -> None:
        segments = check_key(key).split("/")
        with self._lock:
            if key in self._held:
                raise held(key)
            if any(other.startswith(f"{key}/") for other in self._held):
                raise is_a_folder(key)
            if any("/".join(segments[:n]) in self._held for n in range(1, len(segments))):
                raise lies_below_a_key(key)
            self._held[key] = bytes(data)

    def first(self, prefix: str) -> str | None:
        return next(iter(self.list(prefix, limit=1)), None)

    def children(self, prefix: str) -> list[str]:
        rests = (key[len(prefix) :] for key in self._under(prefix))
        return sorted({rest.partition("/")[0] for rest in rests if "/" in rest})

    def delete(self, key: str) -> None:
        with self._lock:
            self._held.pop(check_key(key), None)

    def now(self) -> datetime:
        return self._clock().astimezone(UTC)

    def arrow_filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        raise InvalidInput(
            "a memory store lives inside one process; Arrow and Ray Train need file:// or s3://"
        )

    def _under(self, prefix: str) -> list[str]:
        check_prefix(prefix)
        with self._lock:
            return sorted(key for key in self._held if key.startswith(prefix))

    def list(self, prefix: str, *, after: str | None = None, limit: int = 1000) -> list[str]:
        return [key for key in self._under(prefix) if key > (after or "")][: check_limit(limit)]
