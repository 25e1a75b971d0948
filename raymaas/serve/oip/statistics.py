"""Statistics: what a replica has answered since it started, and how long the parts of that took.

Source: Triton's statistics extension. Other replicas of the same version count for themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raymaas.serve.load import LoadFigures


@dataclass
class _Duration:
    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    def as_json(self) -> dict[str, int]:
        return {"count": self.count, "ns": round(self.seconds * 1e9)}


class Statistics:
    """Counts of one replica. It may be told by several threads: a replica answers in two lanes.

    `load` says what the queue before the model has done; without it requests are counted, and not the batches that
    were made of them.
    """

    def __init__(self, load: Callable[[], LoadFigures] | None = None) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._rows = 0
        self._success, self._fail, self._repeated = _Duration(), _Duration(), _Duration()
        self._reading, self._computing, self._writing = _Duration(), _Duration(), _Duration()

    def answered(self, *, rows: int, reading_s: float, computing_s: float, writing_s: float) -> None:
        """One more answer of `rows` rows. `computing_s` includes waiting for the model."""
        with self._lock:
            self._rows += rows
            self._success.add(reading_s + computing_s + writing_s)
            self._reading.add(reading_s)
            self._computing.add(computing_s)
            self._writing.add(writing_s)

    def repeated(self, seconds: float) -> None:
        """One more answer that was given before, and came from the cache."""
        with self._lock:
            self._success.add(seconds)
            self._repeated.add(seconds)

    def failed(self, seconds: float) -> None:
        """One more request that was not answered, whoever was at fault."""
        with self._lock:
            self._fail.add(seconds)

    def answer(self, *, model: str, version: str) -> dict[str, Any]:
        """The `GET .../stats` answer.

        The time of a batch is counted once, whatever the requests in it. `queue_stats` is ours: what waits at the
        moment, and what was never computed.
        """
        with self._lock:
            stats = {
                "name": model,
                "version": version,
                "inference_count": self._rows,
                "execution_count": self._computing.count,
                "inference_stats": {
                    "success": self._success.as_json(),
                    "fail": self._fail.as_json(),
                    "compute_input": self._reading.as_json(),
                    "compute_infer": self._computing.as_json(),
                    "compute_output": self._writing.as_json(),
                    "cache_hit": self._repeated.as_json(),
                },
                "batch_stats": [],
            }
        if self._load is not None:
            _add_load(stats, self._load())
        return {"model_stats": [stats]}


def _add_load(stats: dict[str, Any], load: LoadFigures) -> None:
    requests = sum(each.requests for each in load.batches.values())
    stats["execution_count"] = sum(each.batches for each in load.batches.values())
    stats["inference_stats"]["queue"] = _Duration(requests, load.queue_s).as_json()
    stats["inference_stats"]["compute_infer"] = _Duration(requests, load.compute_s).as_json()
    stats["batch_stats"] = [
        {"batch_size": size, "compute_infer": _Duration(each.batches, each.seconds).as_json()}
        for size, each in load.batches.items()
    ]
    stats["queue_stats"] = {
        "waiting": load.waiting,
        "computing": load.computing,
        "refused": load.refused,
        "expired": load.expired,
        "abandoned": load.abandoned,
    }
