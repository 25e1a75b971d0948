"""Moves and their log: what each move makes of a state, what it refuses, and one winner per revision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from registry_examples import FILES, START, WatchedStore, draft, memory_store, stamp, with_versions

from raymaas.errors import AlreadyExists, IntegrityError, InvalidInput, NotFound, Refused
from raymaas.registry.layout import state_key
from raymaas.registry.moves import Stamp, deploy, set_alias, set_traffic, undeploy
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States, Step
from raymaas.registry.versions import Versions
from raymaas.specs.names import Reference
from raymaas.specs.serving import ModelState, Scaling, Shadow
from raymaas.store import LocalStore, MemoryStore, Store


def deployed(*versions: int) -> ModelState:
    """A state with these versions deployed, the first of them with all traffic."""
    state: ModelState | None = None
    for version in versions:
        state = deploy(state, stamp(), version=version)
    assert state is not None
    return state


def test_the_first_deployed_version_gets_all_traffic_and_later_ones_none() -> None:
    first = deploy(None, stamp(), version=2)
    assert (first.revision, first.traffic) == (1, {2: 100})
    second = deploy(
        first, stamp(who="bob"), version=3, scaling=Scaling(min_replicas=2, max_replicas=4, threads=2)
    )
    assert (second.revision, second.traffic) == (2, {2: 100, 3: 0})
    assert second.scaling[3].max_replicas == 4
    assert second.change.action == "deploy"
    assert second.change.summary == "3: not deployed -> 2..4 replicas threads=2, weight 0"
    assert (second.change.who, second.change.at, second.write_id) == ("bob", START, "write of bob")


def test_deploying_again_changes_the_scaling_only() -> None:
    before = set_alias(deployed(1, 2), stamp(), alias="prod", version=1)
    after = deploy(before, stamp(), version=1, scaling=Scaling(max_replicas=3))
    assert (after.traffic, after.aliases) == (before.traffic, before.aliases)
    assert after.scaling == {1: Scaling(max_replicas=3), 2: Scaling()}
    assert after.change.summary == "1: 1 replica -> 1..3 replicas, weight 100"


def test_a_move_that_changes_nothing_returns_the_same_state() -> None:
    state = set_alias(
        deploy(None, stamp(), version=1, scaling=Scaling(threads=2)), stamp(), alias="prod", version=1
    )
    assert deploy(state, stamp(), version=1) is state
    assert deploy(state, stamp(), version=1, scaling=Scaling(threads=2)) is state
    assert set_alias(state, stamp(), alias="prod", version=1) is state
    assert set_traffic(state, stamp(), weights={1: 100}) is state


def test_an_alias_moves_and_says_from_where_to_where() -> None:
    first = set_alias(None, stamp(), alias="prod", version=2)
    assert (first.revision, first.aliases, first.change.summary) == (1, {"prod": 2}, "prod: none -> 2")
    second = set_alias(first, stamp(), alias="prod", version=3)
    assert (second.aliases, second.change.summary) == ({"prod": 3}, "prod: 2 -> 3")
    assert first.aliases == {"prod": 2}


@pytest.mark.parametrize("alias", ["7", "Prod", "a/b", ""])
def test_an_alias_outside_the_grammar_is_refused(alias: str) -> None:
    with pytest.raises(InvalidInput, match="is not a"):
        set_alias(None, stamp(), alias=alias, version=1)


def test_traffic_is_divided_and_versions_not_named_get_none() -> None:
    state = set_traffic(deployed(1, 2, 3), stamp(), weights={2: 90, 3: 10})
    assert state.traffic == {1: 0, 2: 90, 3: 10}
    assert state.change.summary == "traffic: 1=100% 2=0% 3=0% -> 1=0% 2=90% 3=10%"


@pytest.mark.parametrize("weights", [{1: 90}, {1: 110, 2: -10}, {}, {1: 100, 2: 1}])
def test_weights_that_are_not_a_division_are_refused(weights: dict[int, int]) -> None:
    with pytest.raises(InvalidInput, match=r"sum to 100, got .*, which sum to"):
        set_traffic(deployed(1, 2), stamp(), weights=weights)


def test_a_change_of_weights_moves_the_fewest_callers_and_is_written_down() -> None:
    state = set_traffic(deployed(1, 2, 3), stamp(), weights={1: 90, 2: 10})
    assert state.buckets is None, "in order, as if it had always been so"
    more = set_traffic(state, stamp(), weights={1: 80, 2: 10, 3: 10})
    assert more.layout == (1,) * 80 + (3,) * 10 + (2,) * 10 == more.buckets
    aliased = set_alias(more, stamp(), alias="x", version=1)
    assert aliased.buckets == deploy(aliased, stamp(), version=4).buckets == more.buckets
    back = set_traffic(aliased, stamp(), weights={1: 90, 2: 10})
    assert (back.layout, back.buckets) == (state.layout, None)


def test_what_callers_are_known_by_is_set_kept_and_ended() -> None:
    state = set_traffic(deployed(1, 2), stamp(), weights={1: 90, 2: 10}, sticky="header:x-user")
    assert state.sticky == "header:x-user"
    assert state.change.summary == "traffic: 1=100% 2=0% -> 1=90% 2=10%; sticky: none -> header:x-user"
    kept = set_traffic(state, stamp(), weights={1: 80, 2: 20})
    assert kept.sticky == deploy(kept, stamp(), version=3).sticky == "header:x-user"
    assert set_traffic(kept, stamp(), sticky="header:x-user") is kept
    ended = set_traffic(kept, stamp(), sticky="off")
    assert (ended.sticky, ended.traffic) == (None, {1: 80, 2: 20})
    assert ended.change.summary == "sticky: header:x-user -> none"


def test_a_version_that_shadows_must_be_deployed_and_need_not_carry_traffic() -> None:
    with pytest.raises(Refused, match="cannot shadow, it is not deployed; first `raymaas deploy digits@3`"):
        set_traffic(deployed(1, 2), stamp(), shadow=Shadow(version=3))
    state = set_traffic(deployed(1, 2), stamp(), shadow=Shadow(version=2, sample=0.2))
    assert (state.shadow, state.traffic) == (Shadow(version=2, sample=0.2), {1: 100, 2: 0})
    assert state.change.summary == "shadow: none -> 2 of 20%"
    with pytest.raises(Refused, match="first `raymaas traffic digits --no-shadow`"):
        undeploy(state, stamp(), version=2)
    ended = set_traffic(state, stamp(), shadow="off")
    assert (ended.shadow, ended.change.summary) == (None, "shadow: 2 of 20% -> none")
    undeploy(ended, stamp(), version=2)
    alone = set_traffic(deployed(1), stamp(), shadow=Shadow(version=1))
    assert undeploy(alone, stamp(), version=1, force=True).shadow is None


def test_traffic_to_a_version_that_is_not_deployed_is_refused() -> None:
    with pytest.raises(
        Refused, match=r"version 3 of 'digits' .* not deployed; deploy it first \(deployed: 1, 2\)"
    ):
        set_traffic(deployed(1, 2), stamp(), weights={3: 100})
    with pytest.raises(Refused, match="deployed: none"):
        set_traffic(None, stamp(), weights={1: 100})


def test_a_version_in_use_is_not_undeployed_and_force_does_not_help() -> None:
    state = set_alias(deployed(1, 2), stamp(), alias="next", version=2)
    for force in (False, True):
        with pytest.raises(Refused, match="version 1 of 'digits' has 100 % of the traffic"):
            undeploy(state, stamp(), version=1, force=force)
        with pytest.raises(Refused, match="alias 'next' of 'digits' points at version 2"):
            undeploy(state, stamp(), version=2, force=force)


def test_an_unused_version_is_undeployed() -> None:
    state = undeploy(deployed(1, 2), stamp(), version=2)
    assert (set(state.scaling), state.traffic) == ({1}, {1: 100})
    assert state.change.summary == "2: 1 replica, weight 0 -> not deployed"


def test_the_last_deployed_version_goes_only_by_force_and_its_alias_stays() -> None:
    state = set_alias(deployed(1), stamp(), alias="prod", version=1)
    with pytest.raises(
        Refused, match=r"last one deployed of 'digits' and used by 100 % .* and alias 'prod'.*force"
    ):
        undeploy(state, stamp(), version=1)
    gone = undeploy(state, stamp(), version=1, force=True)
    assert (gone.scaling, gone.traffic, gone.aliases) == ({}, {}, {"prod": 1})
    assert deploy(gone, stamp(), version=2).traffic == {2: 100}


def test_undeploying_what_is_not_deployed_says_what_is() -> None:
    with pytest.raises(NotFound, match="version 9 of 'digits' is not deployed; deployed: 1, 2"):
        undeploy(deployed(1, 2), stamp(), version=9)
    with pytest.raises(NotFound, match="deployed: none"):
        undeploy(None, stamp(), version=9)


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return with_versions(memory_store() if request.param == "memory" else LocalStore(tmp_path), 9)


def test_moves_append_and_the_history_is_newest_first(store: Store) -> None:
    states = States(store)
    assert states.current("digits") is None
    assert states.history("digits") == []
    states.move("digits", partial(deploy, version=1), who="ana", why="first try")
    states.move("digits", partial(deploy, version=2), who="bob")
    moved = states.move("digits", partial(set_traffic, weights={2: 100}), who="ana")
    assert states.current("digits") == moved
    assert [s.revision for s in states.history("digits")] == [3, 2, 1]
    assert [s.revision for s in states.history("digits", limit=1, before=3)] == [2]
    assert states.history("digits")[-1].change.why == "first try"
    assert states.models() == ["digits"]


def test_a_move_that_changes_nothing_writes_nothing() -> None:
    store = with_versions(memory_store(), 1)
    first = States(store).move("digits", partial(deploy, version=1), who="ana")
    watched = WatchedStore(store)
    assert States(watched).move("digits", partial(deploy, version=1), who="bob") == first
    assert "create" not in watched.calls
    assert States(store).history("digits") == [first]


def test_a_refused_move_writes_nothing() -> None:
    store = memory_store()
    with pytest.raises(Refused):
        States(store).move("digits", partial(set_traffic, weights={1: 100}), who="ana")
    assert store.list("") == []


def test_a_move_that_lost_says_who_won_and_with_what() -> None:
    states = States(with_versions(memory_store(), 1))
    states.move("digits", partial(deploy, version=1), who="ana")

    def slowly(state: ModelState | None, stamp: Stamp) -> ModelState:
        """Bob moves while ana decides."""
        if state is not None and not state.aliases:
            states.move("digits", partial(set_alias, alias="prod", version=1), who="bob")
        return set_alias(state, stamp, alias="canary", version=1)

    with pytest.raises(AlreadyExists, match=r"'digits' was moved first by bob \(prod: none -> 1\)"):
        states.move("digits", slowly, who="ana")
    current = states.current("digits")
    assert current is not None
    assert current.aliases == {"prod": 1}


def test_a_move_with_attempts_is_decided_anew_on_the_winners_state() -> None:
    states = States(with_versions(memory_store(), 2))
    seen: list[int] = []

    def slowly(state: ModelState | None, stamp: Stamp) -> ModelState:
        seen.append(state.revision if state else 0)
        if len(seen) <= 2:
            states.move("digits", partial(set_alias, alias=f"bobs-{len(seen)}", version=1), who="bob")
        return set_alias(state, stamp, alias="anas", version=2)

    moved = states.move("digits", slowly, who="ana", attempts=3)
    assert seen == [0, 1, 2]
    assert moved.aliases == {"bobs-1": 1, "bobs-2": 1, "anas": 2}
    with pytest.raises(InvalidInput, match="attempts"):
        states.move("digits", slowly, who="ana", attempts=0)


def test_of_concurrent_moves_from_one_revision_exactly_one_is_kept(store: Store) -> None:
    decided = Barrier(6, timeout=30)

    def step(state: ModelState | None, stamp: Stamp, *, alias: str) -> ModelState:
        decided.wait()  # All have seen the same revision.
        return set_alias(state, stamp, alias=alias, version=1)

    def move(n: int) -> str | None:
        try:
            States(store).move("digits", partial(step, alias=f"alias-{n}"), who="ana")
        except AlreadyExists:
            return None
        return f"alias-{n}"

    with ThreadPoolExecutor(6) as executor:
        won = [alias for alias in executor.map(move, range(6)) if alias]
    current = States(store).current("digits")
    assert current is not None
    assert (current.revision, current.aliases) == (1, {won[0]: 1})
    assert len(won) == 1


def test_concurrent_moves_with_attempts_all_end_up_in_the_state(store: Store) -> None:
    def move(n: int) -> None:
        step = partial(set_alias, alias=f"alias-{n}", version=1)
        States(store).move("digits", step, who="ana", attempts=100)

    with ThreadPoolExecutor(6) as executor:
        list(executor.map(move, range(6)))
    current = States(store).current("digits")
    assert current is not None
    assert current.aliases == {f"alias-{n}": 1 for n in range(6)}
    assert current.revision == 6


def test_a_state_of_another_model_is_refused() -> None:
    store = with_versions(memory_store(), 1)
    States(store).move("digits", partial(deploy, version=1), who="ana")
    store.create(state_key("other", 1), store.read(state_key("digits", 1)))
    with pytest.raises(IntegrityError):
        States(store).current("other")


@pytest.mark.parametrize("step", [partial(deploy, version=4), partial(set_alias, alias="prod", version=4)])
def test_a_state_never_names_a_version_that_is_not_there(step: Step) -> None:
    store = with_versions(memory_store(), 3)
    with pytest.raises(NotFound, match="version 4 of 'digits' does not exist"):
        States(store).move("digits", step, who="ana")
    assert States(store).current("digits") is None


def test_who_and_why_are_one_line() -> None:
    with pytest.raises(InvalidInput, match="one line"):
        States(memory_store()).move("digits", partial(deploy, version=1), who="ana\nbob")


class TestResolving:
    @pytest.fixture
    def store(self) -> MemoryStore:
        store = memory_store()
        for n in (1, 2, 3):
            Versions(store).publish(draft(f"run-{n}"), FILES)
        return store

    def ask(self, store: Store, text: str) -> int:
        return resolve(Reference.parse(text), Versions(store), States(store))

    def test_a_number_is_that_version_if_it_exists(self, store: Store) -> None:
        assert self.ask(store, "digits@2") == 2
        with pytest.raises(NotFound, match="version 7 of 'digits' does not exist; latest is 3"):
            self.ask(store, "digits@7")

    def test_an_alias_is_where_it_points_now(self, store: Store) -> None:
        for version in (1, 2):
            States(store).move("digits", partial(set_alias, alias="prod", version=version), who="ana")
            assert self.ask(store, "digits@prod") == version

    def test_an_unknown_alias_names_the_known_ones(self, store: Store) -> None:
        with pytest.raises(
            NotFound, match="alias 'prod' of 'digits' does not exist; known: there is none yet"
        ):
            self.ask(store, "digits@prod")
        States(store).move("digits", partial(set_alias, alias="prod", version=2), who="ana")
        with pytest.raises(NotFound, match=r"did you mean 'prod'\? known: prod -> 2"):
            self.ask(store, "digits@prdo")

    def test_a_bare_model_is_its_newest_version_until_one_has_traffic(self, store: Store) -> None:
        assert self.ask(store, "digits") == 3
        states = States(store)
        states.move("digits", partial(deploy, version=1), who="ana")
        assert self.ask(store, "digits") == 1
        states.move("digits", partial(deploy, version=2), who="ana")
        states.move("digits", partial(set_traffic, weights={1: 40, 2: 60}), who="ana")
        assert self.ask(store, "digits") == 2
        states.move("digits", partial(set_traffic, weights={1: 50, 2: 50}), who="ana")
        assert self.ask(store, "digits") == 2

    @pytest.mark.parametrize("text", ["digit", "digit@1", "digit@prod"])
    def test_an_unknown_model_is_what_is_said_first(self, store: Store, text: str) -> None:
        with pytest.raises(NotFound, match="model 'digit' does not exist; did you mean 'digits'"):
            self.ask(store, text)
