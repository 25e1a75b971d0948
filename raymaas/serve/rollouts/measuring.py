"""Measuring: what was seen of two versions of a model since a place in the stream of measurements.

How requests ended comes from the edges, who also see those that a dying replica took with it. How long they took, and
whether answers agreed, comes from the request logs in the store. Both outlive whoever measures: the place, a cursor,
says how far each edge's count and each replica's log was read, so nothing is counted twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pydantic import Field

from raymaas.registry.requests import Requests
from raymaas.specs.base import Moment, Spec
from raymaas.specs.demand import EdgeDemand, VersionOutcomes
from raymaas.specs.requests import RequestChunk
from raymaas.specs.rollouts import Seen, SeenBoth, bucket_of

_LATEST_AFTER = timedelta(minutes=10)
"""So much later than others' a replica's log may reach the store, and is still read."""
_FIRST_ERROR = 500


class EdgePlace(Spec):
    """How far one edge's count was read."""

    count: str
    outcomes: dict[int, VersionOutcomes]


class Place(Spec):
    """A place in the stream of measurements of one model."""

    since: Moment = Field(description="Logs until then are read.")
    edges: dict[str, EdgePlace] = Field(default_factory=dict)
    logs: dict[int, dict[str, Moment]] = Field(
        default_factory=dict, description="Version and replica: its log is read until then."
    )


@dataclass(frozen=True)
class Measuring:
    """Measures in `requests`, the logs in the store, and in what edges told last."""

    requests: Requests
    heard: Callable[[], Iterable[EdgeDemand]]

    def begin(self, model: str, *, at: Moment) -> str:
        """The cursor of `at`, which is now: whatever is measured later lies after it."""
        return Place(since=at, edges=_edges(self.heard(), model)).model_dump_json()

    def since(self, cursor: str, model: str, *, new: int, old: int) -> tuple[SeenBoth, str]:
        """What was seen after `cursor` until now, and the cursor of now. Raises as the store does."""
        place = Place.model_validate_json(cursor)
        edges = _edges(self.heard(), model)
        both, logs, pairs = {}, {}, Seen()
        for version, other in ((new, old), (old, new)):
            timed, compared, logs[version] = self._logged(model, version, place, beside=other)
            both[version] = timed + _ended(place.edges, edges, version)
            pairs += compared
        read = [moment for of_version in logs.values() for moment in of_version.values()]
        since = max([place.since, *(moment - _LATEST_AFTER for moment in read)])
        later = Place(
            since=since,
            # An edge that is silent now goes on where it was.
            edges=place.edges | edges,
            logs={v: {r: moment for r, moment in of.items() if moment > since} for v, of in logs.items()},
        )
        return SeenBoth(new=both[new] + pairs, old=both[old]), later.model_dump_json()

    def _logged(
        self, model: str, version: int, place: Place, *, beside: int
    ) -> tuple[Seen, Seen, dict[str, Moment]]:
        """Of a version's logs after `place`: how long it took, its answers that were compared with those that `beside`
        gave to copies, and until when each replica's is read now.
        """
        until = dict(place.logs.get(version, {}))
        latencies, pairs = Counter[int](), Seen()
        for at, chunk in self.requests.after(model, version, since=place.since, read=until):
            latencies.update(_latencies(chunk))
            if compared := chunk.compared.get(beside):
                pairs += Seen(pairs=compared.rows, disagreed=compared.rows_disagreed)
            until[chunk.replica] = max(at, until.get(chunk.replica, at))
        return Seen(latencies=dict(latencies)), pairs, until


def _latencies(chunk: RequestChunk) -> Iterable[int]:
    copies = frozenset(chunk.shadows)  # Who got nothing did not wait.
    for place, (status, microseconds) in enumerate(zip(chunk.statuses, chunk.microseconds, strict=True)):
        if status < _FIRST_ERROR and place not in copies:
            yield bucket_of(microseconds)


def _edges(heard: Iterable[EdgeDemand], model: str) -> dict[str, EdgePlace]:
    found = {}
    for told in heard:
        of_model = {
            int(version): outcomes
            for name, _, version in (key.partition("@") for key in told.outcomes)
            if name == model and (outcomes := told.outcomes[f"{name}@{version}"])
        }
        found[told.edge] = EdgePlace(count=told.count, outcomes=of_model)
    return found


def _ended(before: Mapping[str, EdgePlace], now: Mapping[str, EdgePlace], version: int) -> Seen:
    """How requests to `version` ended since `before`, at all edges."""
    nothing = VersionOutcomes(answered=0, failed=0)
    seen = Seen()
    for edge, place in now.items():
        # What an edge that was not known counted before it was heard may lie before the rollout.
        last = before.get(edge, place)
        base = last.outcomes.get(version, nothing) if last.count == place.count else nothing
        total = place.outcomes.get(version, base)
        answered, failed = total.answered - base.answered, total.failed - base.failed
        # A failure in whose place another version answered is counted a moment before its answer.
        seen += Seen(requests=max(answered, failed), errors=failed)
    return seen
