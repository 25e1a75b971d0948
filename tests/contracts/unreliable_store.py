"""UnreliableStore: a store whose clock the test moves, and of whose calls one goes wrong in a chosen way."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from registry_examples import START, Crash

from raymaas.errors import AlreadyExists, OutcomeUnknown, Unavailable
from raymaas.store import Store

_WRITES = ("create", "delete")


class How(enum.Enum):
    DIES_BEFORE = "the process dies before the call takes effect"
    DIES_AFTER = "the process dies when it has taken effect"
    FAILS = "it fails, and nothing was done"
    LOSES_ITS_REPLY = "it takes effect and the reply is lost"
    ARRIVES_LATE = "a write takes effect only at the next `arrive`, or never; nobody is told"


@dataclass(frozen=True)
class Fault:
    """What happens at the `at`-th write, from 1. Dying before a read is as dying after the write before it."""

    at: int
    how: How


@dataclass(frozen=True)
class Call:
    """One call of the store: the name of the method, and the key or prefix it is about."""

    name: str
    key: str


Interruption = Callable[[Call], None]
"""What others do before a call is carried out."""


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Plan:
    """What goes wrong in one piece of work: a fault at its `at`-th write, or an interruption at its `at`-th call.

    `happened` tells afterwards whether it came to that.
    """

    at: int = 0
    how: How | None = None
    interruption: Interruption | None = None
    calls: int = 0
    happened: bool = False
    dead: bool = False


@dataclass
class UnreliableStore:
    """`inner`, with another clock. Calls go as they should, but within `going_wrong`."""

    inner: Store
    clock: Clock
    _plan: Plan | None = None
    _late: list[Callable[[], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def going_wrong(self, plan: Plan) -> Iterator[Plan]:
        self._plan = plan
        try:
            yield plan
        finally:
            self._plan = None

    def arrive(self) -> None:
        """The late writes take effect now, as far as they still can."""
        late, self._late = self._late, []
        for write in late:
            with suppress(AlreadyExists):
                write()

    def now(self) -> datetime:
        return self._call(Call("now", ""), self.clock)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.inner, name)
        if not callable(attribute):
            return attribute

        def call(key: str = "", *args: Any, **kwargs: Any) -> Any:
            return self._call(Call(name, key), lambda: attribute(key, *args, **kwargs))

        return call

    def _call(self, call: Call, act: Callable[[], Any]) -> Any:
        plan = self._plan
        if plan is None:
            return act()
        with self._lock:
            counts = plan.how is None or call.name in _WRITES
            plan.calls += counts
            its_turn = counts and plan.calls == plan.at
        if plan.dead:
            raise Crash
        if not its_turn:
            return act()
        plan.happened = True
        if plan.interruption is not None:
            with self._undisturbed():
                plan.interruption(call)
        return act() if plan.how is None else self._go_wrong(plan, call, act)

    def _go_wrong(self, plan: Plan, call: Call, act: Callable[[], Any]) -> Any:
        match plan.how:
            case How.DIES_BEFORE:
                plan.dead = True
                raise Crash
            case How.DIES_AFTER:
                act()
                plan.dead = True
                raise Crash
            case How.FAILS:
                raise Unavailable(f"{call.name} {call.key}: no answer; nothing was done")
            case How.LOSES_ITS_REPLY:
                act()
            case How.ARRIVES_LATE:
                self._late.append(act)
        raise OutcomeUnknown(f"{call.name} {call.key}: no answer")

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        plan, self._plan = self._plan, None
        try:
            yield
        finally:
            self._plan = plan
