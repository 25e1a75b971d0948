"""Promote and rollback: what they make of a state, what they refuse, and that repeating goes further back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from registry_examples import START, WatchedStore, memory_store, stamp, with_versions

from raymaas.errors import InvalidInput, NotFound, RaymaasError, Refused
from raymaas.registry import moves
from raymaas.registry.moves import deploy, promote, rollback, set_alias, set_traffic, undeploy
from raymaas.registry.states import States
from raymaas.specs.serving import Change, ModelState, Scaling, Shadow


@dataclass
class History:
    """A model's states, oldest first, moved the way `States.move` does."""

    states: list[ModelState] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)

    @property
    def now(self) -> ModelState:
        return self.states[-1]

    def past(self, revision: int) -> ModelState:
        self.looks.append(revision)
        return self.states[revision - 1]

    def move(self, step: Callable[..., ModelState], **arguments: Any) -> ModelState:
        if step is rollback:
            arguments["past"] = self.past
        new = step(self.states[-1] if self.states else None, stamp(), **arguments)
        if not self.states or new is not self.now:
            self.states.append(new)
        return self.now


def running(*versions: int) -> History:
    """Versions deployed in this order; the first has all traffic."""
    history = History()
    for version in versions:
        history.move(deploy, version=version)
    return history


def test_a_rollback_shows_every_caller_the_version_it_had() -> None:
    history = running(1, 2, 3)
    history.move(set_traffic, weights={1: 80, 2: 10, 3: 10}, sticky="header:x-user")
    split = history.move(set_traffic, weights={1: 70, 2: 10, 3: 20})
    assert split.buckets is not None
    history.move(promote, version=1)
    history.move(set_traffic, sticky="off")
    assert history.move(rollback).sticky == "header:x-user"
    assert history.move(rollback).layout == split.layout
    history.move(set_traffic, weights={1: 34, 2: 33, 3: 33})
    assert history.move(rollback, to=split.revision).layout == split.layout


def test_a_rollback_is_not_refused_for_a_version_that_only_got_copies() -> None:
    history = running(1, 2)
    history.move(set_traffic, shadow=Shadow(version=2))
    history.move(set_alias, alias="prod", version=1)
    history.move(set_traffic, shadow="off")
    assert history.move(rollback).shadow == Shadow(version=2)
    history.move(set_traffic, shadow="off")
    history.move(undeploy, version=2)
    assert history.move(rollback).shadow is None


def test_who_answers_for_others_does_so_until_the_traffic_is_divided_anew_or_it_is_gone() -> None:
    history = running(1, 2, 3)
    history.move(set_traffic, weights={1: 90, 2: 10}, fallback=1)
    assert history.move(set_traffic, sticky="header:x-user").fallback == 1
    assert history.move(set_traffic, weights={1: 50, 2: 50}).fallback is None
    assert history.move(rollback).fallback == 1
    assert history.move(deploy, version=4).fallback == 1
    assert history.move(undeploy, version=4).fallback == 1
    history.move(set_traffic, weights={2: 100}, fallback=1)
    assert history.move(undeploy, version=1).fallback is None
    assert history.move(set_traffic, weights={3: 100}, fallback=1).fallback is None
    assert history.move(promote, version=2).fallback is None


def test_promote_moves_prod_and_all_traffic_in_one_revision() -> None:
    history = running(1, 2, 3)
    history.move(set_traffic, weights={1: 80, 3: 20})
    history.move(set_alias, alias="canary", version=3)
    before = history.now
    state = history.move(promote, version=2)
    assert state.revision == before.revision + 1
    assert (state.aliases, state.traffic) == ({"canary": 3, "prod": 2}, {1: 0, 2: 100, 3: 0})
    assert state.scaling == before.scaling
    assert state.change.action == "promote"
    assert state.change.summary == "prod: none -> 2; traffic: 1=80% 2=0% 3=20% -> 1=0% 2=100% 3=0%"
    assert history.move(promote, version=2) is state


@pytest.mark.parametrize(("deployed", "known"), [((), "none"), ((1, 2), "1, 2")])
def test_promoting_what_is_not_deployed_names_the_next_step(deployed: tuple[int, ...], known: str) -> None:
    with pytest.raises(
        Refused, match=rf"version 3 of 'digits'.*`raymaas deploy digits@3` \(deployed: {known}\)"
    ):
        running(*deployed).move(promote, version=3)


def test_rollback_takes_back_the_last_move_and_keeps_what_is_deployed() -> None:
    history = running(1, 2)
    history.move(promote, version=1)
    history.move(promote, version=2)
    history.move(deploy, version=3, scaling=Scaling(threads=2))
    state = history.move(rollback)
    assert (state.revision, state.aliases, state.traffic) == (6, {"prod": 1}, {1: 100, 2: 0, 3: 0})
    assert state.scaling == {1: Scaling(), 2: Scaling(), 3: Scaling(threads=2)}
    assert (state.change.action, state.change.undoes) == ("rollback", 4)
    assert state.change.summary == "undoes 4: prod: 2 -> 1; traffic: 1=0% 2=100% 3=0% -> 1=100% 2=0% 3=0%"


def test_repeated_it_goes_further_back_until_nothing_is_left() -> None:
    history = running(1, 2)
    for version in (1, 2, 1):
        history.move(promote, version=version)
    assert history.move(rollback).aliases == {"prod": 2}
    assert history.move(rollback).aliases == {"prod": 1}
    assert history.move(rollback).aliases == {}
    with pytest.raises(Refused, match=r"no move of .* 'digits' is left .*`raymaas models history digits`"):
        history.move(rollback)
    assert history.now.traffic == {1: 100, 2: 0}


def test_a_later_move_is_the_first_to_be_taken_back() -> None:
    history = running(1, 2, 3)
    for version in (1, 2):
        history.move(promote, version=version)
    history.move(rollback)
    history.move(promote, version=3)
    assert history.move(rollback).aliases == {"prod": 1}
    assert history.move(rollback).aliases == {}


def test_to_a_revision_goes_back_or_forward_and_rollback_goes_on_from_there() -> None:
    history = running(1, 2, 3)
    for version in (1, 2, 3):
        history.move(promote, version=version)
    back = history.move(rollback, to=4)
    assert (back.aliases, back.change.undoes) == ({"prod": 1}, 5)
    assert back.change.summary.startswith("as of 4: prod: 3 -> 1; traffic: ")
    assert history.move(rollback, to=4) is back
    assert history.move(rollback, to=6).aliases == {"prod": 3}
    assert history.move(rollback).aliases == {"prod": 2}
    assert history.move(rollback).aliases == {"prod": 1}


def test_a_revision_that_is_none_is_refused() -> None:
    history = running(1)
    with pytest.raises(NotFound, match="revision 2 of 'digits' does not exist; latest is 1"):
        history.move(rollback, to=2)
    with pytest.raises(InvalidInput, match="1 or more, got 0"):
        history.move(rollback, to=0)
    assert history.move(rollback, to=1) is history.now


def test_nothing_moved_is_nothing_to_roll_back() -> None:
    with pytest.raises(Refused, match="nothing was moved of 'digits' yet"):
        History().move(rollback)
    with pytest.raises(Refused, match="is left to roll back"):
        running(1, 2).move(rollback)


def test_a_version_that_is_no_longer_deployed_is_named_with_the_next_step() -> None:
    history = running(1, 2)
    history.move(set_traffic, weights={2: 100})
    history.move(undeploy, version=1)
    with pytest.raises(Refused, match=r"revision 2: .*version 1.*`raymaas deploy digits@1` \(deployed: 2\)"):
        history.move(rollback)
    history.move(deploy, version=1)
    assert history.move(rollback).traffic == {1: 100, 2: 0}

    history = running(1, 2)
    history.move(set_alias, alias="next", version=2)
    history.move(set_alias, alias="next", version=1)
    history.move(undeploy, version=2)
    with pytest.raises(Refused, match="digits@2"):
        history.move(rollback)


def test_an_alias_of_a_version_that_never_ran_returns_to_it() -> None:
    history = running(1)
    history.move(set_alias, alias="old", version=9)
    history.move(set_alias, alias="old", version=1)
    assert history.move(rollback).aliases == {"old": 9}


def test_an_alias_that_does_not_move_needs_nothing() -> None:
    history = running(1, 2)
    history.move(set_traffic, weights={2: 100})
    history.move(set_alias, alias="prod", version=1)
    history.move(set_alias, alias="prod", version=2)
    history.move(undeploy, version=1)
    history.move(set_alias, alias="prod", version=1)
    assert history.move(rollback, to=4) is history.now
    assert history.now.change.action == "alias"


def test_traffic_stays_when_then_nothing_was_deployed() -> None:
    history = History()
    history.move(set_alias, alias="prod", version=1)
    history.move(deploy, version=1)
    state = history.move(rollback)
    assert (state.aliases, state.traffic) == ({}, {1: 100})


def test_a_move_that_deployments_have_undone_already_is_stepped_over_only_once() -> None:
    history = running(1, 2)
    history.move(set_alias, alias="old", version=9)
    history.move(set_traffic, weights={2: 100})
    history.move(undeploy, version=1)
    history.move(undeploy, version=2, force=True)
    history.move(deploy, version=1)
    assert history.move(rollback).change.summary == "undoes 4: nothing differs any more"
    assert history.move(rollback).aliases == {}


def test_a_rollback_reads_no_more_than_it_steps_over() -> None:
    history = running(1, 2)
    for _ in range(100):
        history.move(promote, version=1)
        history.move(promote, version=2)
    for _ in range(150):
        history.looks.clear()
        history.move(rollback)
        assert len(history.looks) <= 2


def test_a_rollback_is_one_document_and_a_few_reads_however_long_the_log() -> None:
    store = with_versions(memory_store(), 2)
    states = States(store)
    for version in (1, 2):
        states.move("digits", partial(deploy, version=version), who="ana")
    for version in (1, 2) * 40:
        states.move("digits", partial(promote, version=version), who="ana")
    watched = WatchedStore(store)
    moved = States(watched).move(
        "digits", partial(rollback, past=States(watched).past("digits")), who="bob", why="slow"
    )
    assert (moved.aliases, moved.change.who, moved.change.why) == ({"prod": 1}, "bob", "slow")
    assert watched.calls.count("create") == 1
    assert watched.calls.count("read") <= 3
    assert states.current("digits") == moved


def test_a_revision_missing_from_the_store_is_named() -> None:
    states = States(memory_store())
    with pytest.raises(NotFound, match="revision 7 of 'digits' is not in the store"):
        states.past("digits")(7)


def test_only_a_rollback_undoes_and_only_what_was_before_it() -> None:
    kept = {"summary": "x", "who": "ana", "at": START}
    with pytest.raises(ValidationError, match="a rollback, and nothing else"):
        Change.model_validate(kept | {"action": "rollback"})
    with pytest.raises(ValidationError, match="a rollback, and nothing else"):
        Change.model_validate(kept | {"action": "alias", "undoes": 1})
    change = Change.model_validate(kept | {"action": "rollback", "undoes": 3})
    with pytest.raises(ValidationError, match="revision 3 cannot undo 3"):
        ModelState(model="digits", revision=3, write_id="w", change=change)


# Against a model of it: what can be taken back is a stack, and each revision keeps the stack it left.

Routes = tuple[dict[str, int], dict[int, int], frozenset[int]]
"""Aliases, the weights above 0, and what was deployed."""


def routes(state: ModelState | None) -> Routes:
    if state is None:
        return {}, {}, frozenset()
    return state.aliases, {v: w for v, w in state.traffic.items() if w}, frozenset(state.scaling)


def can_return(then: Routes, now: Routes) -> bool:
    """Whether all that traffic and aliases would return to still runs, of what ran then."""
    moved = {version for alias, version in then[0].items() if now[0].get(alias) != version}
    return (set(then[1]) | (moved & then[2])) <= now[2]


VERSIONS = st.integers(1, 3)
WEIGHTS = st.sampled_from([{1: 100}, {2: 100}, {1: 50, 2: 50}, {2: 10, 3: 90}, {1: 20, 2: 30, 3: 50}])
ROUTE_MOVES = st.one_of(
    st.builds(partial, st.just(promote), version=VERSIONS),
    st.builds(partial, st.just(set_traffic), weights=WEIGHTS),
    st.builds(partial, st.just(set_alias), alias=st.sampled_from(["prod", "canary"]), version=VERSIONS),
)
DEPLOYMENTS = st.one_of(
    st.builds(partial, st.just(deploy), version=VERSIONS),
    st.builds(partial, st.just(undeploy), version=VERSIONS, force=st.booleans()),
)
ROLLBACKS = st.one_of(st.none(), st.integers(1, 20))
"""None is a plain one, a number a revision to go to."""


def follow(history: History, steps: list[Any]) -> None:
    """Take the steps, each compared with what the stack says of it."""
    stack: list[Routes] = []
    left: list[list[Routes]] = [[] for _ in history.states]
    for step in steps:
        before, revisions = routes(history.states[-1] if history.states else None), len(history.states)
        if isinstance(step, partial):
            try:
                history.move(step.func, **step.keywords)
            except RaymaasError:
                continue
            if step.func not in (deploy, undeploy) and len(history.states) > revisions:
                stack = [*stack, before]
        else:
            if step is not None and step > revisions:
                continue
            known = bool(stack) if step is None else True
            then = (stack[-1] if stack else before) if step is None else routes(history.states[step - 1])
            if not known or not can_return(then, before):
                with pytest.raises(Refused):
                    history.move(rollback, to=step)
                assert len(history.states) == revisions
                continue
            history.move(rollback, to=step)
            expected = (then[0], then[1] or before[1], before[2])
            assert routes(history.now) == expected
            if step is None:
                stack = stack[:-1]
            elif len(history.states) > revisions:
                stack = left[step - 1]
        left += [stack] * (len(history.states) - revisions)


@given(st.lists(st.one_of(ROUTE_MOVES, ROLLBACKS), max_size=20))
@settings(max_examples=150)
def test_any_sequence_of_moves_and_rollbacks_is_a_stack(steps: list[Any]) -> None:
    follow(running(1, 2, 3), steps)


@given(st.lists(st.one_of(ROUTE_MOVES, DEPLOYMENTS, ROLLBACKS), max_size=25))
@settings(max_examples=250)
def test_it_is_also_one_with_deployments_in_between(steps: list[Any]) -> None:
    follow(History(), steps)


@given(st.lists(ROUTE_MOVES, max_size=12))
@settings(max_examples=50)
def test_as_many_rollbacks_as_moves_lead_back_to_the_beginning(steps: list[Any]) -> None:
    history = running(1, 2, 3)
    beginning = routes(history.now)
    for step in steps:
        history.move(step.func, **step.keywords)
    for _ in range(len(history.states) - 3):
        history.move(moves.rollback)
    assert routes(history.now) == beginning
    with pytest.raises(Refused):
        history.move(rollback)
