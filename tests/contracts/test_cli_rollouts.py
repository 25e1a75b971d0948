"""`raymaas rollout` and `rollouts` against a real control plane: what users see of every decision."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from control_server import Type, World

from raymaas.specs.demand import EdgeDemand, VersionOutcomes

GUARDED = ("--every", "1s", "--min-requests", "10", "--max-error-rate", "5%")


@pytest.fixture
def world(world: World) -> World:
    """With two deployed versions, of which the first has the traffic."""
    for version in (1, 2):
        world.publish()
        world.deploy(version)
    return world


@pytest.fixture
def asked(world: World) -> Iterator[list[int]]:
    """While it holds a number, so many of ten requests to version 2 fail, again and again, and rounds are made."""
    failing, stop, total = list[int](), threading.Event(), [0, 0]

    def carry_on() -> None:
        while not stop.wait(0.05):
            if failing and world.conductor.rollouts.models():
                total[0] += 10
                total[1] += failing[0]
                outcomes = {"digits@2": VersionOutcomes(answered=total[0], failed=total[1])}
                world.demands.append(EdgeDemand(edge="a", versions={}, count="c", outcomes=outcomes))
                world.conductor.round()

    world.demands.append(
        EdgeDemand(
            edge="a", versions={}, count="c", outcomes={"digits@2": VersionOutcomes(answered=0, failed=0)}
        )
    )
    thread = threading.Thread(target=carry_on)
    thread.start()
    yield failing
    stop.set()
    thread.join()


def test_a_good_version_is_followed_until_it_is_promoted(
    world: World, raymaas: Type, asked: list[int]
) -> None:
    asked.append(0)
    status, out, _ = raymaas("rollout", "digits@2", "--steps", "10,100", *GUARDED)
    assert status == 0
    first, *_, last = out.splitlines()
    assert "begins at 10 %" in first
    assert "Promoted digits@2, which kept its bounds" in last
    state = world.states.current("digits")
    assert state is not None
    assert (state.traffic, state.aliases) == ({1: 0, 2: 100}, {"prod": 2})

    status, out, _ = raymaas("rollouts", "history", "digits", "--limit", "1000", "--json")
    assert status == 0
    assert [one["decision"]["action"] for one in json.loads(out)][-1] == "begin"


def test_a_bad_version_ends_with_status_1_and_its_numbers(
    world: World, raymaas: Type, asked: list[int]
) -> None:
    asked.append(9)
    status, out, err = raymaas("rollout", "digits@2", "--steps", "10,100", *GUARDED)
    assert status == 1
    assert "digits@2 was not promoted" in err
    assert "9 of 10" in err
    state = world.states.current("digits")
    assert state is not None
    assert state.traffic == {1: 100, 2: 0}

    status, out, _ = raymaas("rollouts", "show", "digits")
    assert status == 0
    assert "errors" in out
    assert "5.00%" in out
    status, _, err = raymaas("rollouts", "watch", "digits")
    assert status == 1
    assert "was not promoted" in err


def test_a_rollout_is_moved_by_hand(world: World, raymaas: Type) -> None:
    status, _, err = raymaas("rollout", "digits@2", "--max-p99-ratio", "1.2", "--no-wait")
    assert status == 0
    assert "raymaas rollouts watch digits" in " ".join(err.split())
    assert raymaas("rollouts", "pause", "digits", "--why", "lunch")[1].endswith("(lunch)\n")
    assert "Resumed at 1 %" in raymaas("rollouts", "resume", "digits")[1]
    assert "digits@1 answers again" in raymaas("rollouts", "abort", "digits")[1]
    status, _, err = raymaas("rollouts", "promote", "digits")
    assert status == 1
    assert "has ended" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--max-error-rate 0.5%"),
        (("--max-error-rate", "half"), "--max-error-rate is a share such as 0.5%"),
        (("--max-error-rate", "1%", "--every", "soon"), "--every is a time such as 60s"),
        (("--max-error-rate", "1%", "--steps", "1,ten"), "--steps are whole percents"),
        (("--max-error-rate", "1%", "--steps", "10,50"), "the last step must be 100"),
    ],
)
def test_a_mistake_is_named_and_nothing_begins(
    world: World, raymaas: Type, options: tuple[str, ...], said: str
) -> None:
    status, _, err = raymaas("rollout", "digits@2", *options)
    assert status == 1
    assert said in err
    assert world.conductor.rollouts.models() == []
