"""Autoscaling: replicas follow from how busy they are and what edges see; what is not known changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from raymaas.errors import IntegrityError, InvalidInput
from raymaas.serve.autoscaling import BUSY, Busy, ByLoad, known, needed
from raymaas.serve.demand import FRESH_FOR
from raymaas.specs.demand import Demand, VersionDemand
from raymaas.specs.serving import Scaling

NOTHING = VersionDemand(in_flight=0, requests_per_s=0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def wanted(
    busy: dict[str, float],
    *,
    running: str = "ab",
    target: int = 2,
    waiting: float = 0,
    demand: VersionDemand | None = NOTHING,
) -> float:
    return needed(
        busy, running=running, target=target, waiting=waiting, demand=demand, target_busy=0.7, most_each=100
    )


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


def test_requests_that_wait_at_edges_need_replicas_however_busy_those_are() -> None:
    saturated = VersionDemand(in_flight=450, requests_per_s=90)
    assert wanted({"a": 1.0, "b": 1.0}, demand=saturated) == 4.5
    assert wanted(
        {"a": 1.0, "b": 1.0}, demand=VersionDemand(in_flight=200, requests_per_s=90)
    ) == pytest.approx(2 / 0.7)
    assert wanted({}, running="", target=1, demand=saturated) == 4.5, "no replica is there to tell"
    assert wanted({}, running="", target=0, demand=VersionDemand(in_flight=3, requests_per_s=0)) == 1


def test_none_is_left_only_when_edges_say_that_nobody_asks() -> None:
    assert wanted({"a": 0.0}, running="a", target=1, demand=NOTHING) == 0
    assert (
        wanted({"a": 0.0}, running="a", target=1, demand=VersionDemand(in_flight=0, requests_per_s=0.5)) == 1
    )
    assert wanted({"a": 0.0}, running="a", target=1, demand=VersionDemand(in_flight=1, requests_per_s=0)) == 1


def test_while_edges_are_silent_there_may_be_more_but_never_fewer() -> None:
    assert wanted({"a": 0.0, "b": 0.0}, demand=None) == 2
    assert wanted({"a": 0.0}, running="a", target=1, demand=None) == 1
    assert wanted({"a": 1.0, "b": 1.0}, demand=None) == pytest.approx(2 / 0.7)


def test_what_edges_saw_a_while_ago_is_not_known_any_more() -> None:
    demand = Demand(at=NOW, versions={"digits@1": NOTHING})
    assert known(demand, "digits@1", now=NOW + FRESH_FOR) == NOTHING
    assert known(demand, "digits@1", now=NOW + FRESH_FOR + timedelta(microseconds=1)) is None
    assert known(demand, "digits@2", now=NOW) is None
    assert known(None, "digits@1", now=NOW) is None


def test_ray_serve_asks_it_of_its_own_context() -> None:
    context = SimpleNamespace(
        app_name="digits@1",
        aggregated_metrics={BUSY: {"a": 1.0, "b": 0.4}},
        running_replicas=["a", "b"],
        target_num_replicas=2,
        total_num_requests=0.0,
    )
    board: list[Demand | None] = [None]
    clock_s = [0.0]
    policy = ByLoad(0.5, 100, read=lambda: board[0], now=lambda: NOW, monotonic=lambda: clock_s[0])
    assert policy(context) == (pytest.approx(2.8), {})
    context.aggregated_metrics = None
    assert policy(context) == (2, {})

    board[0] = Demand(at=NOW, versions={"digits@1": VersionDemand(in_flight=500, requests_per_s=1)})
    assert policy(context) == (2, {}), "it has looked at the board a moment ago"
    clock_s[0] = 2.0
    assert policy(context) == (5, {})


def test_a_board_that_cannot_be_read_says_nothing_and_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = SimpleNamespace(
        app_name="digits@1",
        aggregated_metrics={BUSY: {"a": 0.0, "b": 0.0}},
        running_replicas=["a", "b"],
        target_num_replicas=2,
        total_num_requests=0.0,
    )
    board: list[Demand | Exception] = [IntegrityError("it has format 2, and this raymaas knows 1")]
    clock_s = [0.0]

    def read() -> Demand:
        if isinstance(board[0], Exception):
            raise board[0]
        return board[0]

    policy = ByLoad(0.5, 100, read=read, now=lambda: NOW, monotonic=lambda: clock_s[0])
    for _ in range(3):
        assert policy(context) == (2, {})
        clock_s[0] += 2
    assert [record.getMessage() for record in caplog.records] == [
        "what edges see asked cannot be read, so nothing is scaled down: it has format 2, and this raymaas knows 1"
    ]
    board[0] = Demand(at=NOW, versions={"digits@1": NOTHING})
    assert policy(context) == (0, {})


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
