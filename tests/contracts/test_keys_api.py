"""API keys and usage through the whole front: the control plane's own gate, both clients, and the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from control_server import SECRET, Switch, Type, World

from raymaas.cli.usage import moment_of
from raymaas.client import AsyncClient, Client, calls
from raymaas.errors import Denied, InvalidInput, NotFound, Refused
from raymaas.registry.keys import Keys
from raymaas.serve.plan import Target
from raymaas.serve.request_log import RequestLog
from raymaas.specs.keys import Grant, RateLimit
from raymaas.store import open_store

ADMIN = {"grant": {"name": "ops", "scopes": ["admin", "predict"]}, "why": "first"}


@pytest.fixture(autouse=True)
def _no_key_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAYMAAS_API_KEY", raising=False)
    monkeypatch.setenv("RAYMAAS_HOME", str(tmp_path))


@pytest.fixture
def http(world: World, server: tuple[str, Switch]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server[0], trust_env=False) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def admin_key(world: World) -> str:
    return world.keys.create(Grant(name="ops", scopes=("admin", "predict")), who="me").text


def key_for(world: World, name: str, **grant: Any) -> str:
    return world.keys.create(Grant(name=name, **grant), who="me").text


def record(
    world: World,
    key: str,
    *,
    version: int = 1,
    rows: int | None = 2,
    status: int = 200,
    times: int = 1,
    shadow: bool = False,
) -> None:
    """What a replica records of requests with `key`; an empty one is none."""
    log = RequestLog(world.store, Target("digits", version), replica="r4x")
    for number in range(times):
        request_id = f"r-{number}"
        log(status=status, seconds=0.001, request_id=request_id, rows=rows, key_id=key[4:12], shadow=shadow)
    log.write()


def test_the_first_key_closes_the_control_plane(world: World, http: httpx.Client) -> None:
    assert http.get("/api/v1/keys").json() == {"keys": []}
    refused = http.post("/api/v1/keys", json={"grant": {"name": "shop"}})
    assert (refused.status_code, refused.json()["type"]) == (400, "invalid-input")
    made = http.post("/api/v1/keys", json=ADMIN, headers={"x-raymaas-user": "ana"})
    assert (made.status_code, made.json()["first"], world.pokes) == (201, True, 1)

    for headers in ({}, bearer("rmk_00000000_x"), {"authorization": f"Basic {made.json()['key']}"}):
        answer = http.get("/api/v1/models", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "denied")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = http.get("/v2", headers={})
    assert (answer.status_code, answer.json()["code"]) == (401, "denied")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert http.get("/v2/health/ready").json() == {"ready": True, "live": True}

    for headers in (bearer(made.json()["key"]), {"x-api-key": made.json()["key"]}):
        listed = http.get("/api/v1/keys", headers=headers)
        assert [key["name"] for key in listed.json()["keys"]] == ["ops"]
        assert listed.json()["keys"][0]["created_by"] == "ana"
        assert "sha256" not in listed.text
        assert made.json()["key"] not in listed.text


def test_a_key_may_do_what_its_scopes_say_and_ask_its_own_models(world: World, http: httpx.Client) -> None:
    for model in ("digits", "churn"):
        world.publish(model)
        world.deploy(1, model)
    both, predicts = bearer(admin_key(world)), bearer(key_for(world, "shop", models=("dig*",)))
    administers = bearer(key_for(world, "ci", scopes=("admin",)))

    for path in ("/api/v1/models", "/", "/api/v1/docs"):
        answer = http.get(path, headers=predicts)
        assert answer.status_code == 403
        assert "has no scope admin" in answer.json()["detail"]
    answer = http.post("/v2/repository/index", headers=administers)
    assert (answer.status_code, answer.json()["code"]) == (403, "denied")
    assert http.get("/api/v1/models", headers=administers).status_code == 200

    assert http.get("/v2/models/churn/ready", headers=both).status_code == 503
    for path in ("/v2/models/churn/ready", "/v2/models/%63hurn/ready"):
        answer = http.get(path, headers=predicts)
        assert (answer.status_code, "not for model 'churn'" in answer.json()["error"]) == (403, True)
    assert http.get("/v2/models/digits/ready", headers=predicts).status_code == 503
    index = {
        name: http.post("/v2/repository/index", headers=h).json()
        for name, h in (("both", both), ("some", predicts))
    }
    assert [line["name"] for line in index["both"]] == ["churn", "digits"]
    assert [line["name"] for line in index["some"]] == ["digits"]


def test_histories_name_the_key_and_not_what_its_holder_says(world: World, http: httpx.Client) -> None:
    world.publish()
    key = admin_key(world)
    http.post(
        "/api/v1/models/digits/deployments",
        json={"version": 1},
        headers=bearer(key) | {"x-raymaas-user": "root"},
    )
    assert world.states.current("digits").change.who == "ops"  # type: ignore[union-attr]


def test_with_a_key_the_server_may_be_called_by_any_name(world: World, http: httpx.Client) -> None:
    elsewhere = {"host": "models.example.org"}
    assert http.get("/api/v1/models", headers=elsewhere).status_code == 403
    assert http.get("/v2/health/ready", headers=elsewhere).status_code == 200
    key = admin_key(world)
    assert http.get("/api/v1/models", headers=elsewhere).status_code == 401
    assert http.get("/api/v1/models", headers=elsewhere | bearer(key)).status_code == 200


def test_edge_agents_go_on_with_their_secret(world: World, http: httpx.Client) -> None:
    key = admin_key(world)
    path = "/internal/edge-table"
    assert http.get(path, headers={"x-raymaas-edge": SECRET}).status_code == 200
    assert http.get(path, headers=bearer(key)).status_code == 403


def test_revoking_holds_at_once_and_the_last_admin_stays(world: World, http: httpx.Client) -> None:
    admin, shop = bearer(admin_key(world)), bearer(key_for(world, "shop"))
    assert http.get("/v2", headers=shop).status_code == 200
    revoked = http.delete("/api/v1/keys/shop", params={"why": "leaked"}, headers=admin)
    assert (revoked.status_code, revoked.json()["revoked_by"]) == (200, "ops")
    assert http.get("/v2", headers=shop).status_code == 401
    assert world.pokes == 1
    refused = http.delete("/api/v1/keys/ops", headers=admin)
    assert (refused.status_code, refused.json()["type"]) == (409, "refused")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_both_clients_create_list_revoke_and_count(
    world: World, server: tuple[str, Switch], kind: Any
) -> None:
    def through(sent: str | None, method: str, *arguments: Any, **options: Any) -> Any:
        async def awaited() -> Any:
            async with AsyncClient(server[0], api_key=sent) as client:
                return await getattr(client.keys, method)(*arguments, **options)

        if kind is AsyncClient:
            return asyncio.run(awaited())
        with Client(server[0], api_key=sent) as client:
            return getattr(client.keys, method)(*arguments, **options)

    admin = through(None, "create", "ops", scopes=("admin",)).key
    made = through(admin, "create", "shop", models=("digits",), limit=RateLimit(requests_per_s=5, burst=9))
    assert made.key not in repr(made)
    assert (made.first, made.facts.limit.burst) == (False, 9)
    with pytest.raises(Denied, match="no scope admin"):
        through(made.key, "list")
    with pytest.raises(Denied, match="send a live API key"):
        through(None, "list")
    record(world, made.key, times=3)
    usage = through(admin, "usage", key="shop")
    assert [(line.name, line.requests, line.rows) for line in usage.lines] == [("shop", 3, 6)]
    # Of a whole key only the id is sent: paths are logged.
    assert not through(admin, "revoke", made.key, why="done").live
    assert [(key.name, key.live) for key in through(admin, "list")] == [("ops", True), ("shop", False)]
    with pytest.raises(Refused, match="last key with scope admin"):
        through(admin, "revoke", "ops")
    with pytest.raises(NotFound, match="no key of the name or id 'nobody'"):
        through(admin, "usage", key="nobody")


def test_a_whole_key_is_never_part_of_a_path() -> None:
    whole = "rmk_0123abcd_CANARY"
    requests = (
        calls.key_revoke(whole, why="").request,
        calls.usage(since=None, model=None, key=whole).request,
    )
    assert requests[0].path.endswith("/keys/rmk_0123abcd")
    assert requests[1].query == {"key": "rmk_0123abcd"}


def test_the_client_sends_the_variables_key_and_shows_none(
    world: World, server: tuple[str, Switch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYMAAS_API_KEY", admin_key(world))
    with Client(server[0]) as client:
        assert client.models.list() == ()
    with pytest.raises(InvalidInput, match="RAYMAAS_API_KEY") as raised:
        Client(server[0], api_key="rmk_CANARY with\nblanks")
    assert "CANARY" not in str(raised.value)


def test_usage_is_summed_by_key_and_version_since_then(world: World, http: httpx.Client) -> None:
    admin, shop = admin_key(world), key_for(world, "shop")
    shop_2 = key_for(world, "shop")
    record(world, shop, times=3, rows=4)
    record(world, shop, status=400, rows=None)
    record(world, shop, version=2)
    record(world, shop_2)
    record(world, "")
    record(world, shop, version=3, shadow=True)
    record(world, "", shadow=True)

    def lines(**query: str) -> list[tuple[Any, ...]]:
        answer = http.get("/api/v1/usage", params=query, headers=bearer(admin)).json()
        return [
            (line["name"], line["key_id"], line["version"], line["requests"], line["errors"], line["rows"])
            for line in answer["lines"]
        ]

    first, second = shop[4:12], shop_2[4:12]
    of_shop = sorted(
        [("shop", first, 1, 4, 1, 12), ("shop", first, 2, 1, 0, 2), ("shop", second, 1, 1, 0, 2)]
    )
    assert lines() == [("", None, 1, 1, 0, 2), *of_shop]
    assert lines(key="shop") == of_shop
    assert lines(key=f"rmk_{second}") == [("shop", second, 1, 1, 0, 2)]
    assert lines(model="churn") == []
    assert lines(since=(datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []


def test_keys_are_created_listed_and_revoked_from_the_command_line(
    world: World, raymaas: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, out, said = raymaas("keys", "create", "shop")
    assert (status, out, "first key must be an admin's" in said) == (1, "", True)

    status, key, said = raymaas("keys", "create", "ops", "--scope", "admin", "--scope", "predict")
    assert (status, key.count("\n"), "shown this once" in said, "RAYMAAS_API_KEY" in said) == (
        0,
        1,
        True,
        True,
    )
    assert raymaas("models", "list")[0] == 1
    assert raymaas("--api-key", key.strip(), "models", "list")[0] == 0

    monkeypatch.setenv("RAYMAAS_API_KEY", key.strip())
    status, shop, said = raymaas("keys", "create", "shop", "--model", "digits*", "--rate", "5")
    assert (status, "RAYMAAS_API_KEY" in said) == (0, False)
    table = raymaas("keys", "list")[1]
    assert f"rmk_{shop[4:12]}" in table
    assert "5/s, 5 at once" in table
    record(world, shop)
    line = raymaas("usage", "--since", "1h")[1].splitlines()[1]
    assert line.split() == ["shop", shop[:12], "digits@1", "1", "0", "2"]
    assert orjson.loads(raymaas("usage", "--key", "shop", "--json")[1])["lines"][0]["requests"] == 1

    assert raymaas("keys", "revoke", "shop") == (0, f"rmk_{shop[4:12]} of shop is revoked\n", "")
    assert "shop" not in raymaas("keys", "list")[1]
    assert "shop" in raymaas("keys", "list", "--revoked")[1]
    assert "say with --rate" in raymaas("keys", "create", "a", "--burst", "5")[2]
    for whole in (key, shop):
        assert whole.strip() not in raymaas("keys", "list", "--revoked", "--json")[1]


def test_the_first_key_can_be_written_into_a_store_before_anything_runs(
    tmp_path: Path, raymaas: Type
) -> None:
    url = f"file://{tmp_path / 'store'}"
    status, key, _ = raymaas("keys", "create", "ops", "--scope", "admin", "--storage", url)
    ring = Keys(open_store(url)).ring()
    assert status == 0
    assert ring is not None
    assert ring.holder_of(key.strip())


def test_a_time_is_told_as_an_age_or_a_date() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert moment_of("90m", now=now) == now - timedelta(minutes=90)
    assert moment_of("7d", now=now) == now - timedelta(days=7)
    assert moment_of("2026-02-01T00:00:00+01:00", now=now) == datetime(2026, 1, 31, 23, tzinfo=UTC)
    with pytest.raises(InvalidInput, match="say 90m, 24h, 7d"):
        moment_of("yesterday", now=now)
