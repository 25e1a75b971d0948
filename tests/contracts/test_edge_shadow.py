"""Shadow traffic: two versions on real fast lanes behind a real edge, of which one gets copies and answers nobody."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import orjson
import pytest
from edge_rig import SECRET, Edge, ask, eventually, make_table

from raymaas.serve.app import InferenceApp, Served
from raymaas.serve.fast_lane import FastLane
from raymaas.serve.http1 import Asked, Reply
from raymaas.serve.oip.limits import MAX_BODY_BYTES
from raymaas.serve.plan import Target
from raymaas.serve.shadowing import Shadowing
from raymaas.specs.requests import Compared
from raymaas.specs.serving import EdgeTable, Shadow
from raymaas.specs.versions import Signature, TensorSpec

INFER = "/v2/models/digits/infer"
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 1)),),
    outputs=(TensorSpec(name="y", dtype="FP32", shape=(-1, 1)),),
)


class Version:
    """A version that answers `times` what it is asked, and of negative numbers just themselves."""

    def __init__(self, number: int, *, times: float, addresses: Callable[[Target], list[str]]) -> None:
        self.target, self.times = Target("digits", number), times
        self.recorded: list[dict[str, Any]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.may = asyncio.Event()
        self.may.set()
        self.shadowing = Shadowing(
            self.target, classes=(), addresses=addresses, waiting=lambda: 0, timeout_s=0.5
        )
        self.shadowing.start()
        app = InferenceApp(
            Served(model="digits", version=str(number), signature=SIGNATURE, runtime="test"),
            compute=self._compute,
            secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
            record=lambda **told: self.recorded.append(told),
            shadow=self.shadowing,
        )

        async def answering(asked: Asked) -> Reply:
            self.headers.append(asked.headers)
            return await app.answer(asked)

        self.lane = FastLane(
            answering, host="127.0.0.1", prefix=self.target.route_prefix, max_body_bytes=MAX_BODY_BYTES
        )

    async def _compute(
        self, method: str, inputs: dict[str, np.ndarray], **_: object
    ) -> dict[str, np.ndarray]:
        await self.may.wait()
        x = inputs["x"]
        return {"y": np.where(x < 0, x, x * np.float32(self.times))}

    @property
    def found(self) -> Compared:
        return self.shadowing.totals().get(3) or Compared(rows=0, rows_disagreed=0, errors=0, dropped=0)

    def end(self) -> None:
        self.shadowing.close(timeout_s=10)
        self.lane.leave(quiet_s=0, at_most_s=2)


class Site:
    """Version 1 has all traffic, version 3 shadows it."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.live = Version(1, times=2, addresses=lambda target: [self.other.lane.address])
        self.other = Version(3, times=5, addresses=lambda target: [])

    def follow(self, *, sample: float | None) -> EdgeTable:
        table = make_table(
            f"sample {sample}",
            versions=(1, 3),
            traffic={1: 100},
            aliases={"prod": 1},
            replicas={1: [self.live.lane.address], 3: [self.other.lane.address]},
            shadows={} if sample is None else {"digits": Shadow(version=3, sample=sample)},
        )
        self.edge.follow(table)
        return table

    def ask(self, *values: float, times: int = 1, path: str = INFER, **headers: str) -> None:
        """Ask of the edge, and see to it that the live version answers."""
        body = orjson.dumps({"inputs": [[value] for value in values]})
        expected = [[value * 2 if value >= 0 else value] for value in values]
        with self.edge.connection() as connection:
            for _ in range(times):
                status, answer, _ = ask(connection, path, body, headers)
                assert (status, answer["model_version"], answer["outputs"]) == (200, "1", {"y": expected})

    def copied(self) -> int:
        """How many copies the live version has done with."""
        found = self.live.found
        return found.rows + found.errors + found.dropped


@contextmanager
def _site(edge: Edge) -> Iterator[Site]:
    site = Site(edge)
    try:
        yield site
    finally:
        site.live.lane._loop.call_soon_threadsafe(site.live.may.set)  # type: ignore[union-attr]
        site.live.end()
        site.other.end()


@pytest.fixture
def site(make_edge: Callable[..., Edge]) -> Iterator[Site]:
    with _site(make_edge()) as site:
        yield site


def test_callers_get_the_live_answer_and_about_the_sample_is_copied(site: Site) -> None:
    site.follow(sample=0.25)
    site.ask(1.0, times=400)
    marked = sum(b"x-raymaas-shadow" in headers for headers in site.live.headers)
    # 100 expected, standard deviation 8.7: five of them.
    assert 56 < marked < 144
    eventually(lambda: site.copied() == marked, "every copy is accounted for")
    assert site.live.found.errors == 0
    eventually(lambda: len(site.other.recorded) == site.live.found.rows, "what was compared was asked")


def test_rows_that_differ_are_counted_and_copies_are_marked_and_nobodys(site: Site) -> None:
    site.follow(sample=1)
    for number in range(1, 11):
        site.ask(1.0, -1.0, -2.0, **{"x-request-id": f"r-{number}"})
        eventually(lambda number=number: site.live.found.rows == 3 * number, "compared")  # type: ignore[misc]
    assert site.live.found == Compared(rows=30, rows_disagreed=10, errors=0, dropped=0)
    eventually(lambda: len(site.other.recorded) == len(site.live.recorded) == 10, "recorded")
    assert {told["shadow"] for told in site.live.recorded} == {False}
    assert {(told["shadow"], told["key_id"]) for told in site.other.recorded} == {(True, "")}
    ids = [f"r-{number}" for number in range(1, 11)]
    assert [told["request_id"] for told in site.other.recorded] == ids
    assert [told["request_id"] for told in site.live.recorded] == ids


def test_pins_and_aliases_of_others_are_copied_and_no_one_can_ask_for_it(site: Site) -> None:
    site.follow(sample=1)
    for number, path in enumerate(("/versions/1/infer", "/versions/prod/infer"), start=1):
        site.ask(1.0, path=f"/v2/models/digits{path}")
        eventually(lambda number=number: site.live.found.rows == number, "compared")  # type: ignore[misc]
    body = orjson.dumps({"inputs": [[1.0]]})
    status, answer, _ = site.edge.ask("/v2/models/digits/versions/3/infer", body)
    assert (status, answer["outputs"]) == (200, {"y": [[5.0]]})
    assert not site.other.recorded[-1]["shadow"], "a caller's own request is none"
    assert site.edge.ask("/v2/models/digits/ready")[0] == 200
    site.follow(sample=None)
    site.ask(1.0, times=20, **{"x-raymaas-shadow": "3", "x-raymaas-copy": "3"})
    assert not any(b"x-raymaas-shadow" in headers for headers in site.live.headers[-20:])
    assert not any(told["shadow"] for told in site.live.recorded)
    assert site.copied() == 2


def test_a_version_that_hangs_or_dies_costs_callers_nothing(site: Site) -> None:
    site.follow(sample=1)
    site.other.lane._loop.call_soon_threadsafe(site.other.may.clear)  # type: ignore[union-attr]
    site.ask(1.0, times=100)
    assert site.live.found.rows == 0
    assert site.live.found.dropped >= 100 - 8 - 2 - site.live.found.errors, "few wait, the rest is dropped"
    eventually(lambda: site.live.found.errors >= 1, "one that hangs is given up")
    site.other.lane._loop.call_soon_threadsafe(site.other.may.set)  # type: ignore[union-attr]
    eventually(lambda: site.copied() == 100, "all are accounted for")
    site.other.end()
    before = site.live.found
    site.ask(1.0, times=100)
    eventually(lambda: site.copied() >= 200, "all are accounted for")
    assert site.live.found.rows == before.rows
