"""Rollouts of real versions under load: a good one, past a killed controller, and three bad ones. Nothing fails.

Of the bad ones one answers otherwise, one takes too long, and one fails on some inputs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from journey_home import ROOT, Home, wait_until

from raymaas.client import Client
from raymaas.errors import RaymaasError, Unavailable
from raymaas.specs.rollouts import RolloutState

pytestmark = [pytest.mark.journey]

_CALLERS = 3


@pytest.fixture(scope="module")
def wrong(home: Home, digits: str) -> Iterator[int]:
    """`digits@1` with all traffic, and a version deployed that has learned next to nothing; gives its number."""
    with home.client() as client:
        settings = ("training.epochs=1", "training.learning_rate=0.00001", "training.early_stopping=null")
        version = home.train_here(ROOT / "jobs/train_digits.yaml", *settings)
        client.deploy(f"digits@{version}", timeout_s=120)
        client.promote("digits@1")
        yield version
        client.promote("digits@1")
        client.undeploy(f"digits@{version}")


BAD = {
    "kind": "train",
    "model": "digits",
    "data": {"use": "digits"},
    "split": {"validation": 0.02, "test": 0.05},
    "architecture": {"use": "bad_network:Bad"},
    "training": {"steps": 2, "batch_size": 8},
}


@pytest.fixture(scope="module")
def bad(home: Home, digits: str) -> Iterator[int]:
    """`digits@1` with all traffic, and a version deployed that is slow and fails on some inputs; gives its number."""
    with home.client() as client:
        version = home.train_here(BAD)
        client.deploy(f"digits@{version}", timeout_s=120)
        client.promote("digits@1")
        yield version
        client.promote("digits@1")
        client.undeploy(f"digits@{version}")


@contextmanager
def asked(home: Home, rows: np.ndarray) -> Iterator[list[str]]:
    """What failed of what some callers ask meanwhile."""
    failures, stop = list[str](), threading.Event()

    def ask() -> None:
        with home.client() as client:
            model, place = client.model("digits"), 0
            while not stop.is_set():
                try:
                    model.predict(rows[place % len(rows)][None])
                except RaymaasError as error:
                    failures.append(str(error))
                place += 1
                time.sleep(0.01)

    callers = [threading.Thread(target=ask) for _ in range(_CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield failures
    finally:
        stop.set()
        for caller in callers:
            caller.join()


def ended(client: Client) -> RolloutState:
    state: RolloutState | None = None
    deadline = time.monotonic() + 120
    while (state is None or state.under_way) and time.monotonic() < deadline:
        time.sleep(0.5)
        with contextlib.suppress(Unavailable):  # while its controller is started again
            state = client.rollouts.get("digits")
    assert state is not None
    return state


def test_a_version_that_answers_otherwise_goes_back_by_itself_and_nothing_fails(
    home: Home, wrong: int, rows: np.ndarray
) -> None:
    plan = {"steps": [20, 100], "every_s": 5, "min_requests": 50, "guards": {"max_disagreement": 0.05}}
    with home.client() as client, asked(home, rows) as failures:
        client.rollouts.begin(f"digits@{wrong}", plan)
        state = ended(client)
    assert state.phase == "rolled_back", state.decision.summary
    assert state.whole.new.disagreed > 0
    assert failures == []
    with home.client() as client:
        wanted = client.models.state("digits")
    assert (wanted.traffic[1], wanted.shadow, wanted.aliases["prod"]) == (100, None, 1)


def test_a_slow_version_goes_back_by_itself_and_nothing_fails(home: Home, bad: int, rows: np.ndarray) -> None:
    plan = {"steps": [30, 100], "every_s": 5, "min_requests": 100, "guards": {"max_p99_ratio": 1.2}}
    with home.client() as client, asked(home, rows) as failures:
        client.rollouts.begin(f"digits@{bad}", plan)
        state = ended(client)
        wanted = client.models.state("digits")
    assert state.phase == "rolled_back", state.decision.summary
    assert "p99" in state.decision.summary
    assert failures == []
    assert (wanted.traffic[1], wanted.fallback) == (100, None)


def test_a_version_that_fails_on_some_inputs_goes_back_by_itself_and_nobody_sees_it(
    home: Home, bad: int, rows: np.ndarray
) -> None:
    some = rows.copy()
    some[::3, 0] = 9  # what no test row had
    plan = {"steps": [30, 100], "every_s": 5, "min_requests": 100, "guards": {"max_error_rate": 0.02}}
    with home.client() as client, asked(home, some) as failures:
        client.rollouts.begin(f"digits@{bad}", plan)
        state = ended(client)
    assert state.phase == "rolled_back", state.decision.summary
    assert state.whole.new.errors > 0
    assert failures == []
    # It does fail: who pins it is told.
    with home.client() as client, pytest.raises(RaymaasError, match="the model failed on this request"):
        client.model(f"digits@{bad}").predict(some[:1])


def test_a_good_version_is_promoted_past_a_killed_controller_and_nothing_fails(
    home: Home, wrong: int, rows: np.ndarray
) -> None:
    """Version 1 is the good one here: it takes the traffic over from the other, which answers as surely."""
    with home.client() as client:
        client.promote(f"digits@{wrong}")
    plan = {"steps": [20, 50, 100], "every_s": 6, "min_requests": 50, "guards": {"max_error_rate": 0.02}}
    with home.client() as client, asked(home, rows) as failures:
        client.rollouts.begin("digits@1", plan)
        wait_until(
            lambda: client.rollouts.get("digits").whole.new.requests > 0, timeout_s=30, what="it is measured"
        )
        os.kill(home.table().processes["controller"].pid, signal.SIGKILL)
        state = ended(client)
    assert state.phase == "promoted", state.decision.summary
    assert failures == []
    with home.client() as client:
        wanted = client.models.state("digits")
        steps = [s.decision.action for s in client.rollouts.history("digits", limit=1000) if s.new == 1]
    assert (wanted.traffic[1], wanted.aliases["prod"]) == (100, 1)
    assert [action for action in reversed(steps) if action != "measure"] == [
        "begin",
        "advance",
        "advance",
        "promote",
    ]
