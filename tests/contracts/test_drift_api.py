"""Drift through the whole front: what replicas counted, judged by the control plane, for both clients and the CLI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
from control_server import Switch, Type, World
from registry_examples import draft

from raymaas.bundle.files import REFERENCE
from raymaas.cli.standings import drift_line
from raymaas.client import AsyncClient, Client
from raymaas.errors import NotFound
from raymaas.monitor.looking import Tensors
from raymaas.monitor.reference import reference_of
from raymaas.registry.drifts import Drifts
from raymaas.serve.drift_log import Bins, DriftLog
from raymaas.serve.plan import Target
from raymaas.serve.standing import Standings
from raymaas.specs.versions import ModelVersion, Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="age", dtype="FP32", shape=(-1,)),
        TensorSpec(name="pay", dtype="FP32", shape=(-1,)),
    ),
    outputs=(TensorSpec(name="prediction", dtype="FP32", shape=(-1,)),),
)


@pytest.fixture(autouse=True)
def _home_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAYMAAS_HOME", str(tmp_path))


@pytest.fixture
def http(world: World, server: tuple[str, Switch]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server[0], trust_env=False) as client:
        yield client


def people(count: int, *, seed: int, older: float = 0.0) -> Tensors:
    draw = np.random.default_rng(seed)
    return {
        "input": {"age": draw.normal(40 + older, 10, count), "pay": draw.normal(3, 1, count)},
        "prediction": {"prediction": draw.normal(0, 1, count)},
    }


def published(world: World) -> ModelVersion:
    reference = reference_of(people(2000, seed=0), SIGNATURE, output="prediction")
    files = {"model.safetensors": b"weights", REFERENCE: reference.seal()}
    return world.versions.publish(draft("train-digits-7"), files)


def answered(world: World, version: ModelVersion, rows: Tensors, *, replica: str = "r4x") -> None:
    """What a replica leaves of `rows`."""
    bins = Bins.of_version(version, lambda name: world.versions.read_file(version, name))
    assert bins
    log = DriftLog(world.store, Target(version.model, version.version), replica=replica, bins=bins)
    count = len(rows["prediction"]["prediction"])
    for start in range(0, count, 100):
        piece = slice(start, start + 100)
        log.hear(
            {name: array[piece] for name, array in rows["input"].items()},
            {name: array[piece] for name, array in rows["prediction"].items()},
        )
        log.count()
    log.write()


def test_status_tells_of_each_deployed_version_how_far_its_rows_drifted(
    world: World, server: tuple[str, Switch]
) -> None:
    version = published(world)
    world.publish()
    for number in (1, 2):
        world.deploy(number)
    answered(world, version, people(700, seed=1, older=30))
    with Client(server[0]) as client:
        (model,) = client.status().models
    (drift,) = model.drift
    assert (drift.version, drift.verdict, drift.furthest, drift.rows) == (1, "drifted", "age", 700)
    assert (model.model, model.traffic, model.rollout) == ("digits", {1: 100, 2: 0}, None)
    assert "drifted in 700 rows; furthest age, PSI" in drift_line(drift)


def test_drift_is_counted_anew_when_there_may_be_new_counts(world: World) -> None:
    version = published(world)
    world.deploy(1)
    standings = Standings(world.versions, world.states, world.conductor.rollouts, Drifts(world.store))
    at = datetime.now(UTC)
    assert [drift_line(drift) for drift in standings.now(at)[0].drift] == ["1: no rows were counted"]
    answered(world, version, people(700, seed=1, older=30))
    assert standings.now(at + timedelta(seconds=19))[0].drift[0].rows == 0, "told again, without reading"
    assert standings.now(at + timedelta(seconds=20))[0].drift[0].rows == 700


def test_rows_of_all_replicas_are_judged_together(world: World, server: tuple[str, Switch]) -> None:
    version = published(world)
    answered(world, version, people(400, seed=1, older=8), replica="r1")
    answered(world, version, people(300, seed=2, older=8), replica="r2")
    with Client(server[0]) as client:
        report = client.models.drift("digits@1")
    assert (report.rows, report.reference_rows, report.verdict) == (700, 2000, "drifted")
    assert {feature.name: feature.verdict for feature in report.features} == {
        "age": "drifted",
        "pay": "steady",
        "prediction": "steady",
    }
    assert report.features[0].psi == report.psi

    async def asked() -> None:
        async with AsyncClient(server[0]) as client:
            again = await client.models.drift("digits@1", since=report.since)
            assert again.features == report.features

    asyncio.run(asked())


def test_rows_from_before_do_not_count(world: World, server: tuple[str, Switch]) -> None:
    version = published(world)
    answered(world, version, people(400, seed=1, older=8))
    with Client(server[0]) as client:
        report = client.models.drift("digits@1", since=datetime.now(UTC) + timedelta(minutes=1))
    assert (report.rows, report.verdict, report.psi) == (0, "unknown", 0)


def test_an_alias_is_followed_and_a_wrong_time_refused(world: World, http: httpx.Client) -> None:
    published(world)
    world.deploy(1)
    http.put("/api/v1/models/digits/aliases/prod", json={"version": 1})
    answer = http.get("/api/v1/models/digits/versions/prod/drift")
    assert (answer.status_code, answer.json()["version"], answer.json()["verdict"]) == (200, 1, "unknown")
    assert http.get("/api/v1/models/digits/versions/1/drift", params={"since": "soon"}).status_code == 400
    assert http.get("/api/v1/models/digits/versions/2/drift").status_code == 404


def test_a_version_without_a_reference_says_how_to_get_one(world: World, server: tuple[str, Switch]) -> None:
    world.publish()
    with (
        Client(server[0]) as client,
        pytest.raises(NotFound, match=r"digits@1 has no .*; train or compress again"),
    ):
        client.models.drift("digits@1")


def test_the_command_names_what_drifted_first(world: World, raymaas: Type) -> None:
    version = published(world)
    assert "no rows were counted" in raymaas("drift", "digits@1")[1]
    assert "no rows were counted, in the last day" in raymaas("models", "show", "digits@1")[1]
    answered(world, version, people(400, seed=1, older=8))
    status, out, _ = raymaas("drift", "digits@1", "--since", "1h", "--limit", "2")
    lines = out.splitlines()
    assert status == 0
    assert "digits@1: drifted in 400 rows; furthest is age, PSI" in lines[0]
    assert lines[2].startswith("age")
    assert lines[2].endswith("drifted")
    assert len(lines) == 4
    assert orjson.loads(raymaas("drift", "digits@1", "--json")[1])["verdict"] == "drifted"
    assert "drifted in 400 rows; furthest is age" in raymaas("models", "show", "digits@1")[1]


def test_few_rows_are_said_to_be_too_few(world: World, raymaas: Type) -> None:
    answered(world, published(world), people(20, seed=1, older=8))
    assert "20 rows are too few" in raymaas("drift", "digits@1")[1]


def test_showing_a_version_without_a_reference_says_nothing_of_drift(world: World, raymaas: Type) -> None:
    world.publish()
    assert "drift" not in raymaas("models", "show", "digits@1")[1]
