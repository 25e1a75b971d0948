"""Deleting versions: never one in use, whatever races or crashes, and a number stays spent."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from registry_examples import FILES, Crash, CrashingStore, InterruptedStore, draft, memory_store

from raymaas.errors import AlreadyExists, NotFound, OutcomeUnknown, RaymaasError, Refused
from raymaas.registry.deletion import delete_version
from raymaas.registry.layout import deleted_key
from raymaas.registry.moves import deploy, promote, rollback, set_alias, undeploy
from raymaas.registry.resolve import resolve
from raymaas.registry.states import States
from raymaas.registry.tombstones import Tombstones
from raymaas.registry.versions import Versions
from raymaas.specs.names import Reference
from raymaas.specs.serving import ModelState
from raymaas.store import LocalStore, Store


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return published(memory_store() if request.param == "memory" else LocalStore(tmp_path), 3)


def published(store: Store, count: int) -> Store:
    for n in range(1, count + 1):
        Versions(store).publish(draft(f"run-{n}"), FILES)
    return store


def delete(store: Store, version: int, *, who: str = "ana", why: str = "") -> ModelState:
    return delete_version(States(store), Tombstones(store), "digits", version, who=who, why=why)


def move(store: Store, step: partial[ModelState]) -> ModelState:
    return States(store).move("digits", step, who="bob")


def test_a_deleted_version_is_gone_for_readers_and_its_number_is_spent(store: Store) -> None:
    versions = Versions(store)
    delete(store, 3, why="wrong labels")
    with pytest.raises(NotFound, match=r"version 3 of 'digits' was deleted by ana on .*: wrong labels"):
        versions.get("digits", 3)
    assert [v.version for v in versions.list("digits")] == [2, 1]
    assert versions.newest("digits").version == 2
    assert resolve(Reference.parse("digits"), versions, States(store)) == 2
    assert versions.manifest("digits", 3).run_id == "run-3"
    assert versions.publish(draft("run-4"), FILES).version == 4
    history = States(store).history("digits")
    assert [(s.change.action, s.change.who, s.change.why) for s in history] == [
        ("delete", "ana", "wrong labels")
    ]


def test_a_model_without_any_version_left_says_so(store: Store) -> None:
    for version in (1, 2, 3):
        delete(store, version)
    assert Versions(store).models() == []
    assert Versions(store).list("digits") == []
    with pytest.raises(NotFound, match="every version of 'digits' was deleted"):
        resolve(Reference.parse("digits"), Versions(store), States(store))


def test_pages_skip_deleted_versions() -> None:
    store = published(memory_store(), 12)
    for version in (12, 11, 10, 9, 7, 2):
        delete(store, version)
    versions = Versions(store)
    assert [v.version for v in versions.list("digits", limit=3)] == [8, 6, 5]
    assert [v.version for v in versions.list("digits", limit=3, before=5)] == [4, 3, 1]
    assert versions.newest("digits").version == 8


def test_a_version_in_use_is_kept(store: Store) -> None:
    move(store, partial(deploy, version=1))
    move(store, partial(deploy, version=2))
    with pytest.raises(
        Refused, match=r"version 2 of 'digits' is deployed; first `raymaas undeploy digits@2`"
    ):
        delete(store, 2)
    move(store, partial(set_alias, alias="golden", version=3))
    with pytest.raises(Refused, match="alias 'golden' of 'digits' points at version 3"):
        delete(store, 3)
    assert len(Versions(store).list("digits")) == 3


@pytest.mark.parametrize(
    "step", [partial(deploy, version=3), partial(set_alias, alias="prod", version=3)], ids=["deploy", "alias"]
)
def test_no_move_brings_a_deleted_version_back(store: Store, step: partial[ModelState]) -> None:
    delete(store, 3)
    with pytest.raises(NotFound, match="version 3 of 'digits' was deleted"):
        move(store, step)
    delete(store, 2)  # The state names only the newest deletion; the tombstone of 3 must do now.
    with pytest.raises(NotFound, match="version 3 of 'digits' was deleted"):
        move(store, step)


def test_a_rollback_to_a_deleted_version_is_refused(store: Store) -> None:
    for version in (1, 2):
        move(store, partial(deploy, version=version))
    move(store, partial(set_alias, alias="golden", version=3))
    move(store, partial(promote, version=1))
    move(store, partial(set_alias, alias="golden", version=1))
    delete(store, 3)
    before = States(store).current("digits")
    with pytest.raises(NotFound, match="version 3 of 'digits' was deleted"):
        move(store, partial(rollback, past=States(store).past("digits")))
    assert States(store).current("digits") == before


def test_deleting_twice_or_what_never_was(store: Store) -> None:
    first = delete(store, 2)
    assert delete(store, 2, who="bob") == first
    delete(store, 3)
    with pytest.raises(NotFound, match="version 2 of 'digits' was deleted by ana"):
        delete(store, 2)
    with pytest.raises(NotFound, match="version 9 of 'digits' does not exist"):
        delete(store, 9)


@pytest.mark.parametrize("how", ["before", "after", "lost reply"])
def test_a_crash_at_any_step_leaves_a_version_kept_or_gone_and_the_next_deletion_finishes(how: str) -> None:
    at, finished = 0, False
    while not finished:
        at += 1
        inner = published(memory_store(), 3)
        crashing = CrashingStore(inner, at, how)  # type: ignore[arg-type]
        with suppress(Crash, OutcomeUnknown):
            delete(crashing, 3)
        finished = len(crashing.calls) < at
        begun = (state := States(inner).current("digits")) is not None and state.deletion is not None
        if begun:
            with pytest.raises(NotFound):
                move(inner, partial(deploy, version=3))
        delete(inner, 2)
        assert Tombstones(inner).find("digits", 2) is not None
        assert inner.exists(deleted_key("digits", 3)) is begun
        assert [v.version for v in Versions(inner).list("digits")] == ([1] if begun else [3, 1])
    assert at > 5


@pytest.mark.parametrize("undeployed_later", [False, True])
def test_a_deployment_at_any_step_of_a_deletion_never_runs_a_deleted_version(undeployed_later: bool) -> None:
    at, finished = 0, False
    while not finished:
        at += 1
        inner = published(memory_store(), 3)

        def deploy_beside(into: Store = inner) -> None:
            with suppress(NotFound):
                move(into, partial(deploy, version=3))
                if undeployed_later:
                    move(into, partial(undeploy, version=3, force=True))

        interrupted = InterruptedStore(inner, at, deploy_beside)
        with suppress(Refused, AlreadyExists):
            delete(interrupted, 3)
        finished = len(interrupted.calls) < at
        check_consistent(inner)
    assert at > 5


def test_a_deletion_at_any_step_of_a_deployment_never_leaves_a_deleted_version_running() -> None:
    at, finished = 0, False
    while not finished:
        at += 1
        inner = published(memory_store(), 3)

        def delete_beside(into: Store = inner) -> None:
            with suppress(RaymaasError):
                delete(into, 3)
                delete(into, 2)

        interrupted = InterruptedStore(inner, at, delete_beside)
        with suppress(NotFound, AlreadyExists):
            States(interrupted).move("digits", partial(deploy, version=3), who="bob", attempts=3)
        finished = len(interrupted.calls) < at
        check_consistent(inner)
    assert at > 3


def check_consistent(store: Store) -> None:
    state = States(store).current("digits")
    for version in state.scaling if state else ():
        assert Tombstones(store).find("digits", version) is None
        assert Versions(store).get("digits", version).version == version
