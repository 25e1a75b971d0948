"""Both planes answer as their OpenAPI documents say: whatever is drawn from them, and what succeeds or is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import malformed
import pytest
from control_server import JOB, Switch, World, draft, serving, utc_now
from edge_rig import key, text_of
from openapi_rig import Described, described
from protocol_server import protocol_edge

from raymaas.serve.control_api import build_app
from raymaas.serve.oip import openapi, table
from raymaas.serve.oip.limits import MAX_BODY_BYTES
from raymaas.specs.keys import RateLimit
from raymaas.specs.kinds import parse_job
from raymaas.specs.reports import EvaluationReport, VersionFigures
from raymaas.specs.runs import RunSpec

SERVED = {"model": "m", "version": "3", "method": "infer"}
INFER = "POST /v2/models/{model}/versions/{version}/infer"
BOTH = ("predict", "admin")
KNOWN = {
    "model": "digits",
    "slot": "1",
    "alias": "prod",
    "action": "pause",
    "run_id": "ended",
    "name": "report/report.md",
    "which": "ana",
    "trigger": "nightly",
    "fingerprint": "3f9a1c2d" + "0" * 56,
}


@pytest.fixture(scope="module")
def control() -> Iterator[str]:
    """The URL of a control plane whose only model starts and starts."""
    world = World(starting={1: 10**9})
    world.publish("digits")
    world.deploy(1)
    with serving(build_app(world.parts())) as url:
        yield url


@pytest.fixture(scope="module")
def data_plane(tmp_path_factory: pytest.TempPathFactory, control: str) -> Iterator[Described]:
    """An edge before m@3 and the control plane, by the document that it passes on."""
    run_dir = tmp_path_factory.mktemp("e")
    with (
        protocol_edge(run_dir, control=_address(control)) as url,
        described(url, openapi.PATH) as plane,
    ):
        yield plane


def known_world() -> World:
    """What KNOWN names is there: digits@1 and digits@2 are deployed, digits@3 is not, and of three runs one goes on."""
    world = World()
    for version in (1, 2, 3):
        said = draft(f"train-digits-{version}")
        lineage = said.lineage.model_copy(update={"data_fingerprint": KNOWN["fingerprint"]})
        files = {"model.safetensors": b"weights"}
        world.versions.publish(said.model_copy(update={"lineage": lineage}), files)
    world.deploy(1)
    world.deploy(2)
    for run_id, outcome in (("ended", "succeeds"), ("going", "never ends"), ("failed", "fails")):
        world.outcome = outcome
        job = parse_job(JOB, source="test")
        world.submit(world.runs.create(RunSpec(run_id=run_id, job=job, who="ana", created_at=utc_now())))
    world.outcome = "succeeds"
    world.runs.artifacts("ended").keep(KNOWN["name"], b"# digits@1\n")
    found = VersionFigures(version="digits@1", evaluation=draft("ended").evaluation)
    world.reports.keep(EvaluationReport(run_id="ended", at=utc_now(), found=found))
    return world


@pytest.fixture(scope="module")
def control_plane(server: tuple[str, Switch]) -> Iterator[Described]:
    server[1].app = build_app(known_world().parts())
    with described(server[0], "/api/v1/openapi.json") as plane:
        yield plane


def test_the_data_plane_answers_whatever_is_drawn_as_it_says(
    data_plane: Described, subtests: pytest.Subtests
) -> None:
    for label in data_plane.operations():
        with subtests.test(label):
            assert data_plane.draw(label, SERVED)


def test_the_control_plane_answers_whatever_is_drawn_as_it_says(
    control_plane: Described, server: tuple[str, Switch], subtests: pytest.Subtests
) -> None:
    for label in control_plane.operations():
        server[1].app = build_app(known_world().parts())  # what one operation did is not met by the next
        with subtests.test(label):
            assert control_plane.draw(label, KNOWN)


def test_an_answer_in_every_form_is_as_described(data_plane: Described) -> None:
    media = set()
    for sent in malformed.valid():
        answer = data_plane.ask(INFER, SERVED, data=sent.body, headers=sent.headers)
        assert answer.status_code == 200
        media.add(answer.headers["content-type"])
    assert media == {"application/json", "application/octet-stream", table.MEDIA}


def test_every_operation_of_the_data_plane_succeeds_but_for_those_it_refuses(data_plane: Described) -> None:
    refused = {
        "POST /v2/repository/models/{model}/load": 409,
        "POST /v2/repository/models/{model}/unload": 409,
        "GET /v2/models/stats": 404,
    }
    valid = malformed.valid()[0]
    for label in data_plane.operations():
        sent = {"data": valid.body, "headers": valid.headers} if label.startswith("POST") else {}
        known = SERVED | {"model": "digits"} if label in refused else SERVED
        assert data_plane.ask(label, known, **sent).status_code == refused.get(label, 200), label
    starting = {"model": "digits", "version": "1"}
    assert data_plane.ask(INFER, starting, data=valid.body, headers=valid.headers).status_code == 503


def test_refusals_of_the_edge_itself_are_as_described(
    tmp_path_factory: pytest.TempPathFactory, control: str
) -> None:
    """On both planes. The first of `keys` may do everything, the second half of it, and the third little at a time."""
    slow = RateLimit(requests_per_s=0.01, burst=2)
    keys = (key(1, "ops", scopes=BOTH), key(2, "half"), key(3, "slow", scopes=BOTH, limit=slow))
    ops, half, seldom = ({"x-api-key": text_of(number)} for number in (1, 2, 3))
    body = malformed.valid()[0].body
    with (
        protocol_edge(tmp_path_factory.mktemp("e"), control=_address(control), keys=keys) as url,
        described(url, openapi.PATH, headers=ops) as data,
        described(url, "/api/v1/openapi.json", headers=ops) as api,
    ):
        models = "GET /api/v1/models"
        expected: list[tuple[int, Described, str, dict[str, Any]]] = [
            (200, data, INFER, {"data": body}),
            (400, data, INFER, {"data": b"{"}),
            (401, data, INFER, {"data": body, "headers": {"x-api-key": "rmk_nobody"}}),
            (401, api, models, {"headers": {"x-api-key": "rmk_nobody"}}),
            (403, api, models, {"headers": half}),
            (411, data, INFER, {"data": iter([body])}),
            (411, api, "POST /api/v1/runs", {"data": iter([b"{}"])}),
            (413, data, INFER, {"data": b" " * (MAX_BODY_BYTES + 1)}),
            (431, data, INFER, {"data": body, "headers": {"x-long": "a" * 20_000}}),
            (431, api, models, {"headers": {"x-long": "a" * 20_000}}),
            (200, data, INFER, {"data": body, "headers": seldom}),
            (200, api, models, {"headers": seldom}),
            (429, data, INFER, {"data": body, "headers": seldom}),
            (429, api, models, {"headers": seldom}),
        ]
        for status, plane, label, sent in expected:
            assert plane.ask(label, SERVED, **sent).status_code == status, label
        for plane, path in ((data, "/v2"), (api, "/api/v1/models")):
            answer = plane.http.request("TRACE", url + path)
            plane.hear(f"GET {path}", SERVED, answer)
            assert (answer.status_code, "DELETE" in answer.headers["allow"]) == (405, True)


def _address(url: str) -> str:
    return url.removeprefix("http://")


def test_every_operation_of_the_control_plane_succeeds_as_described(
    control_plane: Described, server: tuple[str, Switch]
) -> None:
    server[1].app = build_app(known_world().parts())
    policy = {"metrics": {"accuracy": {"at_least": 0.5}}}
    plan = {"steps": [10, 100], "every_s": 60, "guards": {"max_error_rate": 0.01}}
    model = "/api/v1/models/{model}"
    changes: list[tuple[str, dict[str, str], dict[str, Any]]] = [
        (f"POST {model}/deployments", {}, {"version": 1}),
        (f"PUT {model}/aliases/{{alias}}", {}, {"version": "1"}),
        (f"PUT {model}/traffic", {}, {"weights": {"1": 100, "2": 0}}),
        (f"POST {model}/promote", {}, {"version": 2}),
        (f"POST {model}/rollback", {}, {}),
        (f"POST {model}/rollouts", {}, {"version": 2, "plan": plan}),
        (f"POST {model}/rollout/{{action}}", {"action": "abort"}, {}),
        (f"PUT {model}/policies/{{alias}}", {}, {"policy": policy}),
        (f"PUT {model}/sampling", {}, {"rule": {"rate": 1}}),
        (f"PUT {model}/rollout-plan", {}, {"plan": plan}),
        (f"POST {model}/feedback", {}, {"items": [{"request_id": "r-1", "reward": 1}]}),
        ("POST /api/v1/feedback", {}, {"request_id": "r-1", "reward": 1, "model": "digits"}),
        ("PUT /api/v1/triggers/{trigger}", {}, {"job": JOB | {"start": {"every_h": 24}}}),
        ("POST /api/v1/triggers/{trigger}/pause", {}, {}),
        ("POST /api/v1/triggers/{trigger}/resume", {}, {}),
        ("POST /api/v1/runs", {}, {"job": JOB}),
        ("POST /api/v1/runs/{run_id}/resume", {"run_id": "failed"}, {}),
        ("POST /api/v1/runs/{run_id}/stop", {"run_id": "going"}, {}),
    ]
    asked = set()
    for label, names, body in changes:
        asked.add(label)
        assert control_plane.ask(label, KNOWN | names, json=body).ok, label
    for label in control_plane.operations():
        if label.startswith("GET "):
            asked.add(label)
            given = {"other": "digits@2", "first": "1", "second": "2"}
            answer = control_plane.ask(label, KNOWN, params=given)
            # Nothing was measured of these versions when they were made, so there is nothing to have drifted from.
            assert answer.ok or (label.endswith("/drift") and answer.status_code == 404), label
    ends: list[tuple[str, dict[str, str]]] = [
        (f"DELETE {model}/policies/{{alias}}", {}),
        (f"DELETE {model}/sampling", {}),
        ("DELETE /api/v1/triggers/{trigger}", {}),
        (f"DELETE {model}/rollout-plan", {}),
        (f"DELETE {model}/deployments/{{slot}}", {"slot": "2"}),
        (f"DELETE {model}/versions/{{slot}}", {"slot": "3"}),
    ]
    for label, names in ends:
        asked.add(label)
        answer = control_plane.ask(label, KNOWN | names)
        assert answer.ok, answer.text
    grant = {"name": "ops", "scopes": ["admin", "predict"]}
    made = control_plane.ask("POST /api/v1/keys", KNOWN, json={"grant": grant})
    ops = {"x-api-key": made.json()["key"]}
    assert control_plane.ask("POST /api/v1/keys", KNOWN, json={"grant": {"name": "ana"}}).status_code == 401
    made = control_plane.ask("POST /api/v1/keys", KNOWN, json={"grant": {"name": "ana"}}, headers=ops)
    ana = {"x-api-key": made.json()["key"]}
    assert control_plane.ask("GET /api/v1/keys", KNOWN, headers=ana).status_code == 403
    assert control_plane.ask("DELETE /api/v1/keys/{which}", KNOWN, headers=ops).ok
    assert asked | {"POST /api/v1/keys", "DELETE /api/v1/keys/{which}"} == set(control_plane.operations())
