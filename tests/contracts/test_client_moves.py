"""ClientContract: what is deployed, moved, rolled out and listed, by Client and AsyncClient alike."""

from __future__ import annotations

from typing import Any

import pytest
from control_server import World

from raymaas.errors import (
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from raymaas.specs.serving import Scaling, Shadow

ROWS = [[1.0, 2.0], [-3.0, 0.5]]


def test_deploy_waits_until_the_version_answers(world: World, client: Any) -> None:
    world.publish()
    world.starting[1] = 2
    state = client.deploy("digits@1", scaling=Scaling(min_replicas=2, max_replicas=3), why="first")
    assert (state.scaling[1].max_replicas, state.change.why) == (3, "first")
    assert world.starting[1] == 0
    assert client.deployments("digits")[0].status == "ready"


def test_deploy_without_waiting_returns_while_it_starts(world: World, client: Any) -> None:
    world.publish()
    world.starting[1] = 5
    client.deploy("digits@1", wait=False)
    assert world.starting[1] == 5


def test_deploy_by_alias_waits_for_the_version_it_meant(world: World, client: Any) -> None:
    world.publish()
    client.alias_set("digits@prod", 1)
    assert list(client.deploy("digits@prod").scaling) == [1]


def test_deploy_of_a_version_that_cannot_run_says_why(world: World, client: Any) -> None:
    world.publish()
    world.failed[1] = "weights do not fit the memory"
    with pytest.raises(Unavailable, match="digits@1 was deployed but cannot run: weights do not fit"):
        client.deploy("digits@1")


def test_deploy_that_takes_too_long_is_outcome_unknown(world: World, client: Any) -> None:
    world.publish()
    world.starting[1] = 1000
    with pytest.raises(OutcomeUnknown, match=r"placing replicas.*it goes on"):
        client.deploy("digits@1", timeout_s=0.01)


def test_deploy_needs_a_version(client: Any) -> None:
    with pytest.raises(InvalidInput, match="digits@1"):
        client.deploy("digits")


def test_moves_are_read_back_with_who_and_why(world: World, client: Any) -> None:
    for _ in range(2):
        world.publish()
    client.deploy("digits@1")
    client.deploy("digits@2")
    client.alias_set("digits@prod", 1, why="first")
    state = client.traffic("digits", {1: 90, 2: 10}, why="try two")
    assert client.models.state("digits") == state
    assert state.traffic == {1: 90, 2: 10}
    newest, before, *_ = client.models.history("digits")
    assert (newest.action, newest.why, before.action, before.why) == ("traffic", "try two", "alias", "first")
    assert newest.who not in ("", "anonymous")
    summary = client.models.get("digits")
    assert (summary.newest, summary.aliases, summary.traffic) == (2, {"prod": 1}, {1: 90, 2: 10})
    with pytest.raises(Refused, match="traffic"):
        client.undeploy("digits@2")
    client.traffic("digits", {1: 100})
    undeployed = client.undeploy("digits@2", why="too slow")
    assert (list(undeployed.scaling), undeployed.change.why) == ([1], "too slow")
    assert client.delete("digits@2", why="for good").change.why == "for good"
    with pytest.raises(NotFound, match="version 2 of 'digits' was deleted"):
        client.models.version("digits@2")
    with pytest.raises(Refused, match="deployed"):
        client.delete("digits@1")


def test_what_callers_are_known_by_is_told_kept_and_ended(world: World, client: Any) -> None:
    for version in (1, 2):
        world.publish()
        client.deploy(f"digits@{version}")
    state = client.traffic("digits", {1: 90, 2: 10}, sticky="header:X-User")
    assert (state.sticky, state.traffic) == ("header:x-user", {1: 90, 2: 10})
    assert client.models.get("digits").sticky == "header:x-user"
    assert client.traffic("digits", {1: 80, 2: 20}).sticky == "header:x-user"
    ended = client.traffic("digits", sticky="off", why="no longer")
    assert (ended.sticky, ended.traffic, ended.change.why) == (None, {1: 80, 2: 20}, "no longer")
    for wrong in ("x-user", "header:", "header:x_user", "header:x-raymaas-key", "cookie:a"):
        with pytest.raises(InvalidInput, match="header:x-user"):
            client.traffic("digits", sticky=wrong)
    with pytest.raises(InvalidInput, match="nothing is to change"):
        client.traffic("digits")


def test_a_version_is_asked_to_shadow_and_no_longer(world: World, client: Any) -> None:
    for version in (1, 2):
        world.publish()
        client.deploy(f"digits@{version}")
    client.alias_set("digits@next", 2)
    shadow = Shadow(version=2, sample=0.2)
    assert client.traffic("digits", shadow="digits@next", sample=0.2).shadow == shadow
    assert client.models.get("digits").shadow == shadow
    assert client.traffic("digits", {1: 90, 2: 10}).shadow == shadow
    assert client.traffic("digits", shadow="off").shadow is None
    assert client.traffic("digits", shadow="digits@2").shadow == Shadow(version=2, sample=0.1)
    for wrong in ("digits", "churn@2"):
        with pytest.raises(InvalidInput, match="write it as digits@3"):
            client.traffic("digits", shadow=wrong)
    with pytest.raises(InvalidInput, match="sample"):
        client.traffic("digits", shadow="digits@2", sample=2)
    with pytest.raises(InvalidInput, match="say to which version"):
        client.traffic("digits", sample=0.5)
    world.publish()
    with pytest.raises(Refused, match="first `raymaas deploy digits@3`"):
        client.traffic("digits", shadow="digits@3")


def test_promote_and_rollback_move_what_answers_and_repeat_further_back(world: World, client: Any) -> None:
    for version in (1, 2):
        world.publish()
        client.deploy(f"digits@{version}")
    client.promote("digits@1")
    client.alias_set("digits@canary", 2)
    promoted = client.promote("digits@canary", why="canary was better")
    assert (promoted.aliases["prod"], promoted.traffic) == (2, {1: 0, 2: 100})
    assert client.model("digits").predict(ROWS).model_version == 2
    first = client.rollback("digits", why="slow")
    assert (first.aliases, first.traffic) == ({"prod": 1, "canary": 2}, {1: 100, 2: 0})
    assert client.model("digits").predict(ROWS).model_version == 1
    assert client.rollback("digits").aliases == {"prod": 1}
    forward = client.rollback("digits", to=promoted.revision)
    assert (forward.aliases, forward.traffic) == (promoted.aliases, promoted.traffic)
    back, *_ = client.models.history("digits", limit=1, before=first.revision + 1)
    assert (back.revision, back.action, back.why, back.undoes) == (
        first.revision,
        "rollback",
        "slow",
        promoted.revision,
    )
    assert "prod: 2 -> 1" in back.summary


def test_promote_needs_a_version_that_is_deployed(world: World, client: Any) -> None:
    world.publish()
    with pytest.raises(InvalidInput, match="digits@1"):
        client.promote("digits")
    with pytest.raises(Refused, match="`raymaas deploy digits@1`"):
        client.promote("digits@1")
    with pytest.raises(InvalidInput, match="rollback: to"):
        client.rollback("digits", to=0)
    with pytest.raises(Refused, match="nothing to roll back"):
        client.rollback("digits")


def test_versions_are_listed_in_pages_newest_first(world: World, client: Any) -> None:
    for _ in range(5):
        world.publish()
    first = client.models.versions("digits", limit=3)
    second = client.models.versions("digits", limit=3, before=first.next_before)
    assert [v.version for v in (*first.versions, *second.versions)] == [5, 4, 3, 2, 1]
    assert second.next_before is None
    assert client.models.version("digits@2") == world.versions.get("digits", 2)
    assert [m.model for m in client.models.list()] == ["digits"]


def test_a_rollout_is_begun_moved_by_hand_and_followed_to_its_end(world: World, client: Any) -> None:
    for version in (1, 2):
        world.publish()
        client.deploy(f"digits@{version}")
    with pytest.raises(NotFound, match="was never rolled out"):
        client.rollouts.get("digits")
    with pytest.raises(InvalidInput, match="max_error_rate"):
        client.rollouts.begin("digits@2", {"steps": [10, 100], "every_s": 60, "guards": {}})
    plan = {"steps": [10, 100], "every_s": 60, "guards": {"max_error_rate": 0.01}}
    begun = client.rollouts.begin("digits@2", plan, why="new data")
    assert (begun.phase, begun.old, begun.decision.why) == ("advancing", 1, "new data")
    assert client.models.state("digits").traffic == {1: 90, 2: 10}
    with pytest.raises(Refused, match="is being rolled out to version 2"):
        client.rollouts.begin("digits@2", plan)

    assert client.rollouts.pause("digits", why="lunch").phase == "paused"
    assert client.rollouts.resume("digits").phase == "advancing"
    assert client.rollouts.abort("digits", why="enough").phase == "aborted"
    assert client.models.state("digits").traffic == {1: 100, 2: 0}
    with pytest.raises(Refused, match="has ended"):
        client.rollouts.promote("digits")
    actions = [state.decision.action for state in client.rollouts.history("digits", limit=3)]
    assert actions == ["abort", "resume", "pause"]

    client.rollouts.begin("digits@2", plan)
    shown = []
    for state in client.rollouts.follow("digits"):
        shown.append(state.decision.action)
        if len(shown) == 1:
            client.rollouts.pause("digits")
            client.rollouts.promote("digits")
    assert shown == ["begin", "pause", "promote"], "every decision, though two came between two looks"
    assert client.models.state("digits").aliases == {"prod": 2}
