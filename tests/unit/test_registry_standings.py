"""Standings: when a version was wanted, told from states that real moves made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from registry_examples import START

from raymaas.registry import moves
from raymaas.registry.moves import Stamp
from raymaas.registry.standings import standings_of
from raymaas.specs.serving import ModelState, Scaling

Move = Callable[[ModelState | None, Stamp], ModelState]


def log_of(*steps: Move) -> list[ModelState]:
    """The states that these moves make, one an hour, by `m1`, `m2` and so on."""
    states: list[ModelState] = []
    for number, step in enumerate(steps, start=1):
        stamp = Stamp("digits", f"m{number}", f"reason {number}", START + timedelta(hours=number), "w")
        states.append(step(states[-1] if states else None, stamp))
    return states


def told(states: list[ModelState], version: int) -> list[tuple[int, int | None, bool, int, tuple[str, ...]]]:
    """Revision from, revision to, whether deployed, weight, aliases."""
    return [
        (
            standing.since.revision,
            standing.until.revision if standing.until else None,
            standing.scaling is not None,
            standing.weight,
            standing.aliases,
        )
        for standing in standings_of(states, version)
    ]


def back(state: ModelState | None, stamp: Stamp, *, log: list[ModelState]) -> ModelState:
    return moves.rollback(state, stamp, past=lambda revision: log[revision - 1])


def test_a_canary_that_was_promoted_rolled_back_and_undeployed() -> None:
    states = log_of(
        partial(moves.deploy, version=1),
        partial(moves.promote, version=1),
        partial(moves.deploy, version=2),
        partial(moves.set_traffic, weights={1: 90, 2: 10}),
        partial(moves.promote, version=2),
    )
    for number, undo in ((6, True), (7, True), (8, False)):
        stamp = Stamp("digits", f"m{number}", "slow", START + timedelta(hours=number), "w")
        states.append(
            back(states[-1], stamp, log=states) if undo else moves.undeploy(states[-1], stamp, version=2)
        )

    assert told(states, 2) == [
        (3, 4, True, 0, ()),
        (4, 5, True, 10, ()),
        (5, 6, True, 100, ("prod",)),
        (6, 7, True, 10, ()),
        (7, 8, True, 0, ()),
    ]
    assert told(states, 1) == [
        (1, 2, True, 100, ()),
        (2, 4, True, 100, ("prod",)),
        (4, 5, True, 90, ("prod",)),
        (5, 6, True, 0, ()),
        (6, 7, True, 90, ("prod",)),
        (7, None, True, 100, ("prod",)),
    ]
    promoted = standings_of(states, 2)[2]
    assert (promoted.since.who, promoted.since.why, promoted.since.action) == ("m5", "reason 5", "promote")
    assert promoted.until is not None
    assert (promoted.until.action, promoted.until.undoes, promoted.until.why) == ("rollback", 5, "slow")
    assert promoted.until.at - promoted.since.at == timedelta(hours=1)


def test_a_version_deployed_twice_has_a_gap_between() -> None:
    states = log_of(
        partial(moves.deploy, version=1),
        partial(moves.deploy, version=2),
        partial(moves.undeploy, version=2),
        partial(moves.deploy, version=2, scaling=Scaling(threads=2)),
        partial(moves.deploy, version=2, scaling=Scaling(threads=3)),
    )
    assert [(a, b) for a, b, *_ in told(states, 2)] == [(2, 3), (4, 5), (5, None)]


def test_an_alias_alone_is_a_standing_without_deployment() -> None:
    states = log_of(
        partial(moves.set_alias, alias="next", version=3), partial(moves.set_alias, alias="next", version=4)
    )
    assert told(states, 3) == [(1, 2, False, 0, ("next",))]
    assert told(states, 4) == [(2, None, False, 0, ("next",))]


def test_moves_of_others_do_not_divide_a_standing() -> None:
    states = log_of(
        partial(moves.deploy, version=1),
        partial(moves.deploy, version=2),
        partial(moves.set_alias, alias="next", version=2),
    )
    assert told(states, 1) == [(1, None, True, 100, ())]
    assert told(states, 9) == []
    assert standings_of([], 1) == ()
