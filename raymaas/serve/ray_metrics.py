"""A replica's figures in Ray's metrics, by model and version: told once a second, from a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from ray.serve import metrics

from raymaas.serve.answers import Answers
from raymaas.serve.load import LoadFigures
from raymaas.serve.plan import Target
from raymaas.specs.requests import Compared

# Latencies of small models are tenths of a millisecond; Ray's default buckets begin far above.
_BOUNDS_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000)
_EVERY_S = 1.0


class RayMetrics:
    """Calling it remembers an answer, for the next time Ray is told.

    The latencies are a histogram as Prometheus has one, but of counters, since Ray can only be told of each value:
    `raymaas_request_latency_ms_bucket` by the label `le`, `..._sum` and `..._count`. `compared` says what is new of
    shadowing since it was last asked; the label `shadow` is the other version.
    """

    def __init__(
        self,
        target: Target,
        load: Callable[[], LoadFigures],
        compared: Callable[[], Mapping[int, Compared]] = dict,
    ) -> None:
        self._compared = compared
        self._answers = Answers([bound_ms / 1e3 for bound_ms in _BOUNDS_MS])
        self._load = load
        tags = {"model": target.model, "version": str(target.version)}
        latency = "raymaas_request_latency_ms"
        self._requests = _counter("raymaas_requests", "Requests answered by replicas.", tags, "status")
        self._errors = _counter(
            "raymaas_errors", "Requests answered with a status of 400 or more.", tags, "status"
        )
        self._within = _counter(
            f"{latency}_bucket",
            "Requests that took at most `le` milliseconds, from the replica's first byte to its answer.",
            tags,
            "status",
            "le",
        )
        self._count = _counter(f"{latency}_count", "Requests whose latency is counted.", tags, "status")
        self._sum = _counter(f"{latency}_sum", "Their milliseconds.", tags, "status")
        self._shadow = {
            field: _counter(f"raymaas_shadow_{field}", f"{about.description}", tags, "shadow")
            for field, about in Compared.model_fields.items()
        }
        keys: Any = tuple(tags)  # as below
        self._queued = metrics.Gauge(
            "raymaas_queue_requests", description="Requests that wait for the model.", tag_keys=keys
        )
        self._queued.set_default_tags(dict(tags))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray-metrics", daemon=True)

    def start(self) -> None:
        """Tell Ray every second, until `close`."""
        self._thread.start()

    def __call__(
        self, *, status: int, seconds: float, request_id: str, rows: int | None, key_id: str, shadow: bool
    ) -> None:
        self._answers(status=status, seconds=seconds)

    def close(self) -> None:
        """Tell Ray what is left."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        for status, sums in self._answers.taken().items():
            tags = {"status": str(status)}
            # A dict for each: Ray Serve writes its own tags into the one it is given.
            self._requests.inc(sums.count, tags=dict(tags))
            if status >= 400:
                self._errors.inc(sums.count, tags=dict(tags))
            for bound_ms, count in zip((*_BOUNDS_MS, "+Inf"), (*sums.within, sums.count), strict=True):
                if count:
                    self._within.inc(count, tags=tags | {"le": str(bound_ms)})
            self._count.inc(sums.count, tags=dict(tags))
            if sums.seconds > 0:
                self._sum.inc(sums.seconds * 1e3, tags=dict(tags))
        for version, compared in self._compared().items():
            for field, count in compared:
                if count:
                    self._shadow[field].inc(count, tags={"shadow": str(version)})
        self._queued.set(self._load().waiting)


def _counter(name: str, description: str, tags: dict[str, str], *more_tags: str) -> metrics.Counter:
    # ray.serve.metrics declares tuple[str], a tuple of one; it takes any number.
    keys: Any = (*tags, *more_tags)
    counter = metrics.Counter(name, description=description, tag_keys=keys)
    counter.set_default_tags(dict(tags))
    return counter
