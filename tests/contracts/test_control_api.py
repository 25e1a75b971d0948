"""The control API over HTTP: statuses, Problems, guards, the protocol's own paths, the edge agents' door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from control_server import JOB, SECRET, Switch, World
from pydantic import SecretStr, TypeAdapter

from raymaas.errors import Unavailable
from raymaas.serve.api.models import deployments_of
from raymaas.serve.edge.source import HttpController
from raymaas.specs.api import DeploymentStatus
from raymaas.specs.demand import EdgeDemand, VersionDemand
from raymaas.specs.problem import Problem
from raymaas.specs.runs import RUN_STATE
from raymaas.specs.serving import EdgeTable, Scaling


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def http(world: World, server: tuple[str, Switch]) -> Iterator[httpx.Client]:
    url, switch = server
    switch.app = world.app()
    with httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def problem(answer: httpx.Response, status: int, code: str) -> Problem:
    """The Problem in `answer`, which has this status and code."""
    assert answer.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate(answer.json())
    assert (answer.status_code, found.status, found.type) == (status, status, code)
    assert found.request_id == answer.headers["x-request-id"]
    return found


def test_an_unknown_model_is_404_with_the_nearest_name(world: World, http: httpx.Client) -> None:
    world.publish()
    for path in ("", "/versions", "/versions/1", "/history", "/state", "/deployments"):
        assert (
            "did you mean 'digits'"
            in problem(http.get(f"/api/v1/models/digit{path}"), 404, "not-found").detail
        )


def test_a_version_is_found_by_number_and_by_alias(world: World, http: httpx.Client) -> None:
    world.publish()
    world.publish()
    assert http.put("/api/v1/models/digits/aliases/prod", json={"version": 1}).status_code == 200
    assert http.get("/api/v1/models/digits/versions/prod").json()["version"] == 1
    assert http.get("/api/v1/models/digits/versions/2").json()["version"] == 2
    assert "latest is 2" in problem(http.get("/api/v1/models/digits/versions/7"), 404, "not-found").detail


def test_names_outside_the_grammar_are_400(http: httpx.Client) -> None:
    problem(http.get("/api/v1/models/Digits"), 400, "invalid-input")
    problem(http.get("/api/v1/models/..%2f..%2fetc"), 404, "not-found")
    problem(http.get("/api/v1/runs/UPPER"), 400, "invalid-input")


def test_unknown_routes_and_methods_are_problems(http: httpx.Client) -> None:
    problem(http.get("/api/v1/nothing"), 404, "not-found")
    problem(http.get("/"), 404, "not-found")
    answer = http.delete("/api/v1/status")
    assert "DELETE /api/v1/status is not possible" in problem(answer, 405, "invalid-input").detail
    assert answer.headers["allow"] == "GET"
    answer = http.get("/v2/repository/index")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "/v2/openapi.json lists" in answer.json()["error"]
    answer = http.patch("/api/v1/runs", json={})
    problem(answer, 405, "invalid-input")
    assert answer.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "version: required field is missing"),
        ({"version": 1, "wy": "typo"}, "wy: unknown field; did you mean 'why'?"),
        ({"version": 1, "scaling": {"max_replicas": 0}}, "scaling.max_replicas"),
        ({"version": 1, "scaling": {"min_replicas": 3, "max_replicas": 2}}, "max_replicas (2) is below"),
        ({"version": 1, "why": "two\nlines"}, "must be one line"),
        ([], "body"),
    ],
)
def test_a_wrong_body_is_400_naming_the_field(body: Any, said: str, world: World, http: httpx.Client) -> None:
    world.publish()
    answer = http.post("/api/v1/models/digits/deployments", json=body)
    assert said in problem(answer, 400, "invalid-input").detail
    assert world.states.current("digits") is None


def test_a_wrong_job_is_400_naming_the_field(http: httpx.Client) -> None:
    wrong = JOB | {"training": {"epocs": 3}}
    answer = http.post("/api/v1/runs", json={"job": wrong})
    assert (
        "training.epocs: unknown field; did you mean 'epochs'?"
        in problem(answer, 400, "invalid-input").detail
    )
    problem(http.post("/api/v1/runs", json={"job": {"kind": []}}), 400, "invalid-input")
    assert http.get("/api/v1/runs").json() == {"runs": []}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=many"])
def test_a_wrong_query_is_400_naming_it(query: str, http: httpx.Client) -> None:
    assert "limit" in problem(http.get(f"/api/v1/runs?{query}"), 400, "invalid-input").detail


@pytest.mark.parametrize("text", [b"{", b"", b"\xff", b'{"version": NaN}', b"[" * 100_000])
def test_bytes_that_are_not_json_are_400(text: bytes, http: httpx.Client) -> None:
    answer = http.post(
        "/api/v1/models/digits/deployments", content=text, headers={"content-type": "application/json"}
    )
    problem(answer, 400, "invalid-input")


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", None])
def test_a_body_that_is_not_declared_json_is_415(
    content_type: str | None, world: World, http: httpx.Client
) -> None:
    world.publish()
    headers = {"content-type": content_type} if content_type else {}
    answer = http.post("/api/v1/models/digits/deployments", content=b'{"version": 1}', headers=headers)
    problem(answer, 415, "invalid-input")
    assert world.states.current("digits") is None


def test_another_sites_page_may_not_change_anything(world: World, http: httpx.Client) -> None:
    run_id = http.post("/api/v1/runs", json={"job": JOB}).json()["run_id"]
    stop = f"/api/v1/runs/{run_id}/stop"
    problem(http.post(stop, headers={"origin": "https://evil.example"}), 403, "denied")
    problem(http.post(stop, headers={"origin": "null"}), 403, "denied")
    own = str(http.base_url).rstrip("/")
    assert problem(http.post(stop, headers={"origin": own}), 409, "refused")


def test_a_name_that_was_made_to_mean_this_machine_is_not_answered(http: httpx.Client) -> None:
    for path in ("/api/v1/models", "/api/v1/status", "/v2/repository/index"):
        answer = http.get(path, headers={"host": "evil.example:8080"})
        assert answer.status_code == 403
        assert "evil.example" in answer.text
    assert http.get("/api/v1/models", headers={"host": "localhost:8080"}).status_code == 200


def test_a_body_beyond_the_limit_is_refused_announced_or_not(http: httpx.Client) -> None:
    large = b'{"version": "' + b"a" * 2_000_000 + b'"}'
    json_headers = {"content-type": "application/json"}
    problem(
        http.put("/api/v1/models/digits/aliases/prod", content=large, headers=json_headers),
        413,
        "too-large",
    )
    pieces = (large[i : i + 100_000] for i in range(0, len(large), 100_000))
    answer = http.put("/api/v1/models/digits/aliases/prod", content=pieces, headers=json_headers)
    assert "larger than" in problem(answer, 413, "too-large").detail


def test_a_request_id_is_echoed_or_made(http: httpx.Client) -> None:
    given = http.get("/api/v1/models", headers={"x-request-id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    assert http.get("/api/v1/models", headers={"x-request-id": "a b<c>"}).headers["x-request-id"] != "a b<c>"


def test_a_write_answers_the_new_state_and_wakes_the_controller(world: World, http: httpx.Client) -> None:
    world.publish()
    answer = http.post(
        "/api/v1/models/digits/deployments", json={"version": "1"}, headers={"x-raymaas-user": "ben"}
    )
    assert (answer.json()["traffic"], answer.json()["change"]["who"]) == ({"1": 100}, "ben")
    assert world.pokes == 1


def test_a_state_before_the_first_move_says_what_to_do(world: World, http: httpx.Client) -> None:
    world.publish()
    assert "deploy digits@1" in problem(http.get("/api/v1/models/digits/state"), 404, "not-found").detail
    assert http.get("/api/v1/models/digits/deployments").json() == {"deployments": []}
    assert http.get("/api/v1/models/digits/history").json() == {"changes": []}


def test_the_last_version_is_undeployed_only_by_force(world: World, http: httpx.Client) -> None:
    world.publish()
    world.deploy(1)
    problem(http.delete("/api/v1/models/digits/deployments/1"), 409, "refused")
    assert http.delete("/api/v1/models/digits/deployments/1?force=true").json()["scaling"] == {}


def test_traffic_to_a_version_that_is_not_deployed_is_refused(world: World, http: httpx.Client) -> None:
    world.publish()
    problem(http.put("/api/v1/models/digits/traffic", json={"weights": {"1": 100}}), 409, "refused")
    problem(http.put("/api/v1/models/digits/traffic", json={"weights": {"1": 90.5}}), 400, "invalid-input")
    problem(http.put("/api/v1/models/digits/traffic", json={}), 400, "invalid-input")
    problem(http.put("/api/v1/models/digits/traffic", json={"sticky": "x-user"}), 400, "invalid-input")


def test_promote_and_rollback_are_one_revision_and_one_wake_up_each(world: World, http: httpx.Client) -> None:
    for version in (1, 2):
        world.publish()
        world.deploy(version)
    path = "/api/v1/models/digits"
    promoted = http.post(f"{path}/promote", json={"version": 2, "why": "better"}).json()
    assert (promoted["revision"], promoted["aliases"], promoted["traffic"]) == (
        3,
        {"prod": 2},
        {"1": 0, "2": 100},
    )
    back = http.post(f"{path}/rollback", json={}, headers={"x-raymaas-user": "ben"}).json()
    assert (back["revision"], back["aliases"], back["traffic"]) == (4, {}, {"1": 100, "2": 0})
    assert world.pokes == 2
    again = http.post(f"{path}/rollback", json={"to": 3}).json()
    assert (again["aliases"], again["traffic"]) == ({"prod": 2}, {"1": 0, "2": 100})
    changes = http.get(f"{path}/history").json()["changes"]
    assert [(c["revision"], c["action"], c["undoes"]) for c in changes[:3]] == [
        (5, "rollback", 4),
        (4, "rollback", 3),
        (3, "promote", None),
    ]
    assert (changes[1]["who"], changes[2]["why"]) == ("ben", "better")


def test_what_cannot_be_promoted_or_rolled_back_says_why(world: World, http: httpx.Client) -> None:
    world.publish()
    path = "/api/v1/models/digits"
    said = problem(http.post(f"{path}/promote", json={"version": 1}), 409, "refused").detail
    assert "`raymaas deploy digits@1`" in said
    problem(http.post(f"{path}/promote", json={"version": 9}), 404, "not-found")
    said = problem(http.post(f"{path}/rollback", json={}), 409, "refused").detail
    assert "nothing to roll back" in said
    world.deploy(1)
    problem(http.post(f"{path}/rollback", json={}), 409, "refused")
    assert "latest is 1" in problem(http.post(f"{path}/rollback", json={"to": 2}), 404, "not-found").detail
    problem(http.post(f"{path}/rollback", json={"to": 0}), 400, "invalid-input")
    said = problem(http.post("/api/v1/models/digit/rollback", json={}), 404, "not-found").detail
    assert "did you mean 'digits'" in said


def test_a_run_that_could_not_be_submitted_is_kept_as_failed(world: World, http: httpx.Client) -> None:
    world.refusal = Unavailable("Ray does not answer")
    problem(http.post("/api/v1/runs", json={"job": JOB}), 503, "unavailable")
    (run,) = http.get("/api/v1/runs").json()["runs"]
    assert (run["status"]["state"], run["status"]["error"]) == (
        "failed",
        "it was never started: Ray does not answer",
    )


def test_runs_are_listed_by_model_and_read_in_parts(http: httpx.Client) -> None:
    created = http.post("/api/v1/runs", json={"job": JOB})
    assert created.status_code == 201
    run_id = created.json()["run_id"]
    assert http.get("/api/v1/runs?model=other").json() == {"runs": []}
    assert [r["run_id"] for r in http.get("/api/v1/runs?model=digits&limit=1").json()["runs"]] == [run_id]
    assert RUN_STATE.validate_python(http.get(f"/api/v1/runs/{run_id}").json()["status"]).state == "succeeded"
    part = http.get(f"/api/v1/runs/{run_id}/logs").json()
    rest = http.get(f"/api/v1/runs/{run_id}/logs", params={"after": part["next"]}).json()
    assert (part["final"], rest) == (True, {"text": "", "next": part["next"], "final": True})
    problem(http.get("/api/v1/runs/train-digits-none"), 404, "not-found")
    problem(http.post("/api/v1/runs/train-digits-none/stop"), 404, "not-found")


def test_a_run_is_resumed_by_another_or_it_is_said_why_not(world: World, http: httpx.Client) -> None:
    world.outcome = "fails"
    run_id = http.post("/api/v1/runs", json={"job": JOB}).json()["run_id"]
    world.outcome = "succeeds"
    resume = f"/api/v1/runs/{run_id}/resume"
    unset = {"settings": ["training.epochs=9"]}
    assert "add from_epoch" in problem(http.post(resume, json=unset), 400, "invalid-input").detail
    assert "it has none" in problem(http.post(resume, json={"from_epoch": 3}), 404, "not-found").detail
    problem(http.post(resume, json={"from_epoch": 0}), 400, "invalid-input")
    answer = http.post(resume, json={})
    assert answer.status_code == 201
    assert (answer.json()["run_id"], answer.json()["status"]["state"]) == (f"{run_id}-r2", "succeeded")
    assert answer.json()["resumes"] == {"run": run_id, "epoch": None}
    assert f"as {run_id}-r2, which is succeeded" in problem(http.post(resume, json={}), 409, "refused").detail
    problem(http.post("/api/v1/runs/train-digits-none/resume", json={}), 404, "not-found")


def test_the_description_names_every_path_and_the_shape_of_errors(http: httpx.Client) -> None:
    described = http.get("/api/v1/openapi.json").json()
    paths = TypeAdapter(dict[str, dict[str, Any]]).validate_python(described["paths"])
    assert {p.removeprefix("/api/v1") for p in paths if p.startswith("/api/v1")} == {
        "/status",
        "/keys",
        "/keys/{which}",
        "/usage",
        "/lineage/data/{fingerprint}",
        "/models",
        "/models/{model}",
        "/models/{model}/versions",
        "/models/{model}/versions/{slot}",
        "/models/{model}/versions/{slot}/lineage",
        "/models/{model}/versions/{slot}/card",
        "/models/{model}/versions/{slot}/drift",
        "/models/{model}/versions/{slot}/comparison",
        "/models/{model}/history",
        "/models/{model}/state",
        "/models/{model}/deployments",
        "/models/{model}/deployments/{slot}",
        "/models/{model}/aliases/{alias}",
        "/models/{model}/traffic",
        "/models/{model}/promote",
        "/models/{model}/rollback",
        "/models/{model}/rollout",
        "/models/{model}/rollout/{action}",
        "/models/{model}/rollouts",
        "/models/{model}/rollout-plan",
        "/models/{model}/sampling",
        "/models/{model}/feedback",
        "/models/{model}/outcomes",
        "/feedback",
        "/triggers",
        "/triggers/{trigger}",
        "/triggers/{trigger}/pause",
        "/triggers/{trigger}/resume",
        "/models/{model}/policies",
        "/models/{model}/policies/{alias}",
        "/runs",
        "/runs/{run_id}",
        "/runs/{run_id}/metrics",
        "/runs/{run_id}/evaluation",
        "/runs/{run_id}/logs",
        "/runs/{run_id}/spec",
        "/runs/{run_id}/files",
        "/runs/{run_id}/files/{name}",
        "/runs/{run_id}/stop",
        "/runs/{run_id}/resume",
    }
    operations = [op for path in paths.values() for op in path.values()]
    assert all("400" in op["responses"] and "422" not in op["responses"] for op in operations)
    assert len({op["operationId"] for op in operations}) == len(operations)
    assert "swagger" in http.get("/api/v1/docs").text.lower()


@pytest.mark.parametrize("slot", ["9" * 5000, "0", "007", "%C2%B2", "%D9%A3", "Prod"])
def test_a_path_with_what_is_neither_version_nor_alias_is_400(
    slot: str, world: World, http: httpx.Client
) -> None:
    world.publish()
    answer = http.get(f"/v2/models/digits/versions/{slot}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-input")
    assert "is not a reference such as digits" in answer.json()["error"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00"])
def test_a_moment_beyond_what_can_be_written_in_utc_is_400(
    moment: str, world: World, http: httpx.Client
) -> None:
    world.publish()
    asked = ("/api/v1/usage", "since"), ("/api/v1/models/digits/versions/1/lineage", "before")
    for path, name in asked:
        refused = problem(http.get(path, params={name: moment}), 400, "invalid-input")
        assert f"query.{name}: Value error, the year must be 1001 to 9998" in refused.detail


def test_the_protocols_server_paths(world: World, http: httpx.Client) -> None:
    assert http.get("/v2").json()["name"] == "raymaas"
    assert http.get("/v2/health/live").json() == {"live": True}
    assert http.get("/v2/health/ready").json() == {"ready": True, "live": True}
    world.publish()
    world.publish()
    world.deploy(1)
    world.deploy(2)
    world.failed[2] = "no memory"
    assert http.post("/v2/repository/index").json() == [
        {"name": "digits", "version": "1", "state": "READY", "reason": ""},
        {"name": "digits", "version": "2", "state": "UNAVAILABLE", "reason": "no memory"},
    ]


def test_the_protocol_says_what_the_server_has_and_refuses_to_move_what_runs(
    world: World, http: httpx.Client
) -> None:
    world.publish()
    extensions = http.get("/v2").json()["extensions"]
    assert {"binary_tensor_data", "model_repository", "statistics", "model_configuration"} <= set(extensions)
    for action, command in (("load", "raymaas deploy digits"), ("unload", "raymaas undeploy digits")):
        refusal = http.post(f"/v2/repository/models/digits/{action}")
        assert (refusal.status_code, refusal.json()["code"]) == (409, "refused")
        assert command in refusal.json()["error"]
    assert "did you mean 'digits'" in http.post("/v2/repository/models/digit/load").json()["error"]
    assert "GET /v2/models/MODEL/stats" in http.get("/v2/models/stats").json()["error"]


def test_not_ready_while_the_store_cannot_be_read(
    world: World, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> list[str]:
        raise Unavailable("the store is away")

    monkeypatch.setattr(world.versions, "models", away)
    answer = http.get("/v2/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "live": True})


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("digit/infer", 404, "did you mean 'digits'"),
        ("digits/versions/2/infer", 404, "digits@2 is not deployed; deployed: digits@1"),
        ("digits/versions/prd/infer", 404, "alias 'prd' of 'digits' does not exist; aliases: prod -> 2"),
        ("digits/versions/prod/infer", 404, "Deploy it: `raymaas deploy digits@2`"),
        ("digits/versions/1/nonsense", 404, "this path is not one of its own"),
        (
            "digits/versions/1/ready",
            503,
            "digits@1 is ready, and this edge will send it requests in a moment",
        ),
        ("digits/ready", 503, "this edge will send it requests in a moment"),
        ("other/infer", 404, "no version of 'other' has traffic; deployed: none"),
        ("late/infer", 503, "late@1 could not be started (no memory)"),
    ],
)
def test_a_path_nobody_serves_says_why_in_the_protocols_shape(
    path: str, status: int, said: str, world: World, http: httpx.Client
) -> None:
    for model in ("digits", "digits", "other"):
        world.publish(model)
    world.deploy(1)
    http.put("/api/v1/models/digits/aliases/prod", json={"version": 2})
    if path.startswith("late"):
        world.publish("late")
        world.deploy(1, "late")
        world.failed[1] = "no memory"
    answer = http.post(f"/v2/models/{path}", json={"inputs": [[1, 2]]})
    body = answer.json()
    assert said in body["error"]
    waits = {"retry_after_s"} if "in a moment" in said else set()
    assert (answer.status_code, set(body)) == (status, {"error", "code", "request_id"} | waits)
    assert answer.headers.get("retry-after") == ("1" if waits else None)
    assert body["request_id"] == answer.headers["x-request-id"]


def test_the_edge_table_is_for_those_who_know_the_secret(world: World, http: httpx.Client) -> None:
    for given in ({}, {"x-raymaas-edge": ""}, {"x-raymaas-edge": "edge-secret"}):
        problem(http.get("/internal/edge-table", headers=given), 403, "denied")
    headers = {"x-raymaas-edge": SECRET}
    answer = http.get("/internal/edge-table", headers=headers)
    assert EdgeTable.unseal(answer.content, source="test") == world.table_now
    same = http.get("/internal/edge-table", params={"after": "r1", "wait_s": 0.01}, headers=headers)
    assert (same.status_code, same.content) == (304, b"")


def test_an_agent_tells_what_it_sees_asked_and_nobody_else_may(world: World, http: httpx.Client) -> None:
    seen = EdgeDemand(edge="a", versions={"digits@1": VersionDemand(in_flight=3, requests_per_s=0.5)})
    agent = HttpController(str(http.base_url), secret=SecretStr(SECRET))
    agent.tell(seen)
    agent.close()
    assert world.demands == [seen]

    told = http.post(
        "/internal/edge-demand", content=seen.seal(), headers={"content-type": "application/json"}
    )
    problem(told, 403, "denied")
    assert world.demands == [seen]


def test_the_agents_own_source_reads_the_table(world: World, http: httpx.Client) -> None:
    source = HttpController(str(http.base_url), secret=SecretStr(SECRET))
    assert source(None, 0.01) == world.table_now
    assert source("r1", 0.01) is None
    source.close()


def test_deployments_join_what_is_wanted_with_what_runs(world: World) -> None:
    world.publish()
    world.publish()
    world.deploy(1)
    world.deploy(2)

    class Cluster:
        def statuses(self, model: str, wanted: Mapping[int, Scaling]) -> dict[int, DeploymentStatus]:
            assert (model, list(wanted)) == ("digits", [1, 2])
            return {
                1: DeploymentStatus(status="ready"),
                7: DeploymentStatus(status="ready", message="draining"),
            }

    found = deployments_of("digits", world.states.current("digits"), Cluster())
    assert [(d.version, d.wanted, d.status, d.weight) for d in found] == [
        (1, True, "ready", 100),
        (2, True, "starting", 0),
        (7, False, "stopping", 0),
    ]
