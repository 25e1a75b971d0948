"""Autoscaling: how many replicas a version needs, from how busy the models of those it has are.

Requests on the fast lane are none of Ray Serve's, and most of those that wait lie in socket buffers, so counting those
in flight says little. How busy a replica's threads are says all: Ray Serve asks every replica for that, and this policy
what follows from it; delays and limits Ray Serve applies itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

BUSY = "busy"
"""By this name a replica tells Ray Serve the fraction of the last seconds in which its busier thread had work."""


def needed(
    busy: Mapping[Any, float],
    *,
    running: Collection[Any],
    target: int,
    waiting: float,
    target_busy: float,
) -> float:
    """Replicas for which each would be `target_busy`; `target` for as long as a running one has not told yet.

    `waiting` requests in Ray Serve's own hands need one at least.
    """
    if not running or any(replica not in busy for replica in running):
        return target
    load = sum(busy[replica] for replica in running) / target_busy
    return max(load, 1.0) if waiting else load


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
    """`needed` as Ray Serve asks it."""

    def __init__(self, target_busy: float) -> None:
        self._target_busy = target_busy

    def __call__(self, context: Any) -> tuple[float, dict[str, Any]]:
        """`context` is Ray Serve's AutoscalingContext of one deployment."""
        told = (context.aggregated_metrics or {}).get(BUSY, {})
        replicas = needed(
            told,
            running=context.running_replicas,
            target=context.target_num_replicas,
            waiting=context.total_num_requests,
            target_busy=self._target_busy,
        )
        return replicas, {}
