"""Shadowing: copies of answered requests, sent to another version from a thread of its own, whose answers are compared.

Nobody waits for it: a copy is taken after its request was answered, and dropped where the replica or the version that
is to shadow it has other things to do. One copy at a time is under way.
"""

from __future__ import annotations

import http.client
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from raymaas.errors import RaymaasError
from raymaas.evaluate.agreement import Said, differing
from raymaas.serve.app import COPY_HEADER, EDGE_HEADER, INFER, REQUEST_ID_HEADER, Copy
from raymaas.serve.peers import Addresses, Peers
from raymaas.serve.plan import Target
from raymaas.specs.names import Reference
from raymaas.specs.requests import Compared

_MOST_COPIES = 8
_MOST_BYTES = 4 * 2**20
_TIMEOUT_S = 5.0

log = logging.getLogger("raymaas.replica")


@dataclass
class _Sums:
    rows: int = 0
    rows_disagreed: int = 0
    errors: int = 0
    dropped: int = 0


class Shadowing:
    """Of one replica of `own`. Calling it with a copy costs some microseconds and never waits.

    `waiting` says how many requests wait for this replica's model: while any do, copies are dropped. `close` ends it.
    """

    def __init__(
        self,
        own: Target,
        *,
        classes: Sequence[str],
        addresses: Addresses,
        waiting: Callable[[], int],
        timeout_s: float = _TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own, self._classes = own, classes
        self._waiting = waiting
        self._peers = Peers(addresses, timeout_s=timeout_s, clock=clock)
        self._copies: queue.Queue[Copy | None] = queue.Queue(_MOST_COPIES)
        self._sums: defaultdict[int, _Sums] = defaultdict(_Sums)
        self._changing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="shadowing", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def __call__(self, copy: Copy) -> None:
        """Take `copy`, or drop and count it."""
        if not self._waiting() and sum(array.nbytes for array in copy.inputs.values()) <= _MOST_BYTES:
            with suppress(queue.Full):
                return self._copies.put_nowait(copy)
        return self._count(copy.version, dropped=1)

    def totals(self) -> dict[int, Compared]:
        """By the version that shadows: all that was counted so far."""
        with self._changing:
            return {version: Compared(**vars(sums)) for version, sums in self._sums.items()}

    def close(self, *, timeout_s: float = 0.0) -> None:
        """Send nothing more; what is under way is waited for that long. May be called twice."""
        self._closed = True
        with suppress(queue.Full):
            self._copies.put_nowait(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        with closing(self._peers):
            self._compare()

    def _compare(self) -> None:
        while (copy := self._copies.get()) is not None and not self._closed:
            try:
                differs_N = differing(Said(copy.outputs, self._classes), self._asked(copy))
            except (OSError, http.client.HTTPException, RaymaasError) as error:
                log.debug("a copy of %s to version %d: %s", self._own.app_name, copy.version, error)
                self._count(copy.version, errors=1)
            except Exception:
                log.exception("a copy of %s to version %d", self._own.app_name, copy.version)
                self._count(copy.version, errors=1)
            else:
                self._count(copy.version, rows=len(differs_N), rows_disagreed=int(differs_N.sum()))

    def _asked(self, copy: Copy) -> Said:
        """What the version that shadows says. Raises OSError, HTTPException or RaymaasError when it does not."""
        # The client brings httpx and more, which a replica that copies nothing need not hold.
        from raymaas.client.predictions import infer_request, read_prediction
        from raymaas.client.wire import Answer

        to = Target(self._own.model, copy.version)
        request = infer_request(Reference(to.model, version=to.version), copy.inputs, INFER)
        headers = {
            "content-type": "application/json",
            **request.headers,
            EDGE_HEADER.decode(): copy.secret.decode("latin-1"),
            REQUEST_ID_HEADER.decode(): copy.request_id.decode("latin-1"),
            COPY_HEADER.decode(): str(self._own.version),
        }
        told, body = self._peers.ask(to, to.route_prefix + request.path, request.body or b"", headers)
        found = read_prediction(Answer(http.client.OK, told, body), arrays=True)
        return Said(found.outputs, found.classes)

    def _count(self, version: int, **more: int) -> None:
        with self._changing:
            sums = self._sums[version]
            for name, count in more.items():
                setattr(sums, name, getattr(sums, name) + count)


class SinceLast:
    """What has been counted since it was last asked, of a `totals` that only grows."""

    def __init__(self, totals: Callable[[], Mapping[int, Compared]]) -> None:
        self._totals = totals
        self._told: Mapping[int, Compared] = {}

    def __call__(self) -> dict[int, Compared]:
        """By version; those of which nothing is new are left out."""
        before, self._told = self._told, self._totals()
        return {
            version: sums.since(before.get(version))
            for version, sums in self._told.items()
            if sums != before.get(version)
        }
