"""Moves held against policies: what is judged, what is not, what is recorded, and who wins a race."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from registry_examples import FILES, CrashingStore, InterruptedStore, WatchedStore, draft, memory_store

from raymaas.errors import AlreadyExists, IntegrityError, InvalidInput, NotFound, Refused
from raymaas.registry import moves
from raymaas.registry.layout import policy_key
from raymaas.registry.policies import Policies
from raymaas.registry.promotion import Compare
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.specs.cards import Card
from raymaas.specs.evaluation import Metric
from raymaas.specs.policies import Policy
from raymaas.specs.serving import ModelState
from raymaas.specs.versions import ModelVersion
from raymaas.store import Store

LICENSED = Policy(card=("licence",))
NOT_WORSE = Policy.parse({"not_worse": {"by": 0.01, "confidence": 0.9}}, source="policy")


def registered(*cards: Card | None) -> Store:
    """A store with one version of digits for each card."""
    store = memory_store()
    for number, card in enumerate(cards, start=1):
        Versions(store).publish(draft(f"train-digits-{number}").model_copy(update={"card": card}), FILES)
    return store


def difference(low: float) -> Compare:
    def compare(candidate: ModelVersion, current: ModelVersion, *, confidence: float) -> Metric:
        return Metric(value=0, low=low, high=0.1, confidence=confidence, method="tango")

    return compare


def point(states: States, alias: str, version: int) -> ModelState:
    return states.move("digits", partial(moves.set_alias, alias=alias, version=version), who="ana")


def promote(states: States, version: int) -> ModelState:
    return states.move("digits", partial(moves.promote, version=version), who="ana")


def deploy(states: States, *versions: int) -> None:
    for version in versions:
        states.move("digits", partial(moves.deploy, version=version), who="ana")


def test_a_move_is_refused_or_carries_the_revision_that_allowed_it() -> None:
    store = registered(None, Card(licence="MIT"))
    states = States(store)
    deploy(states, 1, 2)
    policies = Policies(store)
    policies.set("digits", "prod", Policy(card=("limits",)), who="bob")
    policies.set("digits", "prod", LICENSED, who="bob")
    for step in (partial(point, states, "prod"), partial(promote, states)):
        with pytest.raises(Refused, match=r"revision 2\) is not met: its card gives no licence"):
            step(1)
    assert promote(states, 2).change.policy == 2
    assert point(states, "canary", 1).change.policy is None, "another alias asks nothing"


def test_only_pointing_elsewhere_is_judged() -> None:
    store = registered(None, None)
    states = States(store)
    deploy(states, 1, 2)
    promote(states, 1)
    Policies(store).set("digits", "prod", LICENSED, who="bob")
    move = partial(moves.set_traffic, weights={1: 50, 2: 50})
    assert states.move("digits", move, who="ana").change.policy is None
    assert promote(states, 1).change.policy is None, "prod stays where it is, all traffic comes back"
    with pytest.raises(Refused):
        promote(states, 2)


def test_a_rollback_is_never_judged_but_the_next_move_is() -> None:
    store = registered(None, Card(licence="MIT"))
    states = States(store)
    deploy(states, 1, 2)
    promote(states, 1)
    Policies(store).set("digits", "prod", LICENSED, who="bob")
    promote(states, 2)
    back = states.move("digits", partial(moves.rollback, past=states.past("digits")), who="ana")
    assert (back.aliases, back.change.policy) == ({"prod": 1}, None)
    point(states, "prod", 2)
    with pytest.raises(Refused):
        point(states, "prod", 1)


def test_a_removed_policy_asks_nothing_and_stays_to_be_read() -> None:
    store = registered(None)
    policies, states = Policies(store), States(store)
    policies.set("digits", "prod", LICENSED, who="bob")
    assert policies.remove("digits", "prod", who="bob", why="done").revision == 2
    assert point(states, "prod", 1).change.policy is None
    assert policies.list("digits") == []
    assert policies.get("digits", "prod", revision=1).policy == LICENSED
    assert policies.get("digits", "prod", revision=2).policy is None
    with pytest.raises(NotFound, match="revision 3 of the policy of digits@prod does not exist; latest is 2"):
        policies.get("digits", "prod", revision=3)
    with pytest.raises(NotFound, match="has no policy"):
        policies.remove("digits", "prod", who="bob")


def test_the_same_policy_again_is_no_new_revision() -> None:
    policies = Policies(memory_store())
    first = policies.set("digits", "prod", LICENSED, who="bob")
    assert policies.set("digits", "prod", LICENSED, who="eve") == first
    with pytest.raises(InvalidInput, match="a number would be read as a version"):
        policies.set("digits", "7", LICENSED, who="bob")


def test_of_two_changes_of_a_policy_one_is_kept_and_the_other_is_told() -> None:
    store = memory_store()
    by_eve = partial(Policies(store).set, "digits", "prod", Policy(card=("limits",)), who="eve")
    slow = InterruptedStore(store, at=2, interrupt=by_eve)
    with pytest.raises(AlreadyExists, match="was changed first by eve"):
        Policies(slow).set("digits", "prod", LICENSED, who="bob")
    assert Policies(store).get("digits", "prod").who == "eve"


def test_a_lost_reply_to_a_policy_is_recognised_as_ones_own() -> None:
    store = memory_store()
    calls = CrashingStore(store, crash_at=0, how="lost reply")
    Policies(calls).set("digits", "canary", LICENSED, who="bob")
    unsure = CrashingStore(store, crash_at=len(calls.calls), how="lost reply")
    assert Policies(unsure).set("digits", "prod", LICENSED, who="bob").revision == 1
    assert unsure.calls[-1] == "read", "the reply was lost, and what lies there was read"


def test_not_worse_is_judged_against_what_the_alias_points_at() -> None:
    store = registered(None, None)
    Policies(store).set("digits", "prod", NOT_WORSE, who="bob")
    assert point(States(store), "prod", 1).change.policy == 1, "there is nothing yet to be worse than"
    with pytest.raises(
        Refused, match=r"minus that of digits@1.*-0\.0200 to \+0\.1000, 0\.9 tango.*at least -0\.01"
    ):
        point(States(store, compare=difference(-0.02)), "prod", 2)
    assert point(States(store, compare=difference(-0.005)), "prod", 2).change.policy == 1


def test_without_a_way_to_compare_nothing_is_waved_through() -> None:
    store = registered(None, None)
    point(States(store), "prod", 1)
    Policies(store).set("digits", "prod", NOT_WORSE, who="bob")
    with pytest.raises(Refused, match="cannot be told: this process cannot read evaluations"):
        point(States(store), "prod", 2)


def test_evaluations_on_other_rows_are_named_and_never_compared() -> None:
    store = registered(None)
    other = draft("other")
    changed = other.evaluation.model_copy(update={"fingerprint": "f" * 64})
    Versions(store).publish(other.model_copy(update={"evaluation": changed}), FILES)
    point(States(store), "prod", 1)
    Policies(store).set("digits", "prod", NOT_WORSE, who="bob")
    with pytest.raises(Refused, match=r"digits@2 was evaluated on .* ffffffffffff, but digits@1 was"):
        point(States(store, compare=difference(0)), "prod", 2)


@pytest.mark.parametrize(
    "error", [NotFound("no file"), IntegrityError("damaged"), InvalidInput("other rows")]
)
def test_an_evaluation_that_cannot_be_read_is_missing(error: Exception) -> None:
    def failing(*_: Any, **__: Any) -> Metric:
        raise error

    store = registered(None, None)
    point(States(store), "prod", 1)
    Policies(store).set("digits", "prod", NOT_WORSE, who="bob")
    with pytest.raises(Refused, match=f"cannot be told: {error}"):
        point(States(store, compare=failing), "prod", 2)


def test_a_damaged_policy_stops_every_move_but_a_rollback() -> None:
    store = registered(None, None)
    states = States(store)
    point(states, "prod", 1)
    store.create(policy_key("digits", "prod", 1), b'{"digest": "0"}')
    with pytest.raises(IntegrityError):
        point(states, "prod", 2)
    assert states.move("digits", partial(moves.rollback, past=states.past("digits")), who="ana").aliases == {}


def test_a_move_under_way_is_judged_by_the_policy_it_read() -> None:
    watched = WatchedStore(registered(None))
    point(States(watched), "prod", 1)
    for at, allowed in ((1, False), (len(watched.calls), True)):
        store = registered(None)
        late = partial(Policies(store).set, "digits", "prod", LICENSED, who="bob")
        states = States(InterruptedStore(store, at=at, interrupt=late))
        if allowed:
            assert point(states, "prod", 1).change.policy is None
        else:
            with pytest.raises(Refused):
                point(states, "prod", 1)
        assert Policies(store).get("digits", "prod").who == "bob"
