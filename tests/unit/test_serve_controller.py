"""The reconcile loop, over a real registry and a Ray Serve that only remembers what it was told."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from functools import partial

import pytest
from registry_examples import with_versions

from raymaas.errors import Unavailable
from raymaas.registry import moves
from raymaas.registry.keys import Keys
from raymaas.registry.states import States
from raymaas.serve.controller import Controller
from raymaas.serve.plan import Action, RunningApp, Start, Stop, Target, config_digest
from raymaas.specs.keys import Grant
from raymaas.specs.serving import Scaling
from raymaas.store import MemoryStore

ONE, TWO = Target("digits", 1), Target("digits", 2)


class RememberingServe:
    """Runs at once what it is told to."""

    def __init__(self) -> None:
        self.apps: dict[Target, RunningApp] = {}
        self.applied: list[Action] = []
        self.answers = True

    def running(self) -> tuple[dict[Target, RunningApp], tuple[str, ...]]:
        if not self.answers:
            raise Unavailable("the dashboard does not answer")
        return dict(self.apps), ("127.0.0.1:8000",)

    def apply(self, actions: list[Action], *, release: str) -> None:
        self.applied += actions
        for action in actions:
            if isinstance(action, Stop):
                del self.apps[action.target]
            else:
                digest = config_digest(action.scaling, release=release)
                self.apps[action.target] = RunningApp(action.target, "ready", "", 1, digest)


@pytest.fixture
def states() -> States:
    return States(with_versions(MemoryStore(lambda: datetime.now(UTC)), 3))


@pytest.fixture
def backend() -> RememberingServe:
    return RememberingServe()


def table(controller: Controller, after: str | None = None, wait_s: float = 0.0) -> object:
    return asyncio.run(controller.table(after, wait_s))


def statuses(controller: Controller, wanted: Scaling) -> dict[int, str]:
    return {v: found.status for v, found in controller.statuses("digits", {1: wanted}).items()}


def test_a_deployed_version_is_started_and_then_told_to_edges(
    states: States, backend: RememberingServe
) -> None:
    controller = Controller(states, backend, release="r")
    states.move("digits", partial(moves.deploy, version=1), who="me")

    assert controller.reconcile() == [Start(ONE, Scaling())]
    assert controller.reconcile() == []

    found = table(controller)
    assert found is not None
    assert found.traffic == {"digits": {1: 100}}  # type: ignore[attr-defined]
    assert statuses(controller, Scaling()) == {1: "ready"}
    assert statuses(controller, Scaling(max_replicas=3)) == {1: "starting"}, "ready is what was there before"


def test_a_restarted_controller_starts_nothing_again(states: States, backend: RememberingServe) -> None:
    states.move("digits", partial(moves.deploy, version=1), who="me")
    Controller(states, backend, release="r").reconcile()

    assert Controller(states, backend, release="r").reconcile() == []
    assert Controller(states, backend, release="newer code").reconcile() == [Start(ONE, Scaling())]


def test_a_moved_weight_reaches_edges_while_ray_serve_does_not_answer(
    states: States, backend: RememberingServe
) -> None:
    controller = Controller(states, backend, release="r")
    for version in (1, 2):
        states.move("digits", partial(moves.deploy, version=version), who="me")
    controller.reconcile()
    controller.reconcile()
    backend.answers = False
    states.move("digits", partial(moves.set_traffic, weights={1: 0, 2: 100}), who="me")

    with pytest.raises(Unavailable):
        controller.reconcile()

    found = table(controller)
    assert found is not None
    assert found.traffic == {"digits": {2: 100}}  # type: ignore[attr-defined]


def test_a_revoked_key_leaves_the_edges_while_ray_serve_does_not_answer(
    states: States, backend: RememberingServe
) -> None:
    keys = Keys(MemoryStore(lambda: datetime.now(UTC)))
    controller = Controller(states, backend, release="r", ring=keys.ring)
    controller.reconcile()
    without = table(controller)
    keys.create(Grant(name="ops", scopes=("admin",)), who="me")
    keys.create(Grant(name="shop"), who="me")
    controller.reconcile()
    both = table(controller, after=without.revision)  # type: ignore[attr-defined]
    assert [key.name for key in both.keys] == ["ops", "shop"]  # type: ignore[attr-defined]

    backend.answers = False
    keys.revoke("shop", who="me")
    with pytest.raises(Unavailable):
        controller.reconcile()
    left = table(controller, after=both.revision)  # type: ignore[attr-defined]
    assert [key.name for key in left.keys] == ["ops"]  # type: ignore[attr-defined]


def test_an_error_does_not_end_the_loop(states: States, backend: RememberingServe) -> None:
    controller = Controller(states, backend, release="r")
    states.move("digits", partial(moves.deploy, version=1), who="me")
    backend.answers = False
    stop, recovered = threading.Event(), threading.Event()
    reconcile = controller.reconcile

    def recovering() -> list[Action]:
        try:
            return reconcile()
        finally:
            backend.answers = True
            if backend.applied:
                recovered.set()

    controller.reconcile = recovering  # type: ignore[method-assign]
    loop = threading.Thread(target=controller.run, args=(stop,), kwargs={"every_s": 0.01})
    loop.start()

    assert recovered.wait(timeout=10)
    stop.set()
    controller.poke()
    loop.join()


def test_an_agent_waits_for_a_change_and_is_let_go_at_the_end(
    states: States, backend: RememberingServe
) -> None:
    controller = Controller(states, backend, release="r")
    controller.reconcile()
    first = table(controller)
    assert first is not None
    assert table(controller, after=first.revision) is None  # type: ignore[attr-defined]

    got: list[object] = []
    waiting = threading.Thread(
        target=lambda: got.append(table(controller, after=first.revision, wait_s=60.0))  # type: ignore[attr-defined]
    )
    waiting.start()
    states.move("digits", partial(moves.deploy, version=1), who="me")
    controller.reconcile()
    controller.reconcile()
    waiting.join(timeout=10)
    assert [t.targets[0].version for t in got] == [1]  # type: ignore[attr-defined]

    late = threading.Thread(target=lambda: got.append(table(controller, after=got[0].revision, wait_s=60.0)))  # type: ignore[attr-defined]
    late.start()
    controller.close()
    late.join(timeout=10)
    assert got[1] is None
