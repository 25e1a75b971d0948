"""`raymaas rollout` and `rollouts` against a real control plane: what users see of every decision."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from both_clients import Connect
from control_server import Switch, Type, World
from edge_rig import eventually
from rich.console import Console
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raymaas.cli.standings import shown
from raymaas.client import Client, flow, waiting
from raymaas.cluster.plan import PLAN_FILE, ClusterPlan
from raymaas.errors import NotFound, Unavailable
from raymaas.registry.layout import rollouts_folder
from raymaas.specs.demand import EdgeDemand, VersionOutcomes

PLAN = {"steps": [10, 100], "every_s": 60, "guards": {"max_error_rate": 0.05}}
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


def test_status_shows_a_rollout_under_way_with_its_numbers(
    world: World, raymaas: Type, asked: list[int], server: tuple[str, Switch]
) -> None:
    asked.append(0)
    guards = ("--min-requests", "100000", "--max-error-rate", "5%", "--max-p99-ratio", "1.5")
    given_up = ("--give-up-after", "1d")
    assert raymaas("rollout", "digits@2", "--steps", "10,50,100", *guards, *given_up, "--no-wait")[0] == 0
    with Client(server[0]) as client:
        eventually(
            lambda: world.conductor.rollouts.current("digits").whole.new.requests > 0, "it is measured"
        )
        (model,) = client.status().models
        console = Console(record=True, width=400, file=io.StringIO())
        console.print(shown([model]))
        told = console.export_text()
        assert model.rollout is not None
        assert "1=90 2=10" in told
        assert "rollout of digits@2 beside 1: advancing, step 1 of 3 ([10 %], 50 %, 100 %)" in told
        assert "waits for the step's time, " in told
        assert "of 100,000 requests of version 2" in told
        assert "; goes back if it still does at " in told
        assert "errors: 0.00% of" in told
        assert "at most 5.00%; evidence" in told
        client.rollouts.abort("digits")
        assert client.status().models[0].rollout is None


@pytest.mark.parametrize("as_json", [False, True])
def test_status_is_shown_again_until_it_is_interrupted(
    world: World, server: tuple[str, Switch], tmp_path: Path, as_json: bool
) -> None:
    world.demands.append(EdgeDemand(edge="a", versions={}, count="c", outcomes={}))
    command = [sys.executable, "-m", "raymaas.cli.main", "status", "--watch"]
    command += ["--json"] if as_json else []
    environment = os.environ | of_a_cluster(tmp_path, edge=server[0])
    with (
        Client(server[0]) as client,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as watching,
    ):
        assert watching.stdout is not None
        client.rollouts.begin("digits@2", PLAN)
        assert any("advancing" in line for line in watching.stdout)
        client.rollouts.pause("digits")
        paused = next(line for line in watching.stdout if "paused" in line)
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=30)
    assert (watching.returncode, err) == (1, ""), "its processes do not run"
    if as_json:
        assert json.loads(paused)["models"][0]["waits_for"] == "somebody to resume it"


def of_a_cluster(home: Path, *, edge: str) -> dict[str, str]:
    """The environment of a user from whose home a cluster with that edge was started."""
    plan = ClusterPlan(
        cluster_id="c1",
        mode="joined",
        run_dir=str(home / "run"),
        storage="memory://x",
        host="127.0.0.1",
        port=int(edge.rpartition(":")[2]),
        ray_address="127.0.0.1:1",
        dashboard_url="http://127.0.0.1:1",
        control_port=1,
        serve_port=1,
        edge_secret_file=str(home / "run" / "edge-secret"),
    )
    (home / "run").mkdir()
    (home / "run" / PLAN_FILE).write_bytes(plan.seal())
    return {"RAYMAAS_HOME": str(home)}


def test_following_outlives_a_control_plane_that_is_away(
    world: World, asked: list[int], server: tuple[str, Switch], connect: Connect
) -> None:
    asked.append(0)
    plan = {"steps": [10, 100], "every_s": 0.5, "min_requests": 10, "guards": {"max_error_rate": 0.05}}
    switch, app = server[1], server[1].app
    client = connect(server[0])
    begun = client.rollouts.begin("digits@2", plan)
    states = client.rollouts.follow("digits", after=begun.revision)
    seen = [next(states)]
    switch.app = away
    back = threading.Timer(2, setattr, (switch, "app", app))
    back.start()
    seen += states
    back.join()
    assert seen[-1].phase == "promoted"
    assert [state.revision for state in seen] == list(range(2, seen[-1].revision + 1))


def test_an_absence_is_remarked_once_and_waited_out(
    world: World, raymaas: Type, asked: list[int], server: tuple[str, Switch]
) -> None:
    asked.append(0)
    plan = ("--steps", "10,50,100", "--every", "1s", "--min-requests", "10", "--max-error-rate", "5%")
    switch, app = server[1], server[1].app

    def come_and_go() -> None:
        eventually(lambda: world.store.list(rollouts_folder("digits")), "the rollout has begun")
        switch.app = away
        time.sleep(3.5)
        switch.app = app

    absence = threading.Thread(target=come_and_go)
    absence.start()
    status, out, err = raymaas("rollout", "digits@2", *plan)
    absence.join()
    assert status == 0
    assert err.count("the rollout is in the store and goes on when the control plane is back") == 1
    revisions = [state.revision for state in world.conductor.rollouts.history("digits", limit=1000)]
    assert len(out.splitlines()) == len(revisions), "every decision is shown, those of the absence too"
    assert (
        raymaas("rollouts", "watch", "digits", "--away", "soon")[2].count("--away is a time such as 60s") == 1
    )


def test_an_absence_between_two_pages_is_waited_out_too(
    world: World, server: tuple[str, Switch], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_DECISIONS", 3)
    monkeypatch.setattr(flow, "RETRY_PAUSES_S", ())
    world.demands.append(EdgeDemand(edge="a", versions={}, count="c", outcomes={}))
    client = connect(server[0])
    begun = client.rollouts.begin("digits@2", PLAN)
    for _ in range(5):
        client.rollouts.pause("digits")
        client.rollouts.resume("digits")
    client.rollouts.abort("digits")
    app, pages, remarks = server[1].app, list[str](), list[Unavailable]()

    async def failing_once(scope: Scope, receive: Receive, send: Send) -> None:
        pages.extend([scope["path"]] if scope["path"].endswith("/rollouts") else [])
        second = scope["path"].endswith("/rollouts") and len(pages) == 2
        await (away if second else app)(scope, receive, send)

    server[1].app = failing_once
    states = client.rollouts.follow("digits", after=begun.revision, on_away=remarks.append)
    assert [state.revision for state in states] == list(range(2, 13))
    assert len(remarks) == 1


def test_following_ends_with_its_rollout_though_another_has_begun(world: World, client: Any) -> None:
    world.demands.append(EdgeDemand(edge="a", versions={}, count="c", outcomes={}))
    begun = client.rollouts.begin("digits@2", PLAN)
    client.rollouts.abort("digits")
    assert client.rollouts.begin("digits@2", PLAN).under_way
    seen = [state.phase for state in client.rollouts.follow("digits", after=begun.revision)]
    assert seen == ["aborted"]


def test_following_gives_up_after_a_time(world: World, server: tuple[str, Switch], connect: Connect) -> None:
    client = connect(server[0])
    world.demands.append(EdgeDemand(edge="a", versions={}, count="c", outcomes={}))
    client.rollouts.begin("digits@2", PLAN)
    states = client.rollouts.follow("digits", away_s=0.3)
    next(states)
    server[1].app = away
    with pytest.raises(Unavailable):
        next(states)


def test_no_decision_is_missed_however_many_there_were(
    world: World, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_DECISIONS", 3)
    world.demands.append(EdgeDemand(edge="a", versions={}, count="c", outcomes={}))
    client.rollouts.begin("digits@2", PLAN)
    states = client.rollouts.follow("digits")
    seen = [next(states).revision]
    for _ in range(5):
        client.rollouts.pause("digits")
        client.rollouts.resume("digits")
    client.rollouts.abort("digits")
    seen += [state.revision for state in states]
    assert seen == list(range(1, 13))


async def away(scope: Scope, receive: Receive, send: Send) -> None:
    """As the edge answers while there is no control plane."""
    await Response(b'{"error": "away"}', 503)(scope, receive, send)


def test_a_models_own_plan_is_used_and_single_options_change_it(
    world: World, raymaas: Type, asked: list[int]
) -> None:
    status, _, err = raymaas("rollout", "digits@2")
    assert status == 1
    assert "raymaas rollouts plan set digits" in err
    assert "raymaas rollout digits@VERSION --max-error-rate 0.5%" in err
    status, out, _ = raymaas(
        "rollouts", "plan", "set", "digits", "--steps", "20,100", *GUARDED, "--give-up-after", "1h"
    )
    assert status == 0
    assert "max_error_rate: 0.05" in out
    assert raymaas("rollouts", "plan", "show", "digits")[1] == out
    asked.append(0)
    status, out, _ = raymaas(
        "rollout", "digits@2", "--steps", "30,100", "--max-disagreement", "7%", "--no-wait"
    )
    assert status == 0
    plan = world.conductor.rollouts.current("digits").plan
    assert (plan.steps, plan.every_s, plan.give_up_after_s) == ((30, 100), 1, 3600)
    assert plan.guards.bounds == {"errors": 0.05, "disagreement": 0.07}
    assert raymaas("rollouts", "plan", "remove", "digits")[0] == 0
    assert raymaas("rollouts", "plan", "show", "digits")[0] == 1
    assert "say what versions have to keep to" in raymaas("rollouts", "plan", "set", "digits")[2]


def test_a_plan_over_http_and_from_python(world: World, client: Any) -> None:
    world.demands.append(EdgeDemand(edge="a", versions={}, count="c", outcomes={}))
    with pytest.raises(NotFound):
        client.rollouts.begin("digits@2")
    assert client.rollouts.plan_set("digits", PLAN, why="rules").why == "rules"
    assert client.rollouts.begin("digits@2").plan == client.rollouts.plan("digits").plan
    assert client.rollouts.plan_remove("digits").plan is None
