"""Whether a trigger is due: by its schedule, or because what a version is asked has drifted. Pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from raymaas.specs.drift import DriftReport
from raymaas.specs.starting import StartWhen


@dataclass(frozen=True)
class Due:
    """The moment that a run is for, and why it is."""

    moment: datetime
    why: str


def due(
    start: StartWhen,
    *,
    since: datetime,
    now: datetime,
    last: datetime | None,
    drift: Callable[[], DriftReport],
    labelled: Callable[[], int],
) -> Due | None:
    """What is due `now` of a trigger that counts from `since` and whose `last` start was for that moment.

    Of moments that passed while nobody looked only the newest is. `drift` and `labelled`, the rows that feedback
    labelled since the last start, are asked only where they decide.
    """
    found = _by_schedule(start, since=since, now=now, last=last) or _by_drift(
        start, now=now, last=last, drift=drift
    )
    if found is None or not start.min_feedback:
        return found
    rows = labelled()
    if rows < start.min_feedback:
        return None
    return Due(found.moment, f"{found.why}; {rows} rows labelled since the run before")


def _by_schedule(start: StartWhen, *, since: datetime, now: datetime, last: datetime | None) -> Due | None:
    if start.every_h is None:
        return None
    every = timedelta(hours=start.every_h)
    moment = since + math.floor((now - since) / every) * every
    if moment <= since or (last is not None and moment <= last):
        return None
    return Due(moment, f"every {start.every_h:g} h")


def _by_drift(
    start: StartWhen, *, now: datetime, last: datetime | None, drift: Callable[[], DriftReport]
) -> Due | None:
    if start.on_drift is None:
        return None
    if last is not None and now - last < timedelta(hours=start.at_most_every_h):
        return None
    report = drift()
    if report.verdict != "drifted":
        return None
    furthest = next(feature for feature in report.features if feature.verdict == "drifted")
    name = " ".join(furthest.name.split())  # of a column, which may have line breaks
    return Due(
        now,
        f"drift of {report.model}@{report.version}: {furthest.source} {name} PSI {furthest.psi:.2f} in"
        f" {report.rows} rows",
    )
