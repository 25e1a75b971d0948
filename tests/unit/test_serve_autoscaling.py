"""Autoscaling: replicas follow from how busy they are; what is not known yet changes nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from raymaas.errors import InvalidInput
from raymaas.serve.autoscaling import BUSY, Busy, ByLoad, needed
from raymaas.specs.serving import Scaling


def wanted(busy: dict[str, float], *, running: str = "ab", target: int = 2, waiting: float = 0) -> float:
    return needed(busy, running=running, target=target, waiting=waiting, target_busy=0.7)


def test_replicas_are_as_many_as_keep_each_at_its_target() -> None:
    assert wanted({"a": 0.7, "b": 0.7}) == pytest.approx(2)
    assert wanted({"a": 1.0, "b": 1.0}) == pytest.approx(2 / 0.7)
    assert wanted({"a": 0.1, "b": 0.2}) == pytest.approx(0.3 / 0.7)
    assert wanted({"a": 0, "b": 0}) == 0


def test_a_replica_that_has_not_told_yet_changes_nothing() -> None:
    assert wanted({"a": 0.0}) == 2
    assert wanted({}, running="", target=1) == 1
    assert wanted({"a": 0.7, "gone": 1.0}, running="a") == pytest.approx(1)


def test_requests_in_ray_serves_hands_keep_one() -> None:
    assert wanted({"a": 0.0}, running="a", waiting=3) == 1
    assert wanted({"a": 1.0}, running="a", waiting=3) == pytest.approx(1 / 0.7)


def test_ray_serve_asks_it_of_its_own_context() -> None:
    context = SimpleNamespace(
        aggregated_metrics={BUSY: {"a": 1.0, "b": 0.4}},
        running_replicas=["a", "b"],
        target_num_replicas=2,
        total_num_requests=0.0,
    )
    assert ByLoad(0.5)(context) == (pytest.approx(2.8), {})
    context.aggregated_metrics = None
    assert ByLoad(0.5)(context) == (2, {})


def test_a_replica_is_as_busy_as_the_busiest_of_its_threads_was_since_the_last_look() -> None:
    busy = Busy(10.0)
    assert busy.since_last(12.0, 5.0, 1.0) == 0, "what was before the first look is not known"
    assert busy.since_last(14.0, 5.5, 2.0) == pytest.approx(0.5)
    assert busy.since_last(16.0, 5.5, 2.0) == 0
    assert busy.since_last(18.0, 9.0, 2.0) == 1
    assert busy.since_last(18.0, 9.0, 2.0) == 0


def test_none_may_be_kept_running_but_one_must_be_allowed() -> None:
    assert Scaling(min_replicas=0).max_replicas == 1
    with pytest.raises(InvalidInput, match="max_replicas"):
        Scaling.parse({"min_replicas": 0, "max_replicas": 0}, source="scaling")
