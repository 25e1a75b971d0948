"""The checker of histories: it accepts what can be explained, and nothing else."""

from __future__ import annotations

import math
import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linearizability import (
    Create,
    Delete,
    KeyAct,
    LogAct,
    Look,
    Move,
    Operation,
    Read,
    key_step,
    log_step,
    unexplained,
)

NEVER = math.inf


def op(act: KeyAct, began: float, ended: float) -> Operation[KeyAct]:
    return Operation(act, began, ended)


GOOD: dict[str, list[Operation[KeyAct]]] = {
    "nothing happened": [],
    "one after the other": [
        op(Read(None), 0, 1),
        op(Create(b"a", True), 2, 3),
        op(Create(b"b", False), 4, 5),
        op(Read(b"a"), 6, 7),
        op(Delete(), 8, 9),
        op(Read(None), 10, 11),
        op(Create(b"c", True), 12, 13),
        op(Read(b"c"), 14, 15),
    ],
    "the loser was answered first": [
        op(Create(b"a", True), 0, 10),
        op(Create(b"b", False), 1, 2),
        op(Read(b"a"), 3, 4),
    ],
    "a read beside the write sees it or not": [
        op(Create(b"a", True), 0, 10),
        op(Read(None), 1, 2),
        op(Read(b"a"), 3, 4),
    ],
    "an unknown write that took effect": [op(Create(b"a", None), 0, NEVER), op(Read(b"a"), 5, 6)],
    "an unknown write that never did": [
        op(Create(b"a", None), 0, NEVER),
        op(Read(None), 5, 6),
        op(Create(b"b", True), 7, 8),
        op(Read(b"b"), 9, 10),
    ],
    "an unknown write that took effect late": [
        op(Create(b"a", None), 0, NEVER),
        op(Read(None), 5, 6),
        op(Create(b"b", False), 7, 8),
        op(Read(b"a"), 9, 10),
    ],
    "an unknown deletion that took effect late": [
        op(Create(b"a", True), 0, 1),
        op(Delete(), 2, NEVER),
        op(Read(b"a"), 3, 4),
        op(Read(None), 5, 6),
    ],
    "created again between two deletions": [
        op(Create(b"a", True), 0, 10),
        op(Delete(), 0, 10),
        op(Create(b"b", True), 0, 10),
        op(Read(b"b"), 11, 12),
    ],
    "touching moments": [op(Create(b"a", True), 0, 1), op(Read(None), 1, 2)],
}

BAD: dict[str, list[Operation[KeyAct]]] = {
    "two winners": [op(Create(b"a", True), 0, 10), op(Create(b"b", True), 1, 2)],
    "no winner": [op(Create(b"a", False), 0, 10), op(Create(b"b", False), 1, 2)],
    "a value that nobody wrote": [op(Create(b"a", True), 0, 1), op(Read(b"b"), 2, 3)],
    "a value that is written later": [op(Read(b"a"), 0, 1), op(Create(b"a", True), 2, 3)],
    "a loser's value": [
        op(Create(b"a", True), 0, 10),
        op(Create(b"b", False), 0, 10),
        op(Read(b"b"), 11, 12),
    ],
    "a stale read after a completed write": [op(Create(b"a", True), 0, 1), op(Read(None), 2, 3)],
    "a write that two reads disagree about": [
        op(Create(b"a", True), 0, 10),
        op(Read(b"a"), 1, 2),
        op(Read(None), 3, 4),
    ],
    "an acknowledged write is lost to a second": [
        op(Create(b"a", True), 0, 1),
        op(Create(b"b", True), 2, 3),
        op(Read(b"b"), 4, 5),
    ],
    "an overwritten value": [
        op(Create(b"a", True), 0, 1),
        op(Create(b"b", None), 2, NEVER),
        op(Read(b"b"), 3, 4),
    ],
    "a deleted value reappears": [
        op(Create(b"a", True), 0, 1),
        op(Delete(), 2, 3),
        op(Read(None), 4, 5),
        op(Read(b"a"), 6, 7),
    ],
    "a completed deletion is not seen": [
        op(Create(b"a", True), 0, 1),
        op(Delete(), 2, 3),
        op(Create(b"b", False), 4, 5),
    ],
    "an unknown write that took effect twice": [
        op(Create(b"a", None), 0, NEVER),
        op(Read(b"a"), 1, 2),
        op(Delete(), 3, 4),
        op(Read(b"a"), 5, 6),
    ],
    "an unknown write before it began": [op(Read(b"a"), 0, 1), op(Create(b"a", None), 2, NEVER)],
    "a loser where nothing was ever written": [op(Create(b"a", False), 0, 1)],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_explained_is_accepted(name: str) -> None:
    for shuffled in (GOOD[name], GOOD[name][::-1]):
        assert unexplained(shuffled, key_step, None) == ()


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_explained_is_refused(name: str) -> None:
    for shuffled in (BAD[name], BAD[name][::-1]):
        assert unexplained(shuffled, key_step, None) != ()


def test_it_names_the_operations_at_which_every_order_ends() -> None:
    stale = op(Read(None), 2, 3)
    history = [op(Create(b"a", True), 0, 1), stale, op(Read(b"a"), 4, 5)]
    assert unexplained(history, key_step, None) == (stale,)


def test_a_long_history_of_many_clients_is_decided() -> None:
    """600 operations, eight at a time: without remembering what was tried, this does not end."""
    history = _played(random.Random(1), 600, clients=8)
    assert unexplained(history, key_step, None) == ()
    last = max(operation.ended for operation in history if operation.answered)
    wrong = op(Read(b"a value that nobody wrote"), last / 2, last / 2 + 1)
    assert unexplained([*history, wrong], key_step, None) != ()


_MOMENTS = st.tuples(st.integers(0, 8), st.integers(0, 4))
_VALUES = st.sampled_from([b"a", b"b"])
_ACTS = st.one_of(
    st.builds(Create, _VALUES, st.sampled_from([True, False, None])),
    st.builds(Read, st.one_of(st.none(), _VALUES)),
    st.just(Delete()),
)
_HISTORIES = st.lists(st.tuples(_ACTS, _MOMENTS, st.booleans()), max_size=5)


@given(_HISTORIES)
def test_it_decides_as_trying_every_order_does(drawn: list[tuple[KeyAct, tuple[int, int], bool]]) -> None:
    history = [
        op(act, began, NEVER if _untold(act, lost) else began + took) for act, (began, took), lost in drawn
    ]
    assert (unexplained(history, key_step, None) == ()) == _some_order_explains(history)


def _untold(act: KeyAct, lost: bool) -> bool:
    return act.won is None if isinstance(act, Create) else lost and isinstance(act, Delete)


def _some_order_explains(history: list[Operation[KeyAct]]) -> bool:
    """By definition: try every order of every choice of the operations that never answered."""
    answered = [operation for operation in history if operation.answered]
    unknown = [operation for operation in history if not operation.answered]
    for chosen in range(2 ** len(unknown)):
        happened = answered + [operation for n, operation in enumerate(unknown) if chosen >> n & 1]
        if any(_explains(order) for order in permutations(happened)):
            return True
    return False


def _explains(order: tuple[Operation[KeyAct], ...]) -> bool:
    held: bytes | None = None
    for n, operation in enumerate(order):
        if any(later.ended < operation.began for later in order[n + 1 :]):
            return False
        match operation.act:
            case Create(value, won):
                if won is not None and won != (held is None):
                    return False
                held = value if held is None else held
            case Read(found):
                if found != held:
                    return False
            case Delete():
                held = None
    return True


def _played(rng: random.Random, count: int, *, clients: int) -> list[Operation[KeyAct]]:
    """A history of a key that behaves: operations happen one by one, each client's begin and end around it."""
    held: bytes | None = None
    free_at = [0.0] * clients
    history = []
    for moment in range(1, count + 1):
        client = rng.randrange(clients)
        began = (
            rng.uniform(max(free_at[client], moment - clients), moment)
            if free_at[client] < moment
            else moment
        )
        ended = moment + rng.uniform(0, clients)
        free_at[client] = ended
        act: KeyAct
        match rng.randrange(3):
            case 0:
                value = b"%d" % moment
                act = Create(value, held is None)
                held = held or value
            case 1:
                act = Read(held)
            case _:
                act, held = Delete(), None
        history.append(op(act, began, ended))
    return history


def _log(*acts: tuple[LogAct, float, float]) -> list[Operation[LogAct]]:
    return [Operation(act, began, ended) for act, began, ended in acts]


@pytest.mark.parametrize(
    "history",
    [
        _log((Move(0, True), 0, 10), (Move(0, False), 0, 10), (Look(1), 11, 12), (Move(1, True), 13, 14)),
        _log((Move(0, None), 0, NEVER), (Look(0), 1, 2), (Look(1), 3, 4)),
    ],
)
def test_a_log_with_one_winner_for_each_revision_is_accepted(history: list[Operation[LogAct]]) -> None:
    assert unexplained(history, log_step, 0) == ()


@pytest.mark.parametrize(
    "history",
    [
        _log((Move(0, True), 0, 10), (Move(0, True), 0, 10)),
        _log((Move(0, False), 0, 1)),
        _log((Move(0, True), 0, 1), (Look(0), 2, 3)),
        _log((Move(1, True), 0, 1)),
        _log((Move(0, True), 0, 1), (Look(2), 2, 3)),
    ],
    ids=["two winners", "a loser to nobody", "a stale look", "a revision skipped", "a revision from nowhere"],
)
def test_a_log_that_misbehaves_is_refused(history: list[Operation[LogAct]]) -> None:
    assert unexplained(history, log_step, 0) != ()
