"""The result cache: answers that were given before, kept in memory to be given again.

An answer is found by the version that gave it and by all bytes that decide it, so it is the very same one, form and
`id` included, and never another version's. What is computed is a function of the request alone, or it could not be
kept. Encoded bodies are kept, not arrays: decoding a request costs more than looking up its digest, and often more
than the model.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

_ENTRY_BYTES = 400  # of a key, its entry and an answer's own fields


class Sized(Protocol):
    """What is kept: something with a body."""

    @property
    def body(self) -> bytes: ...


AnswerT = TypeVar("AnswerT", bound=Sized)


@dataclass(frozen=True)
class CacheFigures:
    """What a cache did since it was made, and what it holds."""

    hits: int
    misses: int
    entries: int
    bytes: int


class ResultCache(Generic[AnswerT]):
    """At most `max_bytes` of the answers that were last asked for. Of 0 bytes it keeps nothing and counts nothing.

    May be used from several threads.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Hashable, AnswerT] = OrderedDict()
        self._bytes = self._hits = self._misses = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self._max_bytes > 0

    def get(self, key: Hashable) -> AnswerT | None:
        with self._lock:
            answer = self._kept.get(key)
            if answer is None:
                self._misses += 1
            else:
                self._hits += 1
                self._kept.move_to_end(key)
            return answer

    def put(self, key: Hashable, answer: AnswerT) -> None:
        """Keep it, and forget those asked for longest ago until there is room. What is too large is not kept."""
        size = _ENTRY_BYTES + len(answer.body)
        with self._lock:
            if size > self._max_bytes or key in self._kept:
                return
            self._kept[key] = answer
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, forgotten = self._kept.popitem(last=False)
                self._bytes -= _ENTRY_BYTES + len(forgotten.body)

    def figures(self) -> CacheFigures:
        with self._lock:
            return CacheFigures(self._hits, self._misses, len(self._kept), self._bytes)


def key_of(version: str, method: str, body: bytes, how: Hashable) -> Hashable:
    """What an answer is kept by: `version` with its model, such as digits@3, and a digest of the body.

    `how` is all else that decides its bytes. A digest that cannot be forged, because callers share the cache.
    """
    return version, method, how, hashlib.sha256(body).digest()
