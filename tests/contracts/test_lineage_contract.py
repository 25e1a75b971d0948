"""Lineage through the whole front: HTTP, both clients, and what `raymaas models lineage` prints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from control_server import Switch, World, draft, utc_now

from raymaas.cli.main import main
from raymaas.client import AsyncClient, Client
from raymaas.client.connection import new_request_id
from raymaas.data.cards import card_key
from raymaas.errors import InvalidInput, NotFound
from raymaas.registry import moves
from raymaas.registry.deletion import delete_version
from raymaas.registry.versions import VersionDraft
from raymaas.serve.plan import Target
from raymaas.serve.request_log import RequestLog
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.jobs import Component, TrainJob
from raymaas.specs.lineage import DataTrace, VersionTrace
from raymaas.specs.runs import RunSpec, Succeeded
from raymaas.specs.search import Finished, Trial
from raymaas.specs.versions import CompressionLineage

DATA = "3f9a1c2d" + "0" * 56
Ask = Callable[..., Any]


@pytest.fixture
def world(server: tuple[str, Switch]) -> World:
    """digits@1 was trained, digits@2 compressed from it, promoted, and rolled back."""
    world = World()
    card = DatasetCard(
        name="digits", fingerprint=DATA, rows=1797, features=64, shape=(64,), classes=tuple("0123456789")
    )
    world.store.create(card_key("digits", DATA), card.seal())
    job = TrainJob(model="digits", data=Component(use="digits"), architecture=Component(use="mlp"))
    for run_id, version in (("train-digits-1", 1), ("compress-digits-2", 2)):
        world.runs.create(RunSpec(run_id=run_id, job=job, who="ana", created_at=utc_now()))
        world.runs.set_status(run_id, Succeeded(at=utc_now(), version=version, seconds=31.5))
    world.runs.add_trial(
        Trial(
            run_id="compress-digits-2",
            trial="t-5f2e",
            point={"prune.sparsity": 0.9},
            outcome=Finished(metrics={"bytes": 8670.0, "validation_accuracy": 0.981}, reports=1, seconds=4),
        )
    )
    for each in (trained("train-digits-1"), compressed("compress-digits-2", parent=1)):
        world.versions.publish(each, {"model.safetensors": b"weights"})
    world.deploy(1)
    world.deploy(2)
    world.states.move("digits", partial(moves.promote, version=2), who="bob", why="smaller")
    back = partial(moves.rollback, past=world.states.past("digits"))
    world.states.move("digits", back, who="ana", why="slower")
    server[1].app = world.app()
    return world


def trained(run_id: str, *, model: str = "digits") -> VersionDraft:
    base = draft(run_id, model=model)
    lineage = base.lineage.model_copy(update={"data_fingerprint": DATA, "libraries": {"torch": "2.13.0"}})
    return base.model_copy(update={"lineage": lineage})


def compressed(run_id: str, *, parent: int) -> VersionDraft:
    base = trained(run_id)
    evaluation: Evaluation = base.evaluation
    compression = CompressionLineage(
        recipe=(
            Component(use="prune", config={"sparsity": 0.9}),
            Component(use="quantize", config={"bits": 4}),
        ),
        trial="t-5f2e",
        original=1,
        original_bytes=7,
        parent_evaluation=evaluation,
    )
    lineage = base.lineage.model_copy(update={"parent": parent, "compression": compression})
    return base.model_copy(update={"lineage": lineage})


def answer(world: World, request_id: str, *, version: int = 2) -> None:
    """As a replica of the version leaves it."""
    log = RequestLog(world.store, Target("digits", version), replica="r4x9")
    log(status=200, seconds=0.0021, request_id=request_id, rows=3)
    log.write()


@pytest.fixture(params=["sync", "async"])
def models(request: pytest.FixtureRequest, server: tuple[str, Switch]) -> Ask:
    """Calls a method of `client.models` of either kind."""

    async def awaited(method: str, *args: Any, **options: Any) -> Any:
        async with AsyncClient(server[0]) as client:
            return await getattr(client.models, method)(*args, **options)

    def ask(method: str, *args: Any, **options: Any) -> Any:
        if request.param == "async":
            return asyncio.run(awaited(method, *args, **options))
        with Client(server[0]) as client:
            return getattr(client.models, method)(*args, **options)

    return ask


@pytest.fixture
def raymaas(server: tuple[str, Switch], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Types `raymaas models lineage ...`; gives its output, or its remarks when it failed."""

    def type_(*arguments: str) -> str:
        with pytest.raises(SystemExit) as raised:
            main(["--url", server[0], "models", "lineage", *arguments])
        shown = capsys.readouterr()
        return shown.err if raised.value.code else shown.out

    return type_


def test_a_version_is_traced_from_its_data_to_its_answer(world: World, models: Ask) -> None:
    request_id = new_request_id()
    answer(world, request_id)

    trace: VersionTrace = models("lineage", "digits@2", request_id=request_id)

    trained, compressed = trace.line
    assert trained.data.card is not None
    assert trained.data.card.rows == 1797
    assert (trained.manifest.version, compressed.manifest.version) == (1, 2)
    assert trained.run is not None
    assert trained.run.who == "ana"
    assert compressed.trial is not None
    assert compressed.trial.metrics["bytes"] == 8670
    told = [(s.weight, s.aliases, s.since.who, s.until.who if s.until else None) for s in trace.standings]
    assert told == [(0, (), "ana", "bob"), (100, ("prod",), "bob", "ana"), (0, (), "ana", None)]
    assert trace.request is not None
    assert (trace.request.status, trace.request.rows, trace.request.replica) == (200, 3, "r4x9")
    assert [child.version for child in models("lineage", "digits@1").children] == [2]


def test_an_alias_and_a_deleted_version_have_a_lineage_and_a_bare_model_has_none(
    world: World, models: Ask
) -> None:
    world.versions.publish(trained("train-digits-3"), {"model.safetensors": b"weights"})
    delete_version(world.states, world.versions.tombstones, "digits", 3, who="ana")
    world.states.move("digits", partial(moves.set_alias, alias="prod", version=1), who="ana")
    assert models("lineage", "digits@prod").line[-1].manifest.version == 1
    assert models("lineage", "digits@3").line[-1].deletion is not None
    with pytest.raises(InvalidInput, match="say which version of 'digits'"):
        models("lineage", "digits")
    with pytest.raises(NotFound, match="version 7 of 'digits' does not exist; latest is 2"):
        models("lineage", "digits@7")


def test_an_unknown_request_is_not_found_and_says_how_long_they_are_kept(world: World, models: Ask) -> None:
    answer(world, "order-7", version=1)
    with pytest.raises(
        NotFound, match=r"no request .order-7. is recorded of digits@2; .* keep_requests_days"
    ):
        models("lineage", "digits@2", request_id="order-7")
    assert models("lineage", "digits@1", request_id="order-7").request.request_id == "order-7"
    early = utc_now() - timedelta(days=2)
    with pytest.raises(NotFound, match="order-7"):
        models("lineage", "digits@1", request_id="order-7", before=early)


def test_what_came_from_a_data_set_is_paged(world: World, models: Ask) -> None:
    world.versions.publish(trained("train-churn-1", model="churn"), {"model.safetensors": b"weights"})
    whole: DataTrace = models("from_data", DATA)
    assert [(made.model, made.version) for made in whole.versions] == [
        ("churn", 1),
        ("digits", 2),
        ("digits", 1),
    ]
    first = models("from_data", DATA[:8], limit=2)
    rest = models("from_data", DATA[:8], limit=2, after=first.next_after)
    assert first.versions + rest.versions == whole.versions
    with pytest.raises(NotFound, match="no version was made from data 'ffffffff'"):
        models("from_data", "ffffffff")
    with pytest.raises(InvalidInput, match="is not a fingerprint"):
        models("from_data", "3F9A1C2D")


def test_a_moment_without_a_zone_is_refused(world: World, server: tuple[str, Switch]) -> None:
    path = "/api/v1/models/digits/versions/2/lineage?request_id=x&before=2026-03-01T10:00:00"
    answered = httpx.get(server[0] + path, trust_env=False)
    assert answered.status_code == 400
    assert "before" in answered.json()["detail"]


def test_the_tree_of_a_version_reads_from_the_data_down(world: World, raymaas: Callable[..., str]) -> None:
    answer(world, "order-7")
    tree = raymaas("digits@2", "--request-id", "order-7")
    lines = tree.splitlines()
    assert all(line == line.rstrip() for line in lines), "a pipe gets no padding"
    steps = [
        "data digits  3f9a1c2d0000  1797 rows of 64 values, 10 classes",
        "run train-digits-1  train by ana, ",
        "job 000000000000  seed 0  code raymaas 0.1.0",
        "digits@1  ",
        "run compress-digits-2  ",
        "recipe prune sparsity=0.9 -> quantize bits=4",
        "trial t-5f2e  bytes 8670, validation_accuracy 0.981",
        "digits@2  ",
        "wanted",
        "weight 0 %  deploy by ana",
        "weight 100 %, prod  promote by bob: smaller",
        "to now  weight 0 %  rollback by ana: slower",
        "request order-7  ",
    ]
    places = [next((n for n, line in enumerate(lines) if step in line), None) for step in steps]
    assert None not in places, tree
    assert places == sorted(places), tree  # type: ignore[type-var]
    indents = [len(lines[n]) - len(lines[n].lstrip(" │├└─")) for n in (places[0], places[3], places[7])]  # type: ignore[index]
    assert indents == sorted(set(indents)), tree


def test_the_tree_says_who_ended_a_deployment_unless_the_next_line_does(
    world: World, raymaas: Callable[..., str]
) -> None:
    undeploy = partial(moves.undeploy, version=2)
    world.states.move("digits", undeploy, who="eve", why="no longer needed")
    lines = [line for line in raymaas("digits@2").splitlines() if " weight " in line]
    assert "ended" not in lines[0] + lines[1]
    assert lines[2].endswith("rollback by ana: slower; ended: undeploy by eve: no longer needed")


def test_the_tree_of_a_data_set_hangs_children_below_their_parents(
    world: World, raymaas: Callable[..., str]
) -> None:
    world.versions.publish(compressed("compress-digits-3", parent=2), {"model.safetensors": b"weights"})
    lines = raymaas("--data", DATA[:8]).splitlines()
    depth = {
        name: len(line.partition(name)[0])
        for line in lines
        for name in ("digits@1", "digits@2", "digits@3")
        if name in line
    }
    assert depth["digits@1"] < depth["digits@2"] < depth["digits@3"]
    page = raymaas("--data", DATA, "--limit", "1")
    assert "digits@3" in page
    assert "from digits@2" in page


def test_json_is_the_words_of_the_api(world: World, raymaas: Callable[..., str]) -> None:
    assert json.loads(raymaas("digits@2", "--json"))["line"][1]["manifest"]["version"] == 2
    assert json.loads(raymaas("--data", DATA, "--json"))["fingerprint"] == DATA


def test_what_to_trace_must_be_said_once(world: World, raymaas: Callable[..., str]) -> None:
    assert "say which version" in raymaas()
    assert "say which version" in raymaas("digits@2", "--data", DATA)
    assert "a request is one version's" in raymaas("--data", DATA, "--request-id", "order-7")
