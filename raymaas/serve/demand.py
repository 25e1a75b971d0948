"""What all edges together see asked: the sum of what each told last, or nothing while one of them is silent.

Who has nothing to go by keeps what there is, so a sum that lacks an edge must not look like one that is complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from raymaas.specs.demand import Demand, EdgeDemand, VersionDemand

FRESH_FOR = timedelta(seconds=6)
"""For so long it is believed what edges told: they tell every two seconds."""
GONE_AFTER = timedelta(seconds=60)
"""An edge that has been silent for so long is one no longer."""

Heard = Mapping[str, tuple[datetime, EdgeDemand]]


def together(heard: Heard, *, now: datetime) -> Demand | None:
    """The sum over all edges; None without any, and while one is silent that may still be answering requests."""
    if not heard or any(now - at > FRESH_FOR for at, _ in heard.values()):
        return None
    versions = {version for _, told in heard.values() for version in told.versions}
    return Demand(
        at=now,
        versions={
            version: VersionDemand.sum_of(
                told.versions[version] for _, told in heard.values() if version in told.versions
            )
            for version in sorted(versions)
        },
    )


class DemandBook:
    """Hears edges, and publishes what they see together. A new one first listens whether there are others."""

    def __init__(self, publish: Callable[[Demand], None], *, now: Callable[[], datetime]) -> None:
        self._publish = publish
        self._now = now
        self._since = now()
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[datetime, EdgeDemand]] = {}

    def heard(self) -> tuple[EdgeDemand, ...]:
        """What each edge told last, of those heard within the last minute."""
        now = self._now()
        with self._lock:
            return tuple(told for at, told in self._heard.values() if now - at <= GONE_AFTER)

    def hear(self, told: EdgeDemand) -> None:
        now = self._now()
        with self._lock:
            kept = {edge: last for edge, last in self._heard.items() if now - last[0] <= GONE_AFTER}
            self._heard = kept | {told.edge: (now, told)}
            demand = together(self._heard, now=now)
        if demand is not None and now - self._since > FRESH_FOR:
            self._publish(demand)
