"""Deciding what Ray Serve should run, and what edges are told of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaas.serve.plan import (
    Action,
    RunningApp,
    Start,
    Stop,
    Target,
    config_digest,
    edge_table,
    plan,
    reachable,
    target_of,
    wanted_apps,
)
from raymaas.specs.serving import Change, EdgeTable, ModelState, Scaling, Shadow

ONE, TWO = Target("digits", 1), Target("digits", 2)
RELEASE = "r1"


def state(
    traffic: dict[int, int], *, versions: tuple[int, ...] = (1, 2), aliases: dict[str, int] | None = None
) -> ModelState:
    change = Change(action="traffic", summary="x", who="me", at="2026-01-01T00:00:00Z")  # type: ignore[arg-type]
    return ModelState(
        model="digits",
        revision=1,
        write_id="w",
        aliases=aliases or {},
        traffic=traffic,
        scaling={v: Scaling() for v in versions},
        change=change,
    )


def running(
    target: Target, *, live: int = 1, status: str = "ready", scaling: Scaling | None = None
) -> RunningApp:
    digest = config_digest(scaling or Scaling(), release=RELEASE)
    return RunningApp(target, status, "", live, digest)  # type: ignore[arg-type]


def test_what_runs_as_wanted_is_left_alone() -> None:
    assert plan({ONE: Scaling()}, {ONE: running(ONE)}, release=RELEASE) == []


def test_missing_versions_start_before_unwanted_ones_stop() -> None:
    actions = plan({TWO: Scaling()}, {ONE: running(ONE)}, release=RELEASE)

    assert actions == [Start(TWO, Scaling()), Stop(ONE)]


@pytest.mark.parametrize("release", [RELEASE, "r2"])
def test_a_changed_scaling_or_release_is_deployed_again(release: str) -> None:
    wanted = Scaling(max_replicas=2) if release == RELEASE else Scaling()

    assert plan({ONE: wanted}, {ONE: running(ONE)}, release=release) == [Start(ONE, wanted)]


def test_a_version_that_is_still_stopping_is_neither_started_nor_stopped_again() -> None:
    stopping = running(ONE, status="stopping", scaling=Scaling(threads=7))

    assert plan({ONE: Scaling()}, {ONE: stopping}, release=RELEASE) == []
    assert plan({}, {ONE: stopping}, release=RELEASE) == []


@given(
    wanted=st.dictionaries(
        st.sampled_from([ONE, TWO, Target("m", 1)]), st.builds(Scaling, threads=st.integers(1, 3))
    ),
    current=st.dictionaries(
        st.sampled_from([ONE, TWO, Target("m", 1)]), st.builds(Scaling, threads=st.integers(1, 3))
    ),
)
def test_carrying_out_a_plan_leaves_nothing_to_plan(
    wanted: dict[Target, Scaling], current: dict[Target, Scaling]
) -> None:
    before = {target: running(target, scaling=scaling) for target, scaling in current.items()}

    after = carried_out(before, plan(wanted, before, release=RELEASE))

    assert plan(wanted, after, release=RELEASE) == []
    assert after.keys() == wanted.keys()


def carried_out(apps: dict[Target, RunningApp], actions: list[Action]) -> dict[Target, RunningApp]:
    apps = dict(apps)
    for action in actions:
        if isinstance(action, Start):
            apps[action.target] = running(action.target, scaling=action.scaling)
        else:
            del apps[action.target]
    return apps


def test_wanted_apps_are_the_deployed_versions_of_all_models() -> None:
    assert wanted_apps([state({1: 100})]) == {ONE: Scaling(), TWO: Scaling()}


def test_an_application_of_somebody_else_is_not_ours() -> None:
    assert target_of("digits@2") == TWO
    assert target_of("default") is None
    assert target_of("digits@0") is None


def test_edges_route_only_versions_with_a_live_replica() -> None:
    apps = {ONE: running(ONE), TWO: running(TWO, live=0, status="starting")}

    table = edge_table([state({1: 90, 2: 10}, aliases={"prod": 1})], reachable(apps), proxies=["127.0.0.1:1"])

    assert [t.version for t in table.targets] == [1]
    assert table.targets[0].path_prefix == "/models/digits/1"
    assert table.traffic == {"digits": {1: 100}}
    assert table.aliases == {"digits": {"prod": 1}}


def test_weights_of_live_versions_are_scaled_to_100_by_largest_remainder() -> None:
    apps = {Target("digits", v): running(Target("digits", v)) for v in (1, 2, 3)}
    wanted = state({1: 30, 2: 30, 3: 30, 4: 10}, versions=(1, 2, 3, 4))

    table = edge_table([wanted], reachable(apps), proxies=[])

    assert table.traffic == {"digits": {1: 34, 2: 33, 3: 33}}


def test_edges_learn_the_buckets_and_lend_those_of_a_version_that_is_away() -> None:
    odd = (2,) * 10 + (1,) * 90
    wanted = state({1: 90, 2: 10}).model_copy(update={"buckets": odd, "sticky": "header:x-user"})

    def told(*live: Target) -> EdgeTable:
        return edge_table([wanted], set(live), proxies=[])

    assert told(ONE, TWO).buckets == {"digits": odd}
    assert told(ONE, TWO).sticky == {"digits": "x-user"}
    assert (told(ONE).traffic, told(ONE).buckets) == ({"digits": {1: 100}}, {})
    assert told(ONE, TWO) == told(TWO, ONE)
    in_order = edge_table([state({1: 90, 2: 10})], {ONE, TWO}, proxies=[])
    assert (in_order.buckets, in_order.sticky) == ({}, {})


def test_edges_mark_copies_only_for_a_version_that_is_live() -> None:
    wanted = state({1: 100}).model_copy(update={"shadow": Shadow(version=2, sample=0.2)})
    assert edge_table([wanted], {ONE, TWO}, proxies=[]).shadows == {"digits": wanted.shadow}
    assert edge_table([wanted], {ONE}, proxies=[]).shadows == {}


def test_only_a_version_that_is_live_answers_for_others() -> None:
    wanted = state({1: 100}).model_copy(update={"fallback": 2})
    assert edge_table([wanted], {ONE, TWO}, proxies=[]).fallbacks == {"digits": 2}
    assert edge_table([wanted], {ONE}, proxies=[]).fallbacks == {}


def test_the_revision_names_the_content() -> None:
    apps = {ONE: running(ONE), TWO: running(TWO)}

    def revision(traffic: dict[int, int]) -> str:
        return edge_table([state(traffic)], reachable(apps), proxies=["127.0.0.1:1"]).revision

    assert revision({1: 100}) == revision({1: 100})
    assert revision({1: 100}) != revision({1: 90, 2: 10})


def test_edges_are_told_where_the_replicas_of_each_version_listen() -> None:
    apps = {ONE: replace(running(ONE), addresses=("127.0.0.1:9", "127.0.0.1:8")), TWO: running(TWO)}

    table = edge_table([state({1: 100})], reachable(apps), proxies=[], running=apps)

    assert [target.replicas for target in table.targets] == [("127.0.0.1:8", "127.0.0.1:9"), ()]
    moved = {**apps, ONE: running(ONE)}
    assert table.revision != edge_table([state({1: 100})], set(apps), proxies=[], running=moved).revision


def test_the_share_of_a_version_that_is_not_well_goes_to_those_that_are() -> None:
    ill, well = running(ONE, live=0, status="unhealthy"), running(TWO)

    def routed(apps: dict[Target, RunningApp]) -> tuple[list[int], dict[int, int]]:
        live = reachable(apps, before={ONE, TWO})
        table = edge_table([state({1: 90, 2: 10})], live, proxies=[], running=apps)
        return [target.version for target in table.targets], table.traffic["digits"]

    assert routed({ONE: running(ONE), TWO: well}) == ([1, 2], {1: 90, 2: 10})
    assert routed({ONE: ill, TWO: well}) == ([1, 2], {2: 100}), "pinned requests still wait for it"
    assert routed({ONE: ill, TWO: running(TWO, live=0, status="unhealthy")}) == ([1, 2], {1: 90, 2: 10})


def test_a_version_that_lost_its_replicas_is_waited_for_until_it_is_given_up() -> None:
    gone = running(ONE, live=0, status="starting")

    assert reachable({ONE: gone}) == set()
    assert reachable({ONE: gone}, before={ONE}) == {ONE}
    ill = running(ONE, live=0, status="unhealthy")
    assert reachable({ONE: ill}, before={ONE}) == {ONE}
    assert reachable({ONE: replace(ill, status="failed")}, before={ONE}) == set()
    assert reachable({ONE: replace(ill, status="failed", live_replicas=1)}, before={ONE}) == {ONE}
    assert reachable({ONE: running(ONE, status="stopping")}, before={ONE}) == set()
    assert reachable({}, before={ONE}) == set()
