"""Standings: when a version was deployed, with which weight and under which aliases, told from a state log. Pure.

A state says what was wanted, so these are the times in which a version should have answered; that it did,
its requests say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from raymaas.specs.api import HistoryEntry
from raymaas.specs.lineage import Standing
from raymaas.specs.serving import ModelState, Scaling


def entry_of(state: ModelState) -> HistoryEntry:
    """The move that made `state`."""
    return HistoryEntry(revision=state.revision, **state.change.model_dump())


def standings_of(history: Iterable[ModelState], version: int) -> tuple[Standing, ...]:
    """The standings of `version`, oldest first, from a model's states in order of revision.

    A standing begins with the move that made what is wanted of the version what it is, and ends with the move
    that made it something else; moves in between that did not touch the version are no part of it.
    """
    found: list[Standing] = []
    now, since = _Wanted(), None
    for state in history:
        wanted = _Wanted.of(state, version)
        if wanted == now:
            continue
        move = entry_of(state)
        if since is not None and now.anything:
            found.append(now.standing(since, until=move))
        now, since = wanted, move
    if since is not None and now.anything:
        found.append(now.standing(since, until=None))
    return tuple(found)


@dataclass(frozen=True)
class _Wanted:
    """What a state wants of one version."""

    scaling: Scaling | None = None
    weight: int = 0
    aliases: tuple[str, ...] = ()

    @classmethod
    def of(cls, state: ModelState, version: int) -> _Wanted:
        aliases = sorted(alias for alias, target in state.aliases.items() if target == version)
        return cls(state.scaling.get(version), state.traffic.get(version, 0), tuple(aliases))

    @property
    def anything(self) -> bool:
        return self.scaling is not None or bool(self.aliases)

    def standing(self, since: HistoryEntry, *, until: HistoryEntry | None) -> Standing:
        return Standing(
            since=since, until=until, scaling=self.scaling, weight=self.weight, aliases=self.aliases
        )
