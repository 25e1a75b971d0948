"""Usage of a store's models: requests and rows by API key and version, summed over the request logs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from raymaas.errors import NotFound
from raymaas.registry.keys import Keys
from raymaas.registry.requests import Requests
from raymaas.specs.keys import KeyRing, known_as, without_secret
from raymaas.specs.requests import RequestChunk
from raymaas.specs.usage import Usage, UsageLine
from raymaas.store import Store

_CHUNKS_PER_SUM = 20_000
_FIRST_ERROR = 400

Asked = tuple[str | None, str, int]
"""Key id, model, version."""


@dataclass(frozen=True)
class Asking:
    """What usage to sum: from `since` on, of one model and of one key or caller, or of all."""

    since: datetime
    model: str | None = None
    key: str | None = None
    """A caller's name, or the id of one key, `rmk_` and eight digits."""


Figures = np.ndarray
"""Requests, errors and rows."""


class Usages:
    """The usage of a store's models, as far back as its request logs are kept."""

    def __init__(self, store: Store, keys: Keys, *, chunks_per_sum: int = _CHUNKS_PER_SUM) -> None:
        self._store, self._keys = store, keys
        self._requests = Requests(store, chunks_per_search=chunks_per_sum)

    def of(self, asking: Asking) -> Usage:
        """Reads every piece of the request logs since then, which takes a millisecond each, or some for a full one.

        Raises NotFound for a key there never was, and InvalidInput when the time is too long to be summed at once.
        """
        until = self._store.now()
        ring = self._keys.ring()
        wanted = _wanted(ring, asking.key)
        counts: dict[Asked, Figures] = defaultdict(lambda: np.zeros(3, np.int64))
        unrecorded = 0
        for chunk in self._requests.since(asking.since, model=asking.model):
            unrecorded += chunk.dropped
            for key_id, figures in _by_key(chunk, since=asking.since):
                counts[key_id, chunk.model, chunk.version] += figures
        lines = [
            _line(asked, ring, figures)
            for asked, figures in counts.items()
            if wanted is None or asked[0] in wanted
        ]
        lines.sort(key=lambda line: (line.name, line.key_id or "", line.model, line.version))
        return Usage(since=asking.since, until=until, lines=tuple(lines), unrecorded=unrecorded)


def _by_key(chunk: RequestChunk, *, since: datetime) -> Iterator[tuple[str | None, Figures]]:
    """The figures of each key that has requests in `chunk` since then. Nobody asked for copies."""
    late_N = np.array(chunk.at_ms) >= since.timestamp() * 1000
    late_N[list(chunk.shadows)] = False
    with_N = np.array(chunk.asked_with)[late_N]
    errors_N = np.array(chunk.statuses)[late_N] >= _FIRST_ERROR
    rows_N = np.array([rows or 0 for rows in chunk.rows])[late_N]
    for number in np.unique(with_N).tolist():
        of_key = with_N == number
        key_id = chunk.key_ids[number - 1] if number else None
        yield key_id, np.array([of_key.sum(), errors_N[of_key].sum(), rows_N[of_key].sum()])


def _wanted(ring: KeyRing | None, key: str | None) -> set[str] | None:
    """The ids of the keys asked about; None: of all."""
    if key is None:
        return None
    found = {one.key_id for one in known_as(ring.keys if ring else (), key)}
    if not found:
        raise NotFound(
            f"there is no key of the name or id {without_secret(key)!r}; `raymaas keys list` shows those there are"
        )
    return found


def _line(asked: Asked, ring: KeyRing | None, figures: Figures) -> UsageLine:
    key_id, model, version = asked
    requests, errors, rows = figures.tolist()
    name = ring.name_of(key_id) if ring and key_id else ""
    return UsageLine(
        key_id=key_id, name=name, model=model, version=version, requests=requests, errors=errors, rows=rows
    )
