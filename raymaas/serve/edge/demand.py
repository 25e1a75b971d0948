"""What HAProxy sees asked of each version, and how it ended: its statistics, told to the controller every 2 s."""

from __future__ import annotations

import csv
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raymaas.errors import RaymaasError, Unavailable
from raymaas.serve.edge.config import slot_name
from raymaas.serve.edge.routes import Routes
from raymaas.serve.edge.rundir import RunDir, read_file
from raymaas.serve.edge.runtime import RuntimeSocket
from raymaas.specs.demand import EdgeDemand, VersionDemand, VersionOutcomes

_log = logging.getLogger(__name__)

TELL_EVERY_S = 2.0
_FELL_BACK = re.compile(r"key=(\S+) .*gpc0=([0-9]+)")


@dataclass(frozen=True)
class Counted:
    """What HAProxy has counted of one slot."""

    in_flight: int
    requests: int
    """That came since it started."""
    answered: int = 0
    """That ended with a status since then."""
    failed: int = 0
    """With one of 500 or more, or in whose place another version answered."""


def parse_statistics(text: str, fell_back: str = "") -> dict[str, Counted]:
    """By slot: the answer to `show stat` for backends, with that to `show table` for those that fell back.

    Raises Unavailable when it is of another shape.
    """
    elsewhere = {slot: int(count) for slot, count in _FELL_BACK.findall(fell_back)}
    try:
        return {
            row["# pxname"]: Counted(
                in_flight=int(row["scur"]),
                requests=int(row["req_tot"]),
                answered=sum(int(row[f"hrsp_{hundreds}xx"]) for hundreds in (2, 3, 4, 5)),
                failed=int(row["hrsp_5xx"]) + elsewhere.get(row["# pxname"], 0),
            )
            for row in csv.DictReader(text.strip().splitlines())
            if row["svname"] == "BACKEND" and row["mode"] == "http"
        }
    except (KeyError, TypeError, ValueError):
        raise Unavailable(
            "HAProxy gives its statistics in an unknown form; the edge needs HAProxy 2.8"
        ) from None


class Rates:
    """Turns what is counted since HAProxy's start into what came lately."""

    def __init__(self, now_s: float) -> None:
        self._at_s = now_s
        self._requests: Mapping[tuple[str, str], int] = {}

    def since_last(
        self, counted: Mapping[str, Counted], versions: Mapping[str, str], now_s: float
    ) -> dict[str, VersionDemand]:
        """By version; `versions` has the slot of each. A version that has its slot since the last look starts at 0."""
        before, passed_s = self._requests, now_s - self._at_s
        found = {version: (slot, counted[slot]) for version, slot in versions.items() if slot in counted}
        self._requests = {(version, slot): count.requests for version, (slot, count) in found.items()}
        self._at_s = now_s
        return {
            version: VersionDemand(
                in_flight=count.in_flight,
                requests_per_s=_came(count.requests, before.get((version, slot))) / passed_s
                if passed_s > 0
                else 0.0,
            )
            for version, (slot, count) in found.items()
        }


class Tally:
    """How requests to each version ended since this count began, over restarts of HAProxy and changes of slots."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self._totals: dict[str, VersionOutcomes] = {}
        self._before: Mapping[tuple[str, str], Counted] = {}

    def after(
        self, counted: Mapping[str, Counted], versions: Mapping[str, str]
    ) -> dict[str, VersionOutcomes]:
        """By version; `versions` has the slot of each. What a slot counted before it was first seen is another's."""
        before = self._before
        self._before = {(v, slot): counted[slot] for v, slot in versions.items() if slot in counted}
        for (version, slot), now in self._before.items():
            last = before.get((version, slot))
            total = self._totals.get(version, VersionOutcomes(answered=0, failed=0))
            self._totals[version] = VersionOutcomes(
                answered=total.answered + _came(now.answered, last.answered if last else None),
                failed=total.failed + _came(now.failed, last.failed if last else None),
            )
        return {version: self._totals[version] for version, _ in self._before}


def _came(total: int, before: int | None) -> int:
    if before is None:
        return 0
    # A HAProxy that was started since then has counted from 0 again.
    return total - before if total >= before else total


class DemandTeller:
    """Tells the controller, as edge `name`, what the HAProxy in `run_dir` sees; it only reads there."""

    def __init__(
        self,
        run_dir: RunDir,
        tell: Callable[[EdgeDemand], None],
        *,
        name: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dir = run_dir
        self._runtime = RuntimeSocket(run_dir.socket)
        self._tell = tell
        self._name = name
        self._monotonic = monotonic
        self._rates = Rates(monotonic())
        self._tally = Tally()

    def run(self, stop: threading.Event, *, every_s: float = TELL_EVERY_S) -> None:
        """Until `stop` is set. What cannot be read is not told: the controller takes silence for not knowing."""
        told = True
        while not stop.wait(every_s):
            try:
                self._tell(self.seen())
                told = True
            except Exception as error:
                # Whatever it was: an edge that never tells again is soon taken for one that nobody asks.
                if told:
                    expected = isinstance(error, RaymaasError)
                    _log.warning(
                        "what is asked of this edge is not told to the autoscaler: %s",
                        error,
                        exc_info=None if expected else error,
                    )
                told = False

    def seen(self) -> EdgeDemand:
        """Raises Unavailable when HAProxy does not answer, IntegrityError when the routes on disk are damaged."""
        routes = Routes.from_map((read_file(self._dir.map) or b"").decode(errors="replace"))
        versions = {f"{model}@{version}": slot_name(slot) for (model, version), slot in routes.slots.items()}
        # The table first: of a request that ends in between, the failure is then counted one look later.
        fell_back = self._runtime.fell_back()
        counted = parse_statistics(self._runtime.backend_statistics(), fell_back)
        return EdgeDemand(
            edge=self._name,
            versions=self._rates.since_last(counted, versions, self._monotonic()),
            count=self._tally.name,
            outcomes=self._tally.after(counted, versions),
        )
