"""The replica's queue: requests wait here for the model, which computes them in batches, one batch at a time.

An idle model begins at once; while it is busy, what arrives waits, and is then joined as far as the latency target
allows. Nothing is waited for to make a batch larger: batches grow by load alone. All of it happens on one event loop
and, for what takes longer than a hand-over is worth, one thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from raymaas.bundle.runtimes.base import Runtime
from raymaas.errors import DeadlineExceeded, QuotaExceeded
from raymaas.serve.app import INFER
from raymaas.serve.batching import Arrays, Outcome, computed, group_of, rows_of, size_of
from raymaas.serve.compute_thread import ComputeThread
from raymaas.serve.load import Load, LoadFigures
from raymaas.serve.pace import Pace

_KNOWN_LINES = 64
_LOOK_EVERY = 17  # no number of callers that take turns may hide each other from it
_WARM_UP = 3


@dataclass(frozen=True)
class QueueLimits:
    """How long the queue may become, and how long its batches."""

    target_s: float = 0.1
    """What a request should take at most when the model can keep up. One that just missed a batch waits for all of it
    and is in the next, so each may take half of this. A single request that takes longer is not joined."""
    most_requests: int = 1024
    most_bytes: int = 256 * 1024 * 1024
    longest_wait_s: float = 30.0
    """A request that would wait longer, by what requests lately took, is refused at once."""
    inline_s: float = 5e-4
    """What takes no longer is computed on the event loop: handing it to a thread and back would cost as much again."""


@dataclass(eq=False, slots=True)
class _Request:
    line: _Line
    inputs: Arrays
    rows: int
    bytes: int
    arrived_s: float
    deadline_s: float
    answer: asyncio.Future[dict[str, np.ndarray]]


@dataclass(eq=False, slots=True)
class _Line:
    """Requests that may be joined, the first one first, and how fast the model is with their like."""

    method: str
    waiting: deque[_Request] = field(default_factory=deque)
    pace: Pace = field(default_factory=Pace)


class ComputeQueue:
    """`runtime` as a Compute that many callers share.

    `joins` is whether requests may be joined: only when no answer depends on the rows beside it. All callers must be
    on one event loop. `close` ends the thread.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        joins: bool,
        limits: QueueLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runtime = runtime
        self._joins = joins
        self._limits = limits
        self._clock = clock
        self._lines: dict[Hashable, _Line] = {}
        self._woken = False
        self._in_company = False
        self._came_alone = 0
        self._load = Load()
        self._thread = ComputeThread()

    async def __call__(
        self, method: str, inputs: Arrays, *, timeout_s: float | None = None
    ) -> dict[str, np.ndarray]:
        """The outputs of `inputs`, which `check_inputs` passed.

        Raises QuotaExceeded at once when the queue is full, DeadlineExceeded after `timeout_s`, and whatever the
        runtime raised for these inputs alone. When it is cancelled before the model has begun, nothing is computed.
        """
        line = self._line(method, inputs)
        if timeout_s is None and self._not_worth_queueing(line, inputs):
            return self._at_once(line, inputs)
        loop = asyncio.get_running_loop()
        request = self._admitted(line, inputs, timeout_s=timeout_s, answer=loop.create_future())
        timer = None if timeout_s is None else loop.call_later(timeout_s, self._expire, request)
        self._wake(loop)
        try:
            return await request.answer
        except (asyncio.CancelledError, GeneratorExit):
            if self._left(request):
                self._load.abandoned += 1
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def figures(self) -> LoadFigures:
        """The load at this moment; may be asked from any thread."""
        return self._load.figures(self._clock())

    def computing_for_s(self) -> float:
        """For how long the model has been at its present batch; 0 when it is at none. May be asked from any thread."""
        return self._load.computing_for_s(self._clock())

    def warm_up(self, inputs: Arrays) -> None:
        """Learn how long `infer` takes for one row and for all of `inputs`, before anybody asks."""
        pace = self._line(INFER, inputs).pace
        for rows in sorted({1, rows_of(inputs)}):
            some = {name: array[:rows] for name, array in inputs.items()}
            for _ in range(_WARM_UP):
                begun_s = self._clock()
                self._runtime.run(some)
                pace.observe(rows, self._clock() - begun_s)

    def close(self) -> None:
        """End the thread after the batch it is at; nothing may be asked any more."""
        self._thread.close()

    def _not_worth_queueing(self, line: _Line, inputs: Arrays) -> bool:
        """Whether the model is idle and soon done with `inputs`, and nobody seems to come with them.

        Every so often it says no, to see whether they are joined: what was queued is the only way to know.
        """
        if self._in_company or self._load.waiting or self._load.computing_since_s is not None:
            return False
        self._came_alone += 1
        if self._joins and self._came_alone % _LOOK_EVERY == 0:
            return False
        return self._soon(line, rows_of(inputs))

    def _soon(self, line: _Line, rows: int) -> bool:
        expected_s = line.pace.seconds(rows)
        return expected_s is not None and expected_s <= self._limits.inline_s

    def _at_once(self, line: _Line, inputs: Arrays) -> dict[str, np.ndarray]:
        now_s = self._clock()
        self._load.begun(now_s, arrivals_s=(now_s,))
        outcomes, seconds = self._computed(line.method, [inputs])
        self._book(line, outcomes, rows=rows_of(inputs), seconds=seconds)
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]
        return outcomes[0]

    def _admitted(
        self,
        line: _Line,
        inputs: Arrays,
        *,
        timeout_s: float | None,
        answer: asyncio.Future[dict[str, np.ndarray]],
    ) -> _Request:
        """A new request, at the end of its line."""
        load, limits, size, now_s = self._load, self._limits, size_of(inputs), self._clock()
        wait_s = load.waiting * load.request_s
        if load.waiting and (
            load.waiting >= limits.most_requests
            or load.waiting_bytes + size > limits.most_bytes
            or wait_s > limits.longest_wait_s
        ):
            load.refused += 1
            raise QuotaExceeded(
                f"this replica's queue is full: {load.waiting} requests wait for the model, about {wait_s:.1f} s; "
                "ask again later, or deploy the version with more replicas",
                retry_after_s=wait_s,
            )
        deadline_s = float("inf") if timeout_s is None else now_s + timeout_s
        request = _Request(line, inputs, rows_of(inputs), size, now_s, deadline_s, answer)
        line.waiting.append(request)
        load.waiting += 1
        load.waiting_bytes += size
        return request

    def _line(self, method: str, inputs: Arrays) -> _Line:
        """Where such requests wait. Of many lines, one that is empty is forgotten for each new one."""
        group = group_of(method, inputs)
        line = self._lines.get(group)
        if line is None:
            if len(self._lines) >= _KNOWN_LINES:
                empty = next((key for key, line in self._lines.items() if not line.waiting), None)
                self._lines.pop(empty, None)
            line = self._lines[group] = _Line(method)
        return line

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to the next batch once the loop has been through all that is ready: what came together is joined."""
        if not self._woken and self._load.computing_since_s is None:
            self._woken = True
            loop.call_soon(self._next, loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._woken = False
        batch = self._taken()
        if not batch:
            return
        line, asked = batch[0].line, [request.inputs for request in batch]
        self._load.begun(self._clock(), arrivals_s=[request.arrived_s for request in batch])
        rows = sum(request.rows for request in batch)
        self._in_company = len(batch) > 1
        if self._soon(line, rows):
            outcomes, seconds = self._computed(line.method, asked)
            self._book(line, outcomes, rows=rows, seconds=seconds)
            _answer(batch, outcomes)
            if self._load.waiting:
                self._wake(loop)
        else:
            self._thread.submit(
                partial(self._computed, line.method, asked),
                lambda done: loop.call_soon_threadsafe(self._returned, loop, batch, done),
            )

    def _taken(self) -> list[_Request]:
        """The requests of the next batch, out of their line: the one that has waited longest, and those that fit it."""
        batch: list[_Request] = []
        now_s, rows, most = self._clock(), 0, 1
        while not batch and self._load.waiting:
            line = min(
                (line for line in self._lines.values() if line.waiting),
                key=lambda line: line.waiting[0].arrived_s,
            )
            most = line.pace.rows_within(self._limits.target_s / 2) if self._joins else 1
            while line.waiting and (not batch or rows + line.waiting[0].rows <= most):
                request = line.waiting[0]
                self._left(request)
                if request.answer.done():
                    self._load.abandoned += 1
                elif request.deadline_s <= now_s:
                    self._too_late(request)
                else:
                    batch.append(request)
                    rows += request.rows
                    if request.deadline_s < float("inf"):
                        most = min(most, line.pace.rows_within(request.deadline_s - now_s))
        return batch

    def _computed(self, method: str, asked: list[Arrays]) -> tuple[list[Outcome], float]:
        """What the requests came to, and the seconds it took."""
        run = self._runtime.run if method == INFER else partial(self._runtime.call, method)
        begun_s = self._clock()
        outcomes = computed(run, asked)
        return outcomes, self._clock() - begun_s

    def _returned(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Request], done: tuple[list[Outcome], float]
    ) -> None:
        """The thread is done with `batch`."""
        outcomes, seconds = done
        rows = sum(request.rows for request in batch)
        self._book(batch[0].line, outcomes, rows=rows, seconds=seconds)
        self._next(loop)  # before the answers, so that the model computes while they are written
        _answer(batch, outcomes)

    def _book(self, line: _Line, outcomes: list[Outcome], *, rows: int, seconds: float) -> None:
        """The batch that began last has been computed."""
        failed = sum(isinstance(outcome, Exception) for outcome in outcomes)
        if not failed:
            line.pace.observe(rows, seconds)
        self._load.ended(rows=rows, seconds=seconds, failed=failed)

    def _expire(self, request: _Request) -> None:
        if not request.answer.done():
            self._left(request)
            self._too_late(request)

    def _too_late(self, request: _Request) -> None:
        self._load.expired += 1
        allowed_ms = (request.deadline_s - request.arrived_s) * 1e3
        request.answer.set_exception(
            DeadlineExceeded(
                f"the {allowed_ms:.6g} ms that this request allowed ran out before it was answered; "
                "allow more, or send fewer rows"
            )
        )

    def _left(self, request: _Request) -> bool:
        """Take `request` out of its line; False when the model has begun with it."""
        try:
            request.line.waiting.remove(request)
        except ValueError:
            return False
        self._load.waiting -= 1
        self._load.waiting_bytes -= request.bytes
        return True


def _answer(batch: list[_Request], outcomes: list[Outcome]) -> None:
    for request, outcome in zip(batch, outcomes, strict=True):
        if request.answer.done():
            continue  # its caller went away, or its time ran out
        if isinstance(outcome, Exception):
            request.answer.set_exception(outcome)
        else:
            request.answer.set_result(outcome)
