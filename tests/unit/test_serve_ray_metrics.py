"""What Ray is told of a replica's answers: each once, as counters by status, and a histogram made of counters."""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest

from raymaas.serve.plan import Target

MODULE = "raymaas.serve.ray_metrics"


class Told:
    """Ray's metrics, each value by name and tags."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self.failing = 0
        told = self

        class Metric:
            def __init__(self, name: str, *, description: str, tag_keys: tuple[str, ...]) -> None:
                self.name, self.keys, self.tags = name, tag_keys, dict[str, str]()

            def set_default_tags(self, tags: dict[str, str]) -> None:
                self.tags = tags

            def inc(self, value: float, tags: dict[str, str]) -> None:
                if told.failing:
                    told.failing -= 1
                    raise ValueError("Ray takes no more")
                all_tags = self.tags | tags
                told.values[self.name, *(all_tags[key] for key in self.keys)] += value
                tags["route"] = "Ray Serve writes its own into what it is given"

            def set(self, value: float) -> None:
                told.values[self.name,] = value

        metrics = SimpleNamespace(Counter=Metric, Gauge=Metric)
        # The real one takes seconds to import, warns of itself, and tells nobody what it was told.
        monkeypatch.setitem(sys.modules, "ray.serve", SimpleNamespace(metrics=metrics))
        monkeypatch.setitem(sys.modules, MODULE, None)
        del sys.modules[MODULE]
        self.module = importlib.import_module(MODULE)

    def of(self, name: str) -> dict[tuple[str, ...], float]:
        """By status, and `le` where there is one; all are of digits@3."""
        found = {key[1:]: value for key, value in self.values.items() if key[0] == name}
        assert all(key[:2] == ("digits", "3") for key in found)
        return {key[2:]: value for key, value in found.items()}

    def metrics(self, *, waiting: int = 0) -> Any:
        """Those of a replica of digits@3."""
        return self.module.RayMetrics(Target("digits", 3), lambda: SimpleNamespace(waiting=waiting))


def answered(metrics: Any, *answers: tuple[int, float]) -> None:
    for status, seconds in answers:
        metrics(status=status, seconds=seconds, request_id="r", rows=1, key_id="", shadow=False)


def test_each_answer_is_told_once_by_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(monkeypatch)
    metrics = told.metrics(waiting=7)
    metrics.start()
    answered(metrics, (200, 0.0015), (200, 9.0), (404, 0.0))
    metrics.close()
    assert told.of("raymaas_requests") == {("200",): 2, ("404",): 1}
    assert told.of("raymaas_errors") == {("404",): 1}
    assert told.of("raymaas_request_latency_ms_count") == {("200",): 2, ("404",): 1}
    assert told.of("raymaas_request_latency_ms_sum") == {("200",): pytest.approx(9001.5)}
    assert told.values["raymaas_queue_requests",] == 7

    buckets = told.of("raymaas_request_latency_ms_bucket")
    within = {le: count for (status, le), count in buckets.items() if status == "200"}
    assert within == dict.fromkeys(("2", "5", "10", "20", "50", "100", "200", "500", "1000", "5000"), 1) | {
        "+Inf": 2
    }
    assert buckets["404", "0.1"] == buckets["404", "+Inf"] == 1


def test_telling_goes_on_after_ray_took_something_amiss(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(monkeypatch)
    monkeypatch.setattr(told.module, "_EVERY_S", 0.01)
    metrics = told.metrics()
    told.failing = 1
    answered(metrics, (200, 0.001))
    metrics.start()
    while told.failing:
        pass
    answered(metrics, (200, 0.001))
    metrics.close()
    assert told.of("raymaas_requests") == {("200",): 1}
    assert "Ray was not told of some answers" in caplog.text
