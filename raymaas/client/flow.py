"""Flows: what the client does, written once as generators of steps; both clients only carry the steps out.

A flow yields `Send` and is given an Answer or a Broken, yields `Pause` and is given None after that long, or
yields `Emit` to show an event to whoever follows it. It returns its result or raises a RaymaasError.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import ValidationError

from raymaas.client.wire import Answer, Broken, Request, error_of, error_of_break
from raymaas.errors import RaymaasError, Unavailable
from raymaas.specs.runs import EpochMetrics, RunProgress, RunState
from raymaas.specs.search import Trial

T = TypeVar("T")

RETRY_PAUSES_S = (0.1, 0.4, 1.0)
# So long, taken together, the client waits because a server asked it to; a longer wait is the caller's to choose.
ASKED_WAITS_S = 5.0
_SHORTEST_ASKED_WAIT_S = 0.05


@dataclass(frozen=True)
class LogText:
    """The next piece of a run's log."""

    text: str


RunEvent = LogText | EpochMetrics | RunProgress | Trial | RunState


@dataclass(frozen=True)
class Send:
    request: Request


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class Emit:
    event: RunEvent


@dataclass(frozen=True)
class Done(Generic[T]):
    """The flow returned."""

    value: T


Step = Send | Pause | Emit
Reply = Answer | Broken | None
Flow = Generator[Step, Reply, T]


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and how its successful answer is read."""

    request: Request
    read: Callable[[Answer], T]


def advance(flow: Flow[T], reply: Reply) -> Step | Done[T]:
    """The flow's next step, given the reply to its last one (None at the start)."""
    try:
        return flow.send(reply)
    except StopIteration as end:
        return Done(end.value)


def exchange(call: Call[T], *, url: str) -> Flow[T]:
    """Send the call and read its answer.

    A repeatable request is sent again when the exchange broke, once after each of RETRY_PAUSES_S, and after the
    moments that an Unavailable asks for, as long as they do not add up to more than ASKED_WAITS_S. Raises what
    `error_of` or `error_of_break` says, and RaymaasError for an answer this client cannot read.
    """
    pauses, left = iter(RETRY_PAUSES_S), ASKED_WAITS_S
    reply = yield from _sent(call.request)
    while call.request.repeatable:
        if isinstance(reply, Broken):
            wait = next(pauses, None)
        elif (wait := _asked_wait(reply, call.request)) is not None:
            left -= wait
        if wait is None or not left >= 0:
            break
        yield Pause(wait)
        reply = yield from _sent(call.request)
    if isinstance(reply, Broken):
        raise error_of_break(reply, call.request, url=url)
    return _read(call, reply)


def _asked_wait(answer: Answer, request: Request) -> float | None:
    error = error_of(answer, request)
    if not isinstance(error, Unavailable) or error.retry_after_s is None:
        return None
    return max(error.retry_after_s, _SHORTEST_ASKED_WAIT_S)


def _sent(request: Request) -> Flow[Answer | Broken]:
    reply = yield Send(request)
    assert reply is not None, "a Send is given an Answer or a Broken"
    return reply


def _read(call: Call[T], answer: Answer) -> T:
    error = error_of(answer, call.request)
    if error is not None:
        raise error
    try:
        return call.read(answer)
    except ValidationError as invalid:
        raise RaymaasError(
            f"the answer to {call.request.method} {call.request.path} is not one this raymaas reads "
            f"({invalid.error_count()} fields differ); do server and client have the same version?"
        ) from None
