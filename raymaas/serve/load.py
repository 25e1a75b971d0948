"""A replica's load: what waits for its model, and what it has computed, refused and dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_SHARE = 0.1  # of the newest batch in what a request takes


@dataclass(frozen=True)
class BatchCount:
    """The batches of one size: how many, the requests in them, and the seconds they took."""

    batches: int = 0
    requests: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class LoadFigures:
    """A replica's load at one moment. Counts and sums are since it came up."""

    waiting: int
    """Requests that the model has not begun with."""
    computing: int
    """Requests in the batch it is at."""
    batches: Mapping[int, BatchCount]
    """By size: at most so many rows, a power of two, and more than half of it."""
    rows: int
    """Rows computed."""
    queue_s: float
    """What requests waited, from their arrival to the beginning of their batch."""
    compute_s: float
    """What batches took, those that failed too, and so far the one it is at."""
    failed: int
    """Requests that the model failed on."""
    refused: int
    """Requests that found the queue full."""
    expired: int
    """Requests whose time ran out."""
    abandoned: int
    """Requests whose caller went away before the model began with them."""


@dataclass(slots=True)
class Load:
    """Told by a queue, on its event loop, of all that happens. Times are those of the queue's clock, in seconds."""

    waiting: int = 0
    waiting_bytes: int = 0
    failed: int = 0
    refused: int = 0
    expired: int = 0
    abandoned: int = 0
    request_s: float = 0.0
    """What a request has lately taken of the model's time; 0 before the first one."""
    computing_since_s: float | None = None
    """When the batch began that is being computed; None when none is."""
    _computing: int = 0
    _rows: int = 0
    _queue_s: float = 0.0
    _compute_s: float = 0.0
    _batches: dict[int, BatchCount] = field(default_factory=dict)

    def begun(self, now_s: float, *, arrivals_s: Sequence[float]) -> None:
        """A batch begins, of requests that arrived at those times."""
        self._computing, self.computing_since_s = len(arrivals_s), now_s
        self._queue_s += now_s * len(arrivals_s) - sum(arrivals_s)

    def ended(self, *, rows: int, seconds: float, failed: int) -> None:
        """The batch that began last had so many rows and took so long; of its requests `failed` failed."""
        requests, self._computing, self.computing_since_s = self._computing, 0, None
        size = 1 << (rows - 1).bit_length()
        so_far = self._batches.get(size, BatchCount())
        self._batches[size] = BatchCount(
            so_far.batches + 1, so_far.requests + requests, so_far.seconds + seconds
        )
        self._rows += rows
        self.failed += failed
        self._compute_s += seconds
        self.request_s += (_SHARE if self.request_s else 1.0) * (seconds / requests - self.request_s)

    def computing_for_s(self, now_s: float) -> float:
        """For how long the model has been at its present batch; 0 when it is at none."""
        since_s = self.computing_since_s
        return 0.0 if since_s is None else now_s - since_s

    def figures(self, now_s: float) -> LoadFigures:
        return LoadFigures(
            waiting=self.waiting,
            computing=self._computing,
            batches=dict(sorted(self._batches.items())),
            rows=self._rows,
            queue_s=self._queue_s,
            compute_s=self._compute_s + self.computing_for_s(now_s),
            failed=self.failed,
            refused=self.refused,
            expired=self.expired,
            abandoned=self.abandoned,
        )
