"""Lineage from the store: up to the data, down to every descendant, whatever crashed or was deleted on the way."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Literal

import pytest
from registry_examples import (
    FILES,
    START,
    Clock,
    Crash,
    CrashingStore,
    WatchedStore,
    draft,
    memory_store,
    run_spec,
)

from raymaas.data.cards import card_key, find_card
from raymaas.errors import IntegrityError, InvalidInput, NotFound, OutcomeUnknown
from raymaas.registry import moves
from raymaas.registry.deletion import delete_version
from raymaas.registry.descent import Claim, Descent
from raymaas.registry.layout import descendant_key
from raymaas.registry.lineage import Lineages
from raymaas.registry.runs import Runs
from raymaas.registry.states import States
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.jobs import Component
from raymaas.specs.lineage import DataTrace
from raymaas.specs.runs import Succeeded
from raymaas.specs.search import Finished, Trial
from raymaas.specs.versions import CompressionLineage, ModelVersion
from raymaas.store import MemoryStore, Store

DATA = "3f9a1c2d" + "0" * 56
OTHER_DATA = "3f9a1c2d" + "1" * 56


def made(
    run_id: str,
    *,
    model: str = "digits",
    data: str = DATA,
    parent: int | None = None,
    trial: str | None = None,
) -> VersionDraft:
    base = draft(run_id, model=model)
    lineage = base.lineage.model_copy(update={"data_fingerprint": data, "parent": parent})
    if trial:
        compression = CompressionLineage(
            recipe=(Component(use="prune", config={"sparsity": 0.9}),),
            trial=trial,
            original=1,
            original_bytes=7,
            parent_evaluation=base.evaluation,
        )
        lineage = lineage.model_copy(update={"compression": compression})
    return base.model_copy(update={"lineage": lineage})


def lineages(store: Store) -> Lineages:
    return Lineages(store, card_of=partial(find_card, store))


def named(trace: DataTrace) -> list[str]:
    return [f"{made.model}@{made.version}" for made in trace.versions]


def publish(store: Store, *drafts: VersionDraft) -> list[ModelVersion]:
    return [Versions(store).publish(each, FILES) for each in drafts]


def test_a_line_of_three_is_told_from_the_data_down_with_runs_trials_and_card() -> None:
    store = memory_store()
    card = DatasetCard(
        name="digits", fingerprint=DATA, rows=1797, features=64, shape=(64,), classes=("0", "1")
    )
    store.create(card_key("digits", DATA), card.seal())
    runs = Runs(store)
    runs.create(run_spec("train-1"))
    runs.set_status("train-1", Succeeded(at=START, version=1, seconds=9.5))
    trial = Trial(
        run_id="compress-2",
        trial="t-ab12",
        point={"prune.sparsity": 0.9},
        outcome=Finished(metrics={"bytes": 8670.0}, reports=1, seconds=3.0),
    )
    runs.add_trial(trial)
    publish(
        store,
        made("train-1"),
        made("compress-2", parent=1, trial="t-ab12"),
        made("compress-3", parent=2, trial="t-lost"),
        made("sibling", parent=2),
    )

    trace = lineages(store).trace("digits", 3)

    first, second, third = trace.line
    assert [generation.manifest.version for generation in trace.line] == [1, 2, 3]
    assert first.data.card == card
    assert first.run is not None
    assert (first.run.who, first.run.status) == ("ana", Succeeded(at=START, version=1, seconds=9.5))
    assert first.trial is None
    assert second.trial == trial
    assert second.run is None, "no record of it was ever made"
    assert third.trial is None
    assert trace.children == ()
    assert [child.version for child in lineages(store).trace("digits", 2).children] == [4, 3]
    assert [child.recipe[0].use for child in lineages(store).trace("digits", 1).children] == ["prune"]


def test_the_versions_of_two_models_are_found_from_one_fingerprint_and_others_are_not() -> None:
    store = memory_store()
    publish(
        store,
        made("r1"),
        made("r2", data=OTHER_DATA),
        made("r3", model="churn"),
        made("r4", parent=1),
        made("r5", data=""),
    )

    trace = lineages(store).of_data(DATA)

    assert named(trace) == ["churn@1", "digits@3", "digits@1"]
    assert [origin.dataset for origin in trace.datasets] == ["digits"]
    assert trace.next_after is None
    assert named(lineages(store).of_data(OTHER_DATA)) == ["digits@2"]


def test_a_version_made_on_other_data_is_found_from_the_data_of_its_parents_once() -> None:
    store = memory_store()
    publish(
        store,
        made("r1"),
        made("r2", parent=1, data=OTHER_DATA),
        made("r3", parent=2, data=OTHER_DATA),
        made("r4", parent=3),
        made("r5", parent=4, data=OTHER_DATA),
    )
    found = lineages(store)
    assert sorted(named(found.of_data(DATA))) == [f"digits@{n}" for n in range(1, 6)]
    assert sorted(named(found.of_data(OTHER_DATA))) == [f"digits@{n}" for n in range(2, 6)]


def test_pages_give_every_version_once() -> None:
    store = memory_store()
    for n in range(1, 6):
        publish(store, made(f"r{n}"), made(f"c{n}", model="churn"))
    found: list[str] = []
    after: str | None = None
    while True:
        page = lineages(store).of_data(DATA, after=after, limit=3)
        found += named(page)
        after = page.next_after
        if after is None:
            break
    assert found == [f"{model}@{n}" for model in ("churn", "digits") for n in range(5, 0, -1)]


def test_the_beginning_of_a_fingerprint_is_enough_while_it_means_one() -> None:
    store = memory_store()
    publish(store, made("r1"))
    found = lineages(store)
    assert found.of_data(DATA[:8]).fingerprint == DATA
    publish(store, made("r2", data=OTHER_DATA))
    with pytest.raises(InvalidInput, match=rf"several data sets begin with 3f9a1c2d: {DATA}, {OTHER_DATA}"):
        found.of_data(DATA[:8])
    assert found.of_data(DATA[:9]).fingerprint == DATA
    for unknown in ("ffffffff", DATA[:7]):
        with pytest.raises(NotFound, match=f"no version was made from data '{unknown}'"):
            found.of_data(unknown)
    for bad in ("", "../etc", "UPPER-CASE"):
        with pytest.raises(InvalidInput, match="is not a fingerprint"):
            found.of_data(bad)
    with pytest.raises(InvalidInput, match="not a key"):
        found.of_data(DATA, after="../x")


def test_a_claim_that_never_came_true_leads_nowhere() -> None:
    store = memory_store()
    (first,) = publish(store, made("r1"))
    lineage = made("r2", parent=1).lineage
    Descent(store).announce(Claim("digits", 2, "crashed"), lineage)
    Descent(store).announce(Claim("digits", 1, "lost-the-race"), lineage)
    Descent(store).announce(Claim("never", 1, "crashed"), made("r2").lineage)
    assert named(lineages(store).of_data(DATA)) == ["digits@1"]
    assert lineages(store).trace("digits", first.version).children == ()
    publish(store, made("r2", parent=1))
    assert [child.run_id for child in lineages(store).trace("digits", 1).children] == ["r2"]


def test_a_key_that_is_no_entry_is_refused() -> None:
    store = memory_store()
    publish(store, made("r1"))
    store.create(descendant_key(DATA, "digits", 1, "r1").replace("-r1", ".r1"), b"x")
    with pytest.raises(IntegrityError, match="is no entry of a lineage"):
        lineages(store).of_data(DATA)


def test_deleted_versions_stay_in_the_lineage_and_are_shown_as_deleted() -> None:
    store = memory_store()
    publish(store, made("r1"), made("r2", parent=1))
    versions, states = Versions(store), States(store)
    for version in (1, 2):
        delete_version(states, versions.tombstones, "digits", version, who="ana", why="wrong labels")
    trace = lineages(store).trace("digits", 2)
    assert [g.deletion.why for g in trace.line if g.deletion] == ["wrong labels", "wrong labels"]
    assert [made.deletion is not None for made in lineages(store).of_data(DATA).versions] == [True, True]
    (child,) = lineages(store).trace("digits", 1).children
    assert child.deletion is not None


@pytest.mark.parametrize("how", ["before", "after", "lost reply"])
def test_a_published_version_is_found_from_data_and_parent_wherever_its_publisher_crashed(
    how: Literal["before", "after", "lost reply"],
) -> None:
    crash_at, finished = 0, False
    while not finished:
        crash_at += 1
        inner = memory_store()
        publish(inner, made("r1"))
        crashing = CrashingStore(inner, crash_at, how)
        with suppress(Crash, OutcomeUnknown):
            Versions(crashing).publish(made("r2", parent=1), FILES)
        finished = len(crashing.calls) < crash_at
        _require_all_found(inner)
        publish(inner, made("r3", parent=1), made("r2", parent=1))
        _require_all_found(inner)
        assert len(lineages(inner).of_data(DATA).versions) == 3
    assert crash_at > 12


def _require_all_found(store: Store) -> None:
    published = {version.version for version in Versions(store).list("digits")}
    assert {made.version for made in lineages(store).of_data(DATA).versions} == published
    children = lineages(store).trace("digits", 1).children
    assert {child.version for child in children} == published - {1}


def test_publishing_costs_the_same_number_of_requests_at_any_number_of_relatives() -> None:
    counts = []
    store = memory_store()
    publish(store, made("r0"))
    for n in range(1, 40):
        watched = WatchedStore(store)
        publish(watched, made(f"r{n}", parent=n if n % 2 else 1))
        counts.append(len(watched.calls))
    assert len(set(counts)) == 1


def test_states_are_read_back_to_the_making_of_the_version_and_no_further() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    states = States(store)
    publish(store, made("r1"), made("r2"))
    states.move("digits", partial(moves.deploy, version=1), who="ana")
    states.move("digits", partial(moves.deploy, version=2), who="ana")
    for n in range(500):
        weights = {1: n % 100, 2: 100 - n % 100}
        states.move("digits", partial(moves.set_traffic, weights=weights), who="ana")
    clock.now += timedelta(days=1)
    publish(store, made("r3"))
    states.move("digits", partial(moves.deploy, version=3), who="bob")

    watched = WatchedStore(store)
    (standing,) = lineages(watched).trace("digits", 3).standings

    assert standing.since.who == "bob"
    assert watched.calls.count("read") < 250
    oldest, *_ = lineages(store).trace("digits", 1).standings
    assert oldest.since.revision == 1
