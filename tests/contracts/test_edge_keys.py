"""API keys at the edge, against a real HAProxy: who passes, what they may ask, how often, and what replicas see."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from control_server import World, serving
from edge_rig import SECRET_PART, Backend, Edge, ask, end, eventually, first_table, key, launch, text_of

from raymaas.client import Client
from raymaas.errors import Denied, QuotaExceeded
from raymaas.serve.plan import edge_table
from raymaas.specs.base import sha256_hex
from raymaas.specs.keys import RateLimit

INFER = "/v2/models/digits/infer"


OPS, SHOP, OTHER, SLOW = (text_of(number) for number in range(4))
KEYS = (
    key(0, "ops", scopes=("admin",)),
    key(1, "shop"),
    key(2, "other", models=("churn*",)),
    key(3, "slow", scopes=("predict", "admin"), limit=RateLimit(requests_per_s=0.1, burst=3)),
)


@pytest.fixture(scope="module")
def keyed_edge(
    tmp_path_factory: pytest.TempPathFactory, backends: tuple[Backend, Backend, Backend]
) -> Iterator[Edge]:
    edge = launch(tmp_path_factory.mktemp("e"), control=backends[2].address)
    edge.follow(first_table(backends).model_copy(update={"keys": KEYS}))
    yield edge
    end([edge])


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def seen_headers(seen: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in seen["headers"].items()}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(OPS + "x"),
        bearer(""),
        {"Authorization": f"Basic {SHOP}"},
        {"Authorization": SHOP},
        {"X-Api-Key": "open"},
        {"X-Api-Key": sha256_hex(SHOP.encode())},
    ],
    ids=["none", "unknown", "empty", "basic", "no scheme", "a word of the map", "a digest"],
)
def test_who_has_no_live_key_is_told_how_to_send_one(keyed_edge: Edge, headers: dict[str, str]) -> None:
    status, body, answered = keyed_edge.ask(INFER, b"x", headers)
    assert (status, list(body)) == (401, ["error"])
    assert "Authorization: Bearer KEY" in body["error"]
    assert answered["www-authenticate"].startswith("Bearer")
    status, problem, answered = keyed_edge.ask("/api/v1/models", headers=headers)
    assert (status, problem["type"], answered["content-type"]) == (401, "denied", "application/problem+json")
    assert "x-request-id" in answered


@pytest.mark.parametrize(
    "headers",
    [
        bearer(SHOP),
        {"authorization": f"bearer {SHOP}"},
        {"X-Api-Key": SHOP},
        bearer(SHOP) | {"X-Api-Key": "x"},
    ],
)
def test_a_key_is_taken_from_either_header(keyed_edge: Edge, headers: dict[str, str]) -> None:
    assert keyed_edge.ask(INFER, b"x", headers)[0] == 200


def test_health_needs_no_key(keyed_edge: Edge) -> None:
    for headers in ({}, bearer(OPS)):
        assert keyed_edge.ask("/v2/health/live", headers=headers)[0] == 200
        assert keyed_edge.ask("/v2/health/ready", headers=headers)[0] == 200
    assert keyed_edge.ask("/v2/health/ready/x")[0] == 401


@pytest.mark.parametrize("path", ["/api/v1/feedback", "/api/v1/models/digits/feedback"])
def test_who_may_ask_may_say_what_came_of_it(keyed_edge: Edge, path: str) -> None:
    assert keyed_edge.ask(path, b"{}", headers=bearer(SHOP))[0] == 200
    status, body, _ = keyed_edge.ask(path, b"{}", headers=bearer(OPS))
    assert status == 403
    assert "no scope predict" in body["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/models",
        "/",
        "/v2x",
        "/%61pi/v1/models",
        "/api/v1/feedback/x",
        "/api/v1/models/a/b/feedback",
        "/x/api/v1/feedback",
    ],
)
def test_all_but_v2_needs_scope_admin(keyed_edge: Edge, path: str) -> None:
    assert keyed_edge.ask(path, headers=bearer(OPS))[0] == 200
    status, body, _ = keyed_edge.ask(path, headers=bearer(SHOP))
    assert status == 403
    assert "no scope admin" in body.get("detail", body.get("error"))


@pytest.mark.parametrize("path", [INFER, "/v2", "/v2/repository/index", "/v2/models/digits/versions/1"])
def test_v2_needs_scope_predict(keyed_edge: Edge, path: str) -> None:
    assert keyed_edge.ask(path, headers=bearer(SHOP))[0] == 200
    status, body, _ = keyed_edge.ask(path, headers=bearer(OPS))
    assert status == 403
    assert "no scope predict" in body["error"]


def test_a_key_for_other_models_is_refused(keyed_edge: Edge) -> None:
    for path in (INFER, "/v2/models/digits/versions/prod/infer", "/v2/models/digits"):
        status, body, _ = keyed_edge.ask(path, headers=bearer(OTHER))
        assert status == 403
        assert "not for this model" in body["error"]
    for asked in ("1", "prod"):
        status, body, _ = keyed_edge.ask(INFER, b"x", bearer(OTHER) | {"x-raymaas-version": asked})
        assert (status, "not for this model" in body["error"]) == (403, True)
    # One that nobody serves is the control plane's to explain.
    assert keyed_edge.ask("/v2/models/churn/infer", headers=bearer(OTHER))[0] == 200


def test_replicas_learn_who_asks_and_never_the_key(keyed_edge: Edge, backends: tuple[Backend, ...]) -> None:
    made_up = {"x-raymaas-user": "root", "x-raymaas-key": "00000000", "X-Api-Key": SHOP}
    seen = seen_headers(keyed_edge.ask(INFER, b"x", bearer(SHOP) | made_up)[1])
    assert (seen["x-raymaas-user"], seen["x-raymaas-key"]) == ("shop", "00000001")
    assert not {"authorization", "x-api-key"} & seen.keys()
    assert SECRET_PART not in json.dumps(seen)

    status, seen_by_control, _ = keyed_edge.ask("/api/v1/models", headers=bearer(OPS) | made_up)
    seen = seen_headers(seen_by_control)
    assert (status, seen_by_control["server"]) == (200, backends[2].server_address[1])
    assert (seen["x-raymaas-user"], seen["x-raymaas-key"]) == ("ops", "00000000")
    # The control plane asks for it again.
    assert seen["authorization"] == f"Bearer {OPS}"


def test_no_key_is_in_any_file_of_the_edge_and_its_id_is_in_the_access_log(keyed_edge: Edge) -> None:
    keyed_edge.ask(INFER, b"x", bearer(SHOP) | {"x-request-id": "logged-1"})
    log = keyed_edge.run_dir / "access.log"
    lines = eventually(
        lambda: [line for line in log.read_text().splitlines() if '"logged-1"' in line],
        "the request is logged",
    )
    assert json.loads(lines[0])["key"] == "00000001"
    files = [path for path in keyed_edge.run_dir.iterdir() if path.is_file()]
    assert keyed_edge.run_dir / "keys.map" in files
    assert not [path.name for path in files if SECRET_PART.encode() in path.read_bytes()]


def test_a_bucket_lets_its_burst_through_and_then_says_how_long_to_wait(keyed_edge: Edge) -> None:
    with keyed_edge.connection() as connection:
        # Naming a version is no way around it.
        asked = [bearer(SLOW) | ({"x-raymaas-version": "3"} if n % 2 else {}) for n in range(5)]
        answers = [ask(connection, INFER, b"x", headers) for headers in asked]
    assert Counter(status for status, _, _ in answers) == {200: 3, 429: 2}
    status, body, headers = answers[-1]
    assert (status, body["code"]) == (429, "quota-exceeded")
    assert 1 <= int(headers["retry-after"]) <= 10
    assert body["retry_after_s"] == int(headers["retry-after"])
    # The same bucket for the other plane, in its own words.
    status, problem, headers = keyed_edge.ask("/api/v1/models", headers=bearer(SLOW))
    assert (status, problem["type"]) == (429, "quota-exceeded")
    assert problem["extra"] == {"retry_after_s": int(headers["retry-after"])}
    with Client(f"http://127.0.0.1:{keyed_edge.settings.port}", api_key=SLOW) as client:
        with pytest.raises(QuotaExceeded) as refused:
            client.status()
        assert 1 <= refused.value.retry_after_s <= 10
        with pytest.raises(QuotaExceeded) as refused:
            client.model("digits").predict([[1.0]])
        assert 1 <= refused.value.retry_after_s <= 10
    # Another key has its own.
    assert keyed_edge.ask(INFER, b"x", bearer(SHOP))[0] == 200


def test_a_bucket_fills_again_at_its_rate(edge: Edge, backends: tuple[Backend, Backend, Backend]) -> None:
    quick = key(5, "quick", limit=RateLimit(requests_per_s=2, burst=1))
    edge.follow(first_table(backends).model_copy(update={"revision": "r2", "keys": (KEYS[0], quick)}))

    def status() -> int:
        return edge.ask(INFER, b"x", bearer(text_of(5)))[0]

    def asked_at_once() -> Counter[int]:
        threads = [threading.Thread(target=lambda: found.append(status())) for _ in range(6)]
        found: list[int] = []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Counter(found)

    assert asked_at_once()[200] >= 1
    eventually(lambda: status() == 429, "more than the rate is refused")
    eventually(lambda: status() == 200, "it is let through again")


def test_keys_come_and_go_with_the_table_and_without_a_reload(
    edge: Edge, backends: tuple[Backend, Backend, Backend]
) -> None:
    process = edge.now().haproxy_pid
    assert edge.ask(INFER, b"x")[0] == 200
    table = first_table(backends)
    edge.follow(table.model_copy(update={"revision": "r2", "keys": KEYS[:2]}))
    assert [edge.ask(INFER, b"x", headers)[0] for headers in ({}, bearer(SHOP))] == [401, 200]
    edge.follow(table.model_copy(update={"revision": "r3", "keys": KEYS[:1]}))
    assert edge.ask(INFER, b"x", bearer(SHOP))[0] == 401
    assert edge.now().haproxy_pid == process


def test_an_edge_that_others_can_reach_lets_nobody_in_until_there_are_keys(
    make_edge: Callable[..., Edge], backends: tuple[Backend, Backend, Backend]
) -> None:
    edge = make_edge(bind_host="0.0.0.0")
    edge.follow(first_table(backends))
    assert [edge.ask(path, headers=bearer(SHOP))[0] for path in (INFER, "/api/v1/models")] == [401, 401]
    assert edge.ask("/v2/health/live")[0] == 200
    edge.follow(first_table(backends).model_copy(update={"revision": "r2", "keys": KEYS}))
    assert edge.ask(INFER, b"x", bearer(SHOP))[0] == 200


def test_a_key_made_through_the_edge_passes_both_gates_until_it_is_revoked(
    make_edge: Callable[..., Edge],
) -> None:
    world = World()

    def followed(edge: Edge) -> None:
        ring = world.keys.ring()
        assert ring is not None
        edge.follow(edge_table([], set(), proxies=(), keys=[key.for_edge() for key in ring.live]))

    with serving(world.app()) as control:
        edge = make_edge(control=control.removeprefix("http://"))
        url = f"http://127.0.0.1:{edge.settings.port}"
        with Client(url) as nobody:
            admin = nobody.keys.create("ops", scopes=("admin",)).key
            with Client(url, api_key=admin) as ops:
                # The control plane asks for it at once; the edge, from its next table on.
                with pytest.raises(Denied, match="raymaas keys --help"):
                    nobody.keys.list()
                second = ops.keys.create("ops2", scopes=("admin",)).key
                followed(edge)
                with pytest.raises(Denied, match="raymaas keys create"):
                    nobody.keys.list()
                assert [key.name for key in ops.keys.list()] == ["ops", "ops2"]
                with Client(url, api_key=second) as ops2:
                    assert ops2.keys.revoke("ops").revoked_by == "ops2"
                followed(edge)
                with pytest.raises(Denied, match="raymaas keys create"):
                    ops.keys.list()
