"""Falling back: two versions on real fast lanes behind a real edge, of which one fails on some inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
import pytest
from edge_rig import SECRET, Edge, make_table

from raymaas.client.predictions import infer_request, read_prediction
from raymaas.client.wire import Answer
from raymaas.serve.app import InferenceApp, Served
from raymaas.serve.edge.demand import DemandTeller
from raymaas.serve.edge.rundir import RunDir
from raymaas.serve.falling_back import FallingBack
from raymaas.serve.fast_lane import FastLane
from raymaas.serve.oip.limits import MAX_BODY_BYTES
from raymaas.serve.plan import Target
from raymaas.specs.demand import EdgeDemand
from raymaas.specs.names import Reference
from raymaas.specs.serving import EdgeTable
from raymaas.specs.versions import Signature, TensorSpec

INFER = "/v2/models/digits/infer"
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 1)),),
    outputs=(TensorSpec(name="y", dtype="FP32", shape=(-1, 1)),),
)
BAD = [[-1.0]]


class Version:
    """A version that answers `times` what it is asked, and fails below its `least`."""

    def __init__(
        self, number: int, *, times: float, least: float, addresses: Callable[[Target], list[str]]
    ) -> None:
        self.target, self.times, self.least = Target("digits", number), times, least
        self.recorded: list[dict[str, Any]] = []
        self.falling_back = FallingBack(self.target, addresses=addresses, timeout_s=2)
        app = InferenceApp(
            Served(model="digits", version=str(number), signature=SIGNATURE, runtime="test"),
            compute=self._compute,
            secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
            record=lambda **told: self.recorded.append(told),
            fallback=self.falling_back,
        )
        self.lane = FastLane(
            app.answer, host="127.0.0.1", prefix=self.target.route_prefix, max_body_bytes=MAX_BODY_BYTES
        )

    async def _compute(
        self, method: str, inputs: dict[str, np.ndarray], **_: object
    ) -> dict[str, np.ndarray]:
        x = inputs["x"]
        if x.min() < self.least:
            raise IndexError(f"{x.min()} is below {self.least}")
        return {"y": x * np.float32(self.times)}

    @property
    def statuses(self) -> list[int]:
        return [told["status"] for told in self.recorded]

    def end(self) -> None:
        self.falling_back.close()
        self.lane.leave(quiet_s=0, at_most_s=2)


class Site:
    """Version 2 has all traffic and fails on negative numbers; version 1 fails below -9."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.listening = True
        self.new = Version(2, times=5, least=0, addresses=self._addresses)
        self.old = Version(1, times=2, least=-9, addresses=lambda target: [])
        self.teller = DemandTeller(RunDir(edge.run_dir), lambda seen: None, name="e")

    def _addresses(self, target: Target) -> list[str]:
        assert target == Target("digits", 1)
        return [self.old.lane.address] if self.listening else []

    def follow(self, *, fallbacks: dict[str, int]) -> EdgeTable:
        table = make_table(
            f"fallbacks {fallbacks}",
            versions=(1, 2),
            traffic={2: 100},
            aliases={"new": 2},
            replicas={1: [self.old.lane.address], 2: [self.new.lane.address]},
            fallbacks=fallbacks,
        )
        self.edge.follow(table)
        return table

    def seen(self) -> EdgeDemand:
        return self.teller.seen()


@contextmanager
def _site(edge: Edge) -> Iterator[Site]:
    site = Site(edge)
    try:
        yield site
    finally:
        site.new.end()
        site.old.end()


@pytest.fixture
def site(make_edge: Callable[..., Edge]) -> Iterator[Site]:
    with _site(make_edge()) as site:
        site.follow(fallbacks={"digits": 1})
        site.seen()  # From now on it counts.
        yield site


def plain(rows: Any) -> bytes:
    return orjson.dumps({"inputs": rows})


def test_the_old_version_answers_where_the_new_one_fails_and_the_failure_is_counted(site: Site) -> None:
    for _ in range(7):
        status, answer, headers = site.edge.ask(INFER, plain(BAD))
        assert (status, answer["model_version"], answer["outputs"]) == (200, "1", {"y": [[-2.0]]})
        assert headers["x-raymaas-fell-back"] == "2"
    for _ in range(5):
        status, answer, headers = site.edge.ask(INFER, plain([[3.0]]))
        assert (status, answer["model_version"], answer["outputs"]) == (200, "2", {"y": [[15.0]]})
        assert "x-raymaas-fell-back" not in headers
    told = site.seen().outcomes
    assert (told["digits@2"].answered, told["digits@2"].failed) == (12, 7)
    assert (told["digits@1"].answered, told["digits@1"].failed) == (0, 0)
    assert site.new.statuses == [500] * 7 + [200] * 5
    assert site.old.statuses == [200] * 7


def test_the_request_keeps_its_id_and_its_form(site: Site) -> None:
    request = infer_request(Reference.parse("digits"), np.array(BAD, np.float32), "infer")
    with site.edge.connection() as connection:
        sent = {"content-type": "application/json", **request.headers, "x-request-id": "r-7"}
        connection.request("POST", INFER, request.body, sent)
        response = connection.getresponse()
        told = {name.lower(): value for name, value in response.getheaders()}
        found = read_prediction(Answer(response.status, told, response.read()), arrays=True)
    assert (found.model_version, found.request_id) == (1, "r-7")
    np.testing.assert_array_equal(found.outputs["y"], np.array([[-2.0]], np.float32))
    assert [told["request_id"] for told in (*site.new.recorded, *site.old.recorded)] == ["r-7", "r-7"]
    many = plain([[-1.0]] * 2000)
    with site.edge.connection() as connection:
        connection.request(
            "POST", INFER, many, {"content-type": "application/json", "accept-encoding": "gzip"}
        )
        response = connection.getresponse()
        response.read()
    assert (response.status, response.headers["content-encoding"]) == (200, "gzip")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v2/models/digits/versions/2/infer", {}),
        ("/v2/models/digits/versions/new/infer", {}),
        (INFER, {"x-raymaas-version": "2"}),
    ],
)
def test_who_pins_the_new_version_means_it(site: Site, path: str, headers: dict[str, str]) -> None:
    status, answer, _ = site.edge.ask(path, plain(BAD), headers)
    assert (status, answer["code"]) == (500, "error")
    assert site.old.recorded == []


def test_nobody_can_ask_for_it_and_without_a_rollout_nobody_gets_it(site: Site) -> None:
    site.follow(fallbacks={})
    status, _, headers = site.edge.ask(INFER, plain(BAD), {"x-raymaas-fallback": "1"})
    assert (status, "x-raymaas-fell-back" in headers) == (500, False)
    assert site.old.recorded == []


def test_what_the_caller_did_wrong_is_answered_by_the_version_it_met(site: Site) -> None:
    status, _, _ = site.edge.ask(INFER, b"{")
    assert status == 400
    assert site.old.recorded == []


def test_where_the_old_version_fails_as_well_the_failure_is_told(site: Site) -> None:
    status, answer, headers = site.edge.ask(INFER, plain([[-10.0]]))
    assert (status, answer["code"], "x-raymaas-fell-back" in headers) == (500, "error", False)
    assert (site.new.statuses, site.old.statuses) == ([500], [500])
    told = site.seen().outcomes["digits@2"]
    assert (told.answered, told.failed) == (1, 1)


def test_where_the_old_version_is_away_the_failure_is_told(site: Site) -> None:
    site.listening = False
    assert site.edge.ask(INFER, plain(BAD))[0] == 500


def test_many_that_fail_at_once_are_all_answered(site: Site) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: site.edge.ask(INFER, plain(BAD))[0], range(200)))
    assert found == [200] * 200
    assert site.seen().outcomes["digits@2"].failed == 200


def test_a_connection_that_was_closed_meanwhile_is_made_anew(site: Site) -> None:
    assert site.edge.ask(INFER, plain(BAD))[0] == 200
    (idle,) = site.new.falling_back._peers._idle[site.old.lane.address]
    assert idle.sock is not None
    idle.sock.shutdown(2)
    assert site.edge.ask(INFER, plain(BAD))[0] == 200


def test_a_reload_of_the_edge_forgets_no_failure_that_was_told(site: Site) -> None:
    for _ in range(3):
        site.edge.ask(INFER, plain(BAD))
    assert site.seen().outcomes["digits@2"].failed == 3
    table = site.follow(fallbacks={"digits": 1}).model_copy(
        update={"revision": "sticky", "sticky": {"digits": "x-user"}}
    )
    site.edge.follow(table)  # A header that HAProxy has not known: it is started anew.
    site.seen()
    for _ in range(2):
        assert site.edge.ask(INFER, plain(BAD))[0] == 200
    assert site.seen().outcomes["digits@2"].failed == 5
