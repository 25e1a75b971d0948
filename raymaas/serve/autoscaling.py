"""Autoscaling: how many replicas a version needs, from how busy those it has are and from what edges see asked of it.

Requests on the fast lane are none of Ray Serve's, and most of those that wait lie in socket buffers, so a replica
cannot count them: it tells how busy its threads are. The rest edges tell: that requests wait while no replica is there
to be busy, that more wait than the replicas can take, and that nobody asks. Delays and limits Ray Serve applies itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from raymaas.serve.demand import FRESH_FOR
from raymaas.serve.demand_board import read_demand
from raymaas.specs.demand import Demand, VersionDemand

BUSY = "busy"
"""By this name a replica tells Ray Serve the fraction of the last seconds in which its busier thread had work."""
_LOOK_EVERY_S = 2.0

log = logging.getLogger("raymaas.autoscaling")


def needed(
    busy: Mapping[Any, float],
    *,
    running: Collection[Any],
    target: int,
    waiting: float,
    demand: VersionDemand | None,
    target_busy: float,
    most_each: int,
) -> float:
    """Replicas for which each would be `target_busy`, and none would have more than `most_each` requests in flight.

    For as long as a running one has not told yet how busy it is, `target` counts for the first. `demand` is what edges
    see; while that is not known (None) it is never fewer than `target`. It is one at least while anybody asks, or
    `waiting` requests are in Ray Serve's own hands.
    """
    told = running and all(replica in busy for replica in running)
    load = sum(busy[replica] for replica in running) / target_busy if told else float(target)
    load = max(load, float(target) if demand is None else demand.in_flight / most_each)
    return max(load, 1.0) if waiting or (demand and not demand.nothing) else load


def known(demand: Demand | None, version: str, *, now: datetime) -> VersionDemand | None:
    """What edges see asked of `version` now; None when they have not said it lately."""
    if demand is None or now - demand.at > FRESH_FOR:
        return None
    return demand.versions.get(version)


class Busy:
    """How busy the busiest of some threads was, between one look and the next."""

    def __init__(self, now_s: float) -> None:
        self._at_s = now_s
        self._spent_s: tuple[float, ...] = ()

    def since_last(self, now_s: float, *spent_s: float) -> float:
        """0 to 1; `spent_s` is the time that each thread has worked so far, in the same order each time."""
        before_s = self._spent_s or spent_s
        passed_s, self._at_s, self._spent_s = now_s - self._at_s, now_s, spent_s
        if passed_s <= 0:
            return 0.0
        return min(1.0, max(s - b for s, b in zip(spent_s, before_s, strict=True)) / passed_s)


class ByLoad:
    """`needed` as Ray Serve asks it of one version, ten times a second; the demand board is read every two seconds.

    A board that cannot be read says nothing. Calling this never raises for it: Ray Serve would tend no application in
    that round, be it autoscaled or not.
    """

    def __init__(
        self,
        target_busy: float,
        most_each: int,
        *,
        read: Callable[[], Demand | None] = read_demand,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target_busy = target_busy
        self._most_each = most_each
        self._read = read
        self._now = now
        self._monotonic = monotonic
        self._demand: Demand | None = None
        self._readable = True
        self._look_at_s = monotonic()

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """`context` is Ray Serve's AutoscalingContext of one deployment."""
        if self._monotonic() >= self._look_at_s:
            self._demand = self._seen()
            self._look_at_s = self._monotonic() + _LOOK_EVERY_S
        replicas = needed(
            (context.aggregated_metrics or {}).get(BUSY, {}),
            running=context.running_replicas,
            target=context.target_num_replicas,
            waiting=context.total_num_requests,
            demand=known(self._demand, context.app_name, now=self._now()),
            target_busy=self._target_busy,
            most_each=self._most_each,
        )
        return replicas, {}

    def _seen(self) -> Demand | None:
        try:
            demand, self._readable = self._read(), True
        except Exception as error:
            if self._readable:
                log.warning("what edges see asked cannot be read, so nothing is scaled down: %s", error)
            demand, self._readable = None, False
        return demand
