"""Routes: stable slots, exact weights with the least movement, and a map that reads back as written."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymaas.errors import IntegrityError, InvalidInput, Refused
from raymaas.serve.edge.routes import Routes, plan, slots_for
from raymaas.specs.serving import EdgeTable, EdgeTarget, Shadow


def table(
    targets: dict[str, list[int]],
    *,
    traffic: dict[str, dict[int, int]] | None = None,
    aliases: dict[str, dict[str, int]] | None = None,
    **more: Any,
) -> EdgeTable:
    return EdgeTable(
        revision="r",
        proxies=("127.0.0.1:8000",),
        targets=tuple(
            EdgeTarget(model=model, version=version, path_prefix=f"/models/{model}/{version}")
            for model, versions in targets.items()
            for version in versions
        ),
        traffic=traffic or {},
        aliases=aliases or {},
        **more,
    )


models = st.dictionaries(
    st.sampled_from(["digits", "churn", "a.b", "x-1_2"]),
    st.sets(st.integers(1, 9), max_size=5).map(sorted),
    max_size=4,
)


@given(models, models)
def test_a_version_keeps_its_slot_and_no_two_share_one(
    before: dict[str, list[int]], after: dict[str, list[int]]
) -> None:
    old = plan(table(before), Routes(), slots=32)
    new = plan(table(after), old, slots=32)
    assert set(new.slots) == {(model, v) for model, versions in after.items() for v in versions}
    assert len(set(new.slots.values())) == len(new.slots)
    assert all(slot in range(32) for slot in new.slots.values())
    assert all(new.slots[target] == old.slots[target] for target in new.slots.keys() & old.slots.keys())


@given(models, st.integers(0, 100), st.booleans())
def test_the_map_reads_back_as_it_was_written(
    targets: dict[str, list[int]], percent: int, copied: bool
) -> None:
    traffic = {m: {versions[0]: percent, versions[-1]: 100} for m, versions in targets.items() if versions}
    aliases = {m: {"prod": versions[0], "v2": versions[-1]} for m, versions in targets.items() if versions}
    sticky = {"digits": "x-user", "absent": "x-user"}
    # One that has a line of another version to stand in.
    shadows = {
        m: Shadow(version=versions[-1], sample=0.25)
        for m, versions in targets.items()
        if copied and len(versions) > 1
    }
    fallbacks = {m: versions[0] for m, versions in targets.items() if versions}
    wanted = table(
        targets, traffic=traffic, aliases=aliases, sticky=sticky, shadows=shadows, fallbacks=fallbacks
    )
    routes = plan(wanted, Routes(), slots=32)
    assert Routes.from_map(routes.to_map()) == routes


def test_one_map_holds_buckets_pins_and_aliases() -> None:
    wanted = table({"digits": [2, 3]}, traffic={"digits": {2: 90, 3: 10}}, aliases={"digits": {"prod": 2}})
    entries = plan(wanted, Routes(), slots=4).entries()
    assert entries["digits/2"] == entries["digits/prod"] == "slot00/2"
    assert entries["digits/3"] == "slot01/3"
    assert Counter(entries[f"digits#{bucket}"] for bucket in range(100)) == {"slot00/2": 90, "slot01/3": 10}
    assert len(entries) == 103


def test_only_the_buckets_of_others_name_who_answers_where_they_fail() -> None:
    wanted = table(
        {"digits": [2, 3]},
        traffic={"digits": {2: 90, 3: 10}},
        aliases={"digits": {"new": 3}},
        fallbacks={"digits": 2},
    )
    entries = plan(wanted, Routes(), slots=4).entries()
    assert (entries["digits/3"], entries["digits/new"]) == ("slot01/3", "slot01/3")
    buckets = Counter(entries[f"digits#{bucket}"] for bucket in range(100))
    assert buckets == {"slot00/2": 90, "slot01/3//0:0/2": 10}


def test_a_slot_that_is_just_being_freed_is_given_out_last() -> None:
    before = plan(table({"digits": [1, 2]}), Routes(), slots=4)
    after = plan(table({"digits": [2, 3]}), before, slots=4)
    assert after.slots == {("digits", 2): 1, ("digits", 3): 2}
    assert plan(table({"digits": [4, 5, 6, 7]}), after, slots=4).slots.keys() == {
        ("digits", v) for v in (4, 5, 6, 7)
    }


def test_the_share_of_a_version_that_is_not_live_goes_to_those_that_are() -> None:
    routes = plan(table({"digits": [1, 2]}, traffic={"digits": {1: 30, 2: 30, 3: 40}}), Routes(), slots=4)
    assert Counter(routes.buckets["digits"]) == {1: 50, 2: 50}


def test_buckets_are_as_the_table_lays_them_out_whatever_was_routed_before() -> None:
    odd = (1,) * 40 + (2,) * 20 + (1,) * 40
    wanted = table({"digits": [1, 2]}, traffic={"digits": {1: 80, 2: 20}}, buckets={"digits": odd})
    before = plan(table({"digits": [1, 2]}, traffic={"digits": {1: 20, 2: 80}}), Routes(), slots=4)
    assert plan(wanted, before, slots=4).buckets == plan(wanted, Routes(), slots=4).buckets == {"digits": odd}
    without = plan(
        table({"digits": [1]}, traffic={"digits": {1: 80, 2: 20}}, buckets={"digits": odd}), before, slots=4
    )
    assert without.buckets == {"digits": (1,) * 100}


def test_only_the_line_of_a_bucket_says_which_header_knows_a_caller() -> None:
    wanted = table(
        {"digits": [1], "churn": [1]},
        traffic={"digits": {1: 100}, "churn": {1: 100}},
        aliases={"digits": {"prod": 1}},
        sticky={"digits": "x-user"},
    )
    entries = plan(wanted, Routes(), slots=4).entries()
    assert {key for key, value in entries.items() if value.endswith("/x-user")} == {
        f"digits#{bucket}" for bucket in range(100)
    }


def test_the_lines_of_all_others_say_which_version_gets_copies() -> None:
    wanted = table(
        {"digits": [1, 3]},
        traffic={"digits": {1: 100}},
        aliases={"digits": {"prod": 1, "next": 3}},
        shadows={"digits": Shadow(version=3, sample=0.2)},
    )
    entries = plan(wanted, Routes(), slots=4).entries()
    assert (entries["digits/1"], entries["digits#5"], entries["digits/prod"]) == ("slot00/1//3:2000",) * 3
    assert (entries["digits/3"], entries["digits/next"]) == ("slot01/3", "slot01/3")
    gone = wanted.model_copy(update={"targets": wanted.targets[:1]})
    assert plan(gone, Routes(), slots=4).entries()["digits/1"] == "slot00/1"


def test_what_points_at_no_live_version_has_no_route() -> None:
    wanted = table(
        {"digits": [1]},
        traffic={"digits": {1: 0, 2: 100}},
        aliases={"digits": {"prod": 2}, "gone": {"prod": 1}},
    )
    assert plan(wanted, Routes(), slots=4).entries() == {"digits/1": "slot00/1"}


def test_more_versions_than_slots_need_more_slots_and_more_than_the_most_is_refused() -> None:
    wanted = table({"digits": list(range(1, 8))})
    assert slots_for(wanted, have=2, at_most=64) == 8
    assert slots_for(wanted, have=2, at_most=7) == 7
    assert slots_for(wanted, have=64, at_most=64) == 64
    with pytest.raises(Refused, match=r"7 versions are deployed and an edge serves 6"):
        slots_for(wanted, have=2, at_most=6)
    with pytest.raises(Refused, match=r"this edge has 2 slots"):
        plan(wanted, Routes(), slots=2)


def test_a_target_under_another_prefix_is_refused_by_name() -> None:
    target = EdgeTarget(model="digits", version=3, path_prefix="/elsewhere")
    with pytest.raises(InvalidInput, match=r"digits@3 is served at '/elsewhere'"):
        plan(EdgeTable(revision="r", proxies=(), targets=(target,)), Routes(), slots=4)


@pytest.mark.parametrize(
    "text",
    [
        "digits/3",
        "digits/3 slot00",
        "digits/3 slot00/x",
        "digits#0 slot00/3",
        "digits/prod slot00/3",
        "a/b/c slot00/1",
        "digits/3 slot00/3//4",
        "digits/3 slot00/3//4:x",
    ],
)
def test_a_damaged_map_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError, match="map"):
        Routes.from_map(text)
