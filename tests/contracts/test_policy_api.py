"""Cards and policies over HTTP, with the client and the CLI: one gate, whichever way a move comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from control_server import Switch, Type, World, draft

from raymaas.bundle.correctness import EVALUATION, write_outcomes
from raymaas.client import AsyncClient, Client
from raymaas.errors import InvalidInput, NotFound, Refused
from raymaas.specs.cards import Card
from raymaas.specs.policies import Policy

ROWS = 40
BASE = "/api/v1/models/digits"
POLICY = "card: [licence, limits]\nmetrics:\n  accuracy: {at_least: 0.9}\nnot_worse: {by: 0.15}\n"


@pytest.fixture
def http(world: World, server: tuple[str, Switch]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server[0], trust_env=False) as client:
        yield client


@pytest.fixture
def client(world: World, server: tuple[str, Switch]) -> Iterator[Client]:
    with Client(server[0]) as client:
        yield client


@pytest.fixture
def policy_file(tmp_path: Path) -> str:
    (tmp_path / "policy.yaml").write_text(POLICY)
    return str(tmp_path / "policy.yaml")


def publish(world: World, *, wrong: int | None, card: Card | None = None) -> int:
    """The next version of digits, wrong on its first `wrong` of 40 rows; None leaves out the file that says so."""
    number = world.versions.newest("digits").version + 1 if "digits" in world.versions.models() else 1
    said = draft(f"train-digits-{number}")
    evaluation = said.evaluation.model_copy(update={"rows": ROWS})
    files = {"model.safetensors": b"weights"}
    if wrong is not None:
        row_N = np.arange(ROWS)
        files[EVALUATION] = write_outcomes(row_N, {"correct": row_N >= wrong})
    made = said.model_copy(update={"evaluation": evaluation, "card": card})
    return world.versions.publish(made, files).version


GOOD_CARD = Card(licence="CC-BY-4.0", limits=("no letters",))


def test_a_policy_is_set_read_listed_and_removed(world: World, http: httpx.Client) -> None:
    publish(world, wrong=0)
    assert http.get(f"{BASE}/policies").json() == {"policies": []}
    body = {"policy": {"licences": ["mit"]}, "why": "rules"}
    put = http.put(f"{BASE}/policies/prod", json=body, headers={"x-raymaas-user": "ana"}).json()
    assert (put["revision"], put["who"], put["why"], put["policy"]["licences"]) == (
        1,
        "ana",
        "rules",
        ["MIT"],
    )
    assert http.get(f"{BASE}/policies/prod").json() == put
    assert http.get(f"{BASE}/policies").json() == {"policies": [put]}
    assert http.delete(f"{BASE}/policies/prod", params={"why": "done"}).json()["policy"] is None
    assert http.get(f"{BASE}/policies/prod").status_code == 404
    assert http.get(f"{BASE}/policies/prod", params={"revision": 1}).json() == put


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("models/digit/policies/prod", {"policy": {"card": ["limits"]}}, 404, "did you mean 'digits'"),
        ("models/digits/policies/7", {"policy": {"card": ["limits"]}}, 400, "read as a version"),
        ("models/digits/policies/prod", {"policy": {}}, 400, "asks for nothing"),
        ("models/digits/policies/prod", {"policy": {"licences": ["MTI"]}}, 400, "SPDX list"),
        ("models/digits/policies/prod", {"polcy": {}}, 400, "did you mean 'policy'"),
    ],
)
def test_what_is_no_policy_is_refused(
    world: World, http: httpx.Client, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    publish(world, wrong=0)
    answer = http.put(f"/api/v1/{path}", json=body)
    assert answer.status_code == status
    assert said in answer.json()["detail"]
    assert world.policies.list("digits") == []


def test_unknown_models_are_named_when_policies_are_listed(world: World, http: httpx.Client) -> None:
    publish(world, wrong=0)
    assert "did you mean" in http.get("/api/v1/models/digit/policies").json()["detail"]


def test_a_refusal_names_everything_and_moves_nothing(world: World, http: httpx.Client) -> None:
    publish(world, wrong=2, card=GOOD_CARD)
    publish(world, wrong=12)
    for version in (1, 2):
        world.deploy(version)
    policy = Policy.parse(
        {
            "card": ["limits"],
            "licences": ["CC-BY-4.0"],
            "metrics": {"accuracy": {"at_least": 0.96}},
            "judge": "value",
        }
        | {"not_worse": {"by": 0.15}},
        source="policy",
    )
    world.policies.set("digits", "prod", policy, who="ana")
    assert http.post(f"{BASE}/promote", json={"version": 1}).json()["change"]["policy"] == 1
    before = world.states.current("digits")
    for answer in (
        http.post(f"{BASE}/promote", json={"version": 2}),
        http.put(f"{BASE}/aliases/prod", json={"version": 2}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "refused")
        detail = answer.json()["detail"]
        assert (
            "alias 'prod' of 'digits' cannot point at version 2, its policy (revision 1) is not met" in detail
        )
        assert "gives no limits" in detail
        assert "gives no licence; allowed are CC-BY-4.0" in detail
        # 10 of 40 rows only digits@1 has right: Tango's interval reaches to -0.40.
        assert "accuracy minus that of digits@1, on the same 40 rows, is -0.2500 (-0.4019 to" in detail
        assert "the lower end must be at least -0.15" in detail
    assert world.states.current("digits") == before
    history = http.get(f"{BASE}/history").json()["changes"]
    assert [change["policy"] for change in history] == [1, None, None]


def test_not_worse_reads_both_evaluations_from_the_published_files(world: World, client: Client) -> None:
    publish(world, wrong=3)
    publish(world, wrong=3)
    publish(world, wrong=None)
    client.models.policy_set("digits", "prod", {"not_worse": {"by": 0.15}})
    client.alias_set("digits@prod", 1)
    assert client.alias_set("digits@prod", 2).change.policy == 1
    with pytest.raises(Refused, match=f"digits@3 has no file '{EVALUATION}'"):
        client.alias_set("digits@prod", 3)
    client.models.policy_remove("digits", "prod")
    client.alias_set("digits@prod", 3)
    client.models.policy_set("digits", "prod", {"not_worse": {"by": 0.15}})
    with pytest.raises(Refused, match=f"digits@3 has no file '{EVALUATION}'"):
        client.alias_set("digits@prod", 1)
    assert client.rollback("digits").aliases == {"prod": 2}, "going back needs no evaluation"


def test_a_published_file_that_is_no_evaluation_is_named(world: World, client: Client) -> None:
    publish(world, wrong=0)
    said = draft("odd")
    evaluation = said.evaluation.model_copy(update={"rows": ROWS})
    files = {"model.safetensors": b"weights", EVALUATION: b"junk"}
    world.versions.publish(said.model_copy(update={"evaluation": evaluation}), files)
    client.models.policy_set("digits", "prod", {"not_worse": {"by": 0.5}})
    client.alias_set("digits@prod", 1)
    with pytest.raises(Refused, match=f"{EVALUATION} of digits@2 is not a safetensors file"):
        client.alias_set("digits@prod", 2)


def test_both_clients_read_cards_and_policies(
    world: World, client: Client, server: tuple[str, Switch], policy_file: str
) -> None:
    publish(world, wrong=0, card=GOOD_CARD)
    entry = client.models.policy_set("digits", "prod", policy_file, why="rules")
    assert entry.policy == Policy.parse(yaml.safe_load(POLICY), source="policy")
    with pytest.raises(InvalidInput, match="did you mean 'metrics'"):
        client.models.policy_set("digits", "prod", {"metrik": {}})

    async def asked() -> tuple[Any, ...]:
        other = AsyncClient(server[0])
        try:
            models = other.models
            return (
                await models.card("digits@1"),
                await models.policies("digits"),
                await models.policy("digits", "prod", revision=1),
                await models.policy_set("digits", "prod", {"card": ["limits"]}),
                await models.policy_remove("digits", "prod", why="done"),
            )
        finally:
            await other.close()

    card, listed, read, changed, removed = asyncio.run(asked())
    assert card == client.models.card("digits@1")
    assert card.startswith("# digits@1\n")
    assert (listed, read) == ((entry,), entry)
    assert (changed.revision, removed.policy, removed.why) == (2, None, "done")
    assert client.models.policies("digits") == ()
    with pytest.raises(NotFound, match="has no policy"):
        client.models.policy("digits", "prod")


def test_the_card_is_markdown_found_by_alias_too(world: World, http: httpx.Client) -> None:
    publish(world, wrong=0, card=GOOD_CARD)
    http.put(f"{BASE}/aliases/prod", json={"version": 1})
    answer = http.get(f"{BASE}/versions/prod/card")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert "- no letters" in answer.text
    assert http.get(f"{BASE}/versions/9/card").json()["type"] == "not-found"


def test_the_cli_sets_shows_is_held_to_and_removes_a_policy(
    world: World, raymaas: Type, policy_file: str, tmp_path: Path
) -> None:
    publish(world, wrong=0, card=GOOD_CARD)
    publish(world, wrong=0)
    assert raymaas("models", "policy", "show", "digits")[2].strip() == "no alias of digits has a policy"
    said = raymaas("models", "policy", "set", "digits", "prod", policy_file, "--why", "rules")
    assert said[:2] == (0, "digits@prod has policy revision 1\n")
    _, shown, _ = raymaas("models", "policy", "show", "digits", "prod")
    assert shown.startswith("# digits@prod, revision 1, ")
    assert shown.splitlines()[0].endswith(": rules")
    (tmp_path / "again.yaml").write_text(shown)
    again = raymaas("models", "policy", "set", "digits", "prod", str(tmp_path / "again.yaml"))
    assert again[1] == "digits@prod has policy revision 1\n", "what is shown is what was set"
    assert raymaas("models", "policy", "show", "digits")[1] == shown
    assert raymaas("alias", "set", "digits@prod", "1")[0] == 0
    status, _, err = raymaas("alias", "set", "digits@prod", "2")
    assert status == 1
    assert "its card gives no licence; say it under `card:` in the job" in err
    assert "prod: none -> 1 (policy 1)" in raymaas("models", "history", "digits")[1]
    assert raymaas("models", "policy", "remove", "digits", "prod")[:2] == (
        0,
        "digits@prod has no policy any more\n",
    )
    assert "# removed" in raymaas("models", "policy", "show", "digits", "prod", "--revision", "2")[1]
    assert raymaas("alias", "set", "digits@prod", "2")[0] == 0


def test_a_mistake_in_a_policy_file_is_named_by_its_line(world: World, raymaas: Type, tmp_path: Path) -> None:
    publish(world, wrong=0)
    (tmp_path / "p.yaml").write_text(POLICY.replace("at_least", "atleast"))
    status, _, err = raymaas("models", "policy", "set", "digits", "prod", str(tmp_path / "p.yaml"))
    assert status == 1
    assert "line 3: metrics.accuracy.atleast: unknown field; did you mean 'at_least'?" in err
    assert "does not exist; write one" in raymaas("models", "policy", "set", "digits", "prod", "none.yaml")[2]


def test_the_cli_prints_the_card_and_the_licence(world: World, raymaas: Type) -> None:
    publish(world, wrong=0, card=GOOD_CARD)
    status, out, _ = raymaas("models", "card", "digits@1")
    assert (status, out.splitlines()[0]) == (0, "# digits@1")
    assert "licence       CC-BY-4.0" in raymaas("models", "show", "digits@1")[1]
