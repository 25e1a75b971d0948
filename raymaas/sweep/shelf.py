"""A shelf: what one trial made and another may need, kept by an actor while the search lasts, within a limit.

Values lie in Ray's object store; the actor holds references, and lets go of those that were not asked for longest.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError


@dataclass(frozen=True)
class Shelf:
    """The handle that trials are given. What was lost with its process is as if it had never been kept."""

    _holder: Any

    @classmethod
    def of(cls, *, limit_bytes: int) -> Shelf:
        """An empty one; it lasts as long as this process."""
        return cls(ray.remote(num_cpus=0)(_Holder).remote(limit_bytes))

    def keep(self, key: str, value: object, *, nbytes: int) -> None:
        """Keep `value`, which takes about `nbytes`, unless there is one of that key or it alone is over the limit."""
        with suppress(RayError):
            # In a list Ray hands on the reference; by itself it would hand on the value.
            ray.get(self._holder.keep.remote(key, [ray.put(value)], nbytes))

    def find(self, key: str) -> Any:
        """What was kept, or None."""
        try:
            found = ray.get(self._holder.find.remote(key))
            return ray.get(found[0]) if found else None
        except RayError:
            return None


class _Holder:
    def __init__(self, limit_bytes: int) -> None:
        self._limit = self._left = limit_bytes
        self._kept: OrderedDict[str, tuple[list[Any], int]] = OrderedDict()

    def keep(self, key: str, value: list[Any], nbytes: int) -> None:
        if key in self._kept or nbytes > self._limit:
            return
        self._kept[key] = (value, nbytes)
        self._left -= nbytes
        while self._left < 0:
            _, (_, freed) = self._kept.popitem(last=False)
            self._left += freed

    def find(self, key: str) -> list[Any] | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]
