"""Linearizability: is there an order of what clients did at once that explains every answer they were given?

A history is linearizable (Herlihy and Wing, "Linearizability: a correctness condition for concurrent objects",
TOPLAS 1990) if each operation can be given a moment between its begin and its end, at which it happened all
at once. The search is that of Wing and Gong ("Testing and verifying concurrent objects", JPDC 1993), which
remembers what it has tried as in Lowe ("Testing for linearizability", CCPE 2017): a set of operations that
leads to the same state in another order need not be looked at again. Objects that have nothing to do with each
other, such as the keys of a store, are checked one by one (Horn and Kroening, "Faster linearizability checking
via P-compositionality", FORTE 2015).

An operation whose answer never came may have happened at any moment after its begin, however late, or never.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A")
S = TypeVar("S")


@dataclass(frozen=True)
class Operation(Generic[A]):
    """What a client asked, and between which two moments; `ended` is infinity when no answer came."""

    act: A
    began: float
    ended: float = math.inf

    @property
    def answered(self) -> bool:
        return self.ended != math.inf


Step = Callable[[S, Operation[A]], Iterable[S]]
"""The states in which the object may be after the operation; none when its answer cannot be given here."""


def unexplained(history: Iterable[Operation[A]], step: Step[S, A], start: S) -> tuple[Operation[A], ...]:
    """Empty if the history of an object that began in state `start` is linearizable.

    Else those operations of which one would have had to be next, where the longest order found so far ends.
    """
    operations = sorted(history, key=lambda operation: operation.began)
    to_do = sum(1 << n for n, operation in enumerate(operations) if operation.answered)
    seen: set[tuple[int, S]] = {(0, start)}
    paths = [(0, start)]
    furthest, stuck = -1, ()
    while paths:
        done, state = paths.pop()
        if done & to_do == to_do:
            return ()
        open_now = _may_be_next(operations, done)
        if done.bit_count() > furthest:
            furthest, stuck = done.bit_count(), tuple(operations[n] for n in open_now)
        for n in open_now:
            for after in step(state, operations[n]):
                reached = (done | 1 << n, after)
                if reached not in seen:
                    seen.add(reached)
                    paths.append(reached)
    return stuck


def _may_be_next(operations: Sequence[Operation[A]], done: int) -> list[int]:
    """Those that are not done and began before any other that is not done had ended."""
    waiting = [n for n in range(len(operations)) if not done >> n & 1]
    first_end = min(operations[n].ended for n in waiting)
    return [n for n in waiting if operations[n].began <= first_end]


@dataclass(frozen=True)
class Create:
    """Create-if-absent. `won` is None when that was not told."""

    value: bytes
    won: bool | None


@dataclass(frozen=True)
class Read:
    """`found` is None when nothing was there."""

    found: bytes | None


@dataclass(frozen=True)
class Delete:
    pass


KeyAct = Create | Read | Delete


def key_step(held: bytes | None, operation: Operation[KeyAct]) -> Iterable[bytes | None]:
    """A key of a store; its state is what it holds."""
    match operation.act:
        case Create(value, won) if held is None and won is not False:
            return (value,)
        case Create(_, False) if held is not None:
            return (held,)
        case Read(found) if found == held:
            return (held,)
        # A deletion that nobody heard of and that changes nothing is as good as none.
        case Delete() if operation.answered or held is not None:
            return (None,)
    return ()


@dataclass(frozen=True)
class Move:
    """A move decided on `revision` (0 before the first) that, kept, makes the next. `won` as with Create."""

    revision: int
    won: bool | None


@dataclass(frozen=True)
class Look:
    """Reading the newest revision."""

    revision: int


LogAct = Move | Look


def log_step(newest: int, operation: Operation[LogAct]) -> Iterable[int]:
    """A log of which each revision has one writer; its state is the newest revision."""
    match operation.act:
        case Move(revision, won) if won is not False and newest == revision:
            return (newest + 1,)
        case Move(revision, False) if newest > revision:
            return (newest,)
        case Look(revision) if revision == newest:
            return (newest,)
    return ()
