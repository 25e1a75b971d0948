"""Who sees which version, against a real HAProxy: callers known by a header stay, and a header pins as a path does."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from edge_rig import Backend, Edge, ask, launch, make_table, served_path

from raymaas.specs.buckets import in_order, moved
from raymaas.specs.serving import EdgeTarget

INFER = "/v2/models/digits/infer"
USERS = [f"user-{number}" for number in range(600)]
KNOWN = {"sticky": {"digits": "x-user"}}
NINETY, EIGHTY = in_order({1: 90, 2: 10}), moved({1: 80, 2: 10, 3: 10}, in_order({1: 90, 2: 10}))


def version(seen: dict[str, Any]) -> int:
    return int(seen["path"].split("/")[3])


def versions_of(edge: Edge, users: Iterable[str], path: str = INFER) -> dict[str, int]:
    with edge.connection() as connection:
        return {user: version(ask(connection, path, b"x", {"X-User": user})[1]) for user in users}


def test_a_known_caller_stays_on_every_edge_and_over_a_restart(
    make_edge: Callable[..., Edge], tmp_path: Path, backends: tuple[Backend, ...]
) -> None:
    table = make_table("s1", backends[0], traffic={1: 50, 2: 50}, **KNOWN)
    edge = make_edge()
    edge.follow(table)
    for user in ("ana", "ben", "ümit", "o'hara, x"):
        header = user.encode().decode("latin-1")
        with edge.connection() as connection:
            seen = {version(ask(connection, INFER, b"x", {"x-user": header})[1]) for _ in range(200)}
        assert len(seen) == 1, user
    before = versions_of(edge, USERS[:100])
    assert set(before.values()) == {1, 2}
    edge.stop()
    restarted = launch(tmp_path / "e", control=backends[2].address)
    other = launch(tmp_path / "f", control=backends[2].address)
    try:
        assert versions_of(restarted, USERS[:100]) == before, "from what lies on disk"
        other.follow(make_table("s0", backends[0], traffic={1: 10, 2: 90}, **KNOWN))
        other.follow(table)
        assert versions_of(other, USERS[:100]) == before
    finally:
        restarted.stop()
        other.stop()


def test_callers_are_divided_by_the_weights_and_a_change_moves_those_of_its_buckets(
    edge: Edge, backends: tuple[Backend, ...]
) -> None:
    def follow(revision: str, layout: tuple[int, ...]) -> dict[str, int]:
        traffic = dict(Counter(layout))
        edge.follow(make_table(revision, backends[0], traffic=traffic, buckets={"digits": layout}, **KNOWN))
        return versions_of(edge, USERS)

    before = follow("b1", NINETY)
    # 60 expected, standard deviation 7.3: five of them.
    assert 23 < Counter(before.values())[2] < 97
    after = follow("b2", EIGHTY)
    ten = {bucket for bucket in range(100) if NINETY[bucket] != EIGHTY[bucket]}
    assert len(ten) == 10
    of_the_ten = follow("b3", tuple(3 if bucket in ten else 1 for bucket in range(100)))
    changed = {user for user in USERS if before[user] != after[user]}
    assert changed == {user for user in USERS if of_the_ten[user] == 3}
    assert 23 < len(changed) < 97
    assert follow("b4", NINETY) == before


def test_who_is_not_known_is_divided_by_chance(edge: Edge, backends: tuple[Backend, ...]) -> None:
    edge.follow(make_table("c1", backends[0], traffic={1: 50, 2: 50}, **KNOWN))
    for headers in ({}, {"x-user": ""}, {"x-other": "ana"}):
        with edge.connection() as connection:
            seen = Counter(version(ask(connection, INFER, b"x", headers)[1]) for _ in range(60))
        assert set(seen) == {1, 2}, headers


def test_each_model_has_other_callers_first_and_its_own_header(
    edge: Edge, backends: tuple[Backend, ...]
) -> None:
    table = make_table(
        "m1", backends[0], traffic={1: 80, 2: 20}, sticky={"digits": "x-user", "churn": "x-user"}
    )
    churn = tuple(EdgeTarget(model="churn", version=v, path_prefix=f"/models/churn/{v}") for v in (1, 2))
    traffic = {**table.traffic, "churn": {1: 80, 2: 20}}
    edge.follow(table.model_copy(update={"targets": (*table.targets, *churn), "traffic": traffic}))
    first = [
        {
            user
            for user, number in versions_of(edge, USERS[:200], f"/v2/models/{model}/infer").items()
            if number == 2
        }
        for model in ("digits", "churn")
    ]
    assert first[0]
    assert first[1]
    assert first[0] != first[1]
    own = {"digits": "x-user", "churn": "x-account"}
    edge.follow(
        table.model_copy(
            update={
                "revision": "m2",
                "targets": (*table.targets, *churn),
                "traffic": traffic,
                "sticky": own,
            }
        )
    )
    assert {user for user, number in versions_of(edge, USERS[:200]).items() if number == 2} == first[0]
    with edge.connection() as connection:
        path = "/v2/models/churn/infer"
        seen = {version(ask(connection, path, b"x", {"x-user": "ana"})[1]) for _ in range(100)}
        known = {version(ask(connection, path, b"x", {"x-account": "ana"})[1]) for _ in range(100)}
    assert (len(seen), len(known)) == (2, 1)


def test_no_request_fails_while_an_edge_learns_a_header(edge: Edge, backends: tuple[Backend, ...]) -> None:
    before = edge.now().haproxy_pid
    connection = http.client.HTTPConnection("127.0.0.1", edge.settings.port, timeout=10)
    assert ask(connection, INFER, b"x")[0] == 200
    edge.follow(make_table("l1", backends[0], traffic={1: 50, 2: 50}, **KNOWN))
    learnt = edge.now().haproxy_pid
    assert learnt != before
    assert ask(connection, INFER, b"x")[0] == 200
    connection.close()
    edge.follow(make_table("l2", backends[0], traffic={1: 50, 2: 50}))
    edge.follow(make_table("l3", backends[0], traffic={1: 50, 2: 50}, **KNOWN))
    assert edge.now().haproxy_pid == learnt, "a header it knows asks for no other HAProxy"


@pytest.mark.parametrize(("asked", "number"), [("3", 3), ("1", 1), ("prod", 2)])
def test_a_header_pins_as_the_path_does(shared_edge: Edge, asked: str, number: int) -> None:
    headers = {"X-RayMaaS-Version": asked}
    for _ in range(5):
        status, seen, _ = shared_edge.ask(f"{INFER}?x=1", b"abc", headers)
        assert (status, seen["path"], seen["body_bytes"]) == (200, served_path(number, "/infer?x=1"), 3)
    assert shared_edge.ask("/v2/models/digits", headers=headers)[1]["path"] == served_path(number, "")
    assert shared_edge.ask("/v2/models/digits/ready", headers=headers)[1]["path"] == served_path(
        number, "/ready"
    )
    assert not [name for name in seen["headers"] if "version" in name.lower()]


def test_the_path_comes_before_the_header(shared_edge: Edge) -> None:
    for asked in ("1", "nothing", "../x"):
        _, seen, _ = shared_edge.ask("/v2/models/digits/versions/3/infer", b"x", {"x-raymaas-version": asked})
        assert seen["path"] == served_path(3, "/infer")


@pytest.mark.parametrize("asked", ["9", "staging", "007"])
@pytest.mark.parametrize("rest", ["", "/infer", "/infer?x=1"])
def test_a_version_that_is_not_served_is_answered_as_in_the_path(
    shared_edge: Edge, backends: tuple[Backend, ...], asked: str, rest: str
) -> None:
    by_path = shared_edge.ask(f"/v2/models/digits/versions/{asked}{rest}")
    by_header = shared_edge.ask(f"/v2/models/digits{rest}", headers={"x-raymaas-version": asked})
    assert by_header[1]["server"] == backends[2].server_address[1]
    assert (by_header[0], by_header[1]["path"]) == (by_path[0], by_path[1]["path"])


@pytest.mark.parametrize("asked", ["", "Prod", "../../../internal", "3/infer", "3 4", "%33", "#7", "a" * 64])
def test_a_header_that_names_no_version_is_refused(shared_edge: Edge, asked: str) -> None:
    status, body, _ = shared_edge.ask(INFER, b"x", {"x-raymaas-version": asked})
    assert (status, list(body)) == (400, ["error"])
    assert "neither a version's number" in body["error"]
    assert shared_edge.ask("/api/v1/models", headers={"x-raymaas-version": asked})[0] == 200
