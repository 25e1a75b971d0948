"""Revisions: logs of what holds now, in which each change is one entry and names who made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from raymaas.errors import AlreadyExists
from raymaas.registry.log import Log
from raymaas.registry.once import Entry


class Revision(Entry, Protocol):
    """A numbered entry, from 1."""

    @property
    def revision(self) -> int: ...
    @property
    def who(self) -> str: ...


R = TypeVar("R", bound=Revision)


def append_next(log: Log[R], newest: R | None, make: Callable[[int], R], *, what: str) -> R:
    """Append what `make` gives for the number after `newest`, which the change was decided from.

    Raises AlreadyExists, naming `what` and who was first, when another changed it meanwhile; and as `Log.append`.
    """
    entry = make(newest.revision + 1 if newest else 1)
    try:
        log.append(entry)
    except AlreadyExists:
        winner = log.find(entry.revision)
        raise AlreadyExists(
            f"{what} was changed first by {winner.who if winner else 'another'}; read it, and repeat yours if you"
            " still want it"
        ) from None
    return entry
