"""Evaluating and comparing, over HTTP: both clients, the command line, and what it prints."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from control_server import JOB, Switch, Type, World, draft

from raymaas.bundle.correctness import EVALUATION, write_outcomes
from raymaas.client import AsyncClient, Client
from raymaas.errors import InvalidInput, NotFound, RunFailed
from raymaas.specs.evaluating import Against, ByFolds, BySamples, EvaluateJob, OnData, Where
from raymaas.specs.evaluation import ClassFigures, Evaluation, Metric
from raymaas.specs.jobs import Component, Streaming
from raymaas.specs.reports import (
    Comparison,
    DisturbedFigures,
    FoldsFigures,
    SamplesFigures,
    SliceFigures,
    VersionFigures,
)

ROWS = 40
HIGH = Metric(value=0.975, low=0.95, high=0.99, method="wilson")
FIGURES = VersionFigures(
    version="digits@1",
    evaluation=Evaluation(
        dataset="digits",
        fingerprint="f",
        rows=360,
        runtime="onnx",
        metrics={"accuracy": HIGH},
        classes=(ClassFigures(label="seven", rows=9, precision=HIGH, recall=HIGH, f1=HIGH),),
        baselines={"the most frequent class": {"accuracy": 0.1}},
    ),
    notes=("mind this",),
    slices=(SliceFigures(slice="class = 7", rows=9, metrics={"accuracy": HIGH}, warning="only 9 rows"),),
    robustness=(
        DisturbedFigures(disturbance="shift, in pixels", severity=2, metric="accuracy", figure=HIGH),
    ),
)
COMPARED = Comparison(
    first="digits@1",
    second="digits@2",
    dataset="digits",
    part="test",
    rows=33,
    source="evaluated",
    differences={"accuracy": Metric(value=0.01, low=-0.02, high=0.04, method="tango")},
    verdict="they cannot be told apart",
)


def publish(world: World, *, wrong: int, fingerprint: str = "f", kept: bool = True) -> str:
    """The next version of digits, wrong on its first `wrong` of 40 rows."""
    number = world.versions.newest("digits").version + 1 if "digits" in world.versions.models() else 1
    said = draft(f"train-digits-{number}")
    evaluation = said.evaluation.model_copy(update={"rows": ROWS, "fingerprint": fingerprint})
    files = {"model.safetensors": b"weights"}
    if kept:
        row_N = np.arange(ROWS)
        files[EVALUATION] = write_outcomes(
            row_N, {"correct": row_N >= wrong, "log_loss": (row_N < wrong) + 0.1}
        )
    made = world.versions.publish(said.model_copy(update={"evaluation": evaluation}), files)
    return f"{made.model}@{made.version}"


def submitted(world: World) -> EvaluateJob:
    job = world.runs.spec(world.runs.list()[0].run_id).job
    assert isinstance(job, EvaluateJob)
    return job


def test_two_versions_of_the_same_rows_are_compared_without_a_run(
    world: World, server: tuple[str, Switch]
) -> None:
    first, second = publish(world, wrong=12), publish(world, wrong=2)
    with Client(server[0]) as client:
        found = client.models.compare(first, second)

    async def again() -> Comparison:
        async with AsyncClient(server[0]) as client:
            return await client.models.compare(first, second)

    assert asyncio.run(again()) == found
    assert world.runs.list() == []
    assert (found.source, found.rows) == ("recorded", ROWS)
    assert found.differences["accuracy"].value == pytest.approx(0.25)
    assert found.differences["log_loss"].value == pytest.approx(-0.25)
    assert found.mcnemar is not None
    assert (found.mcnemar.first_only, found.mcnemar.second_only) == (0, 10)
    assert found.verdict.startswith("digits@2 is better than digits@1: +25.0 points [")


@pytest.mark.parametrize("case", ["other rows", "nothing kept", "other data asked for"])
def test_other_rows_are_asked_about_in_a_run(world: World, server: tuple[str, Switch], case: str) -> None:
    first = publish(world, wrong=2)
    second = publish(
        world, wrong=1, fingerprint="g" if case == "other rows" else "f", kept=case != "nothing kept"
    )
    where = Where(data=Component(use="wine")) if case == "other data asked for" else Where()
    world.finds = COMPARED
    with Client(server[0]) as client:
        assert client.models.compare(first, second, where=where) == COMPARED
    assert submitted(world).how == Against(version=first, other=second, data=where.data)


def test_a_comparison_whose_run_fails_says_so(world: World, server: tuple[str, Switch]) -> None:
    world.outcome = "fails"
    with Client(server[0]) as client:
        with pytest.raises(RunFailed, match="no rows; see `raymaas runs logs evaluate-digits-"):
            client.models.compare(publish(world, wrong=2), publish(world, wrong=1, kept=False))
        with pytest.raises(InvalidInput, match="say which version of 'digits'"):
            client.models.compare("digits@1", "digits")
        with pytest.raises(NotFound, match="version 9 of 'digits' does not exist"):
            client.models.compare("digits@1", "digits@9")


def test_a_report_is_read_back_and_a_run_without_one_says_so(
    world: World, server: tuple[str, Switch]
) -> None:
    job = {"kind": "evaluate", "model": "digits", "how": {"by": "data", "version": "digits@1"}}
    world.finds = FIGURES
    with Client(server[0]) as client:
        run = client.evaluate(job)
        run.wait()
        assert run.evaluation().found == FIGURES
        world.finds, world.outcome = None, "never ends"
        with pytest.raises(NotFound, match="has no report; `raymaas runs show"):
            client.evaluate(job).evaluation()
        with pytest.raises(NotFound, match="run 'nothing' does not exist"):
            client.run("nothing").evaluation()

    async def again() -> None:
        async with AsyncClient(server[0]) as client:
            found = (await client.run(run.run_id).evaluation()).found
            assert found == FIGURES

    asyncio.run(again())


def test_the_command_evaluates_a_version_and_prints_every_figure(world: World, raymaas: Type) -> None:
    world.finds = FIGURES
    status, out, err = raymaas(
        *("evaluate", "digits@1", "--slice", "class", "--slice", "age > 3", "--robustness", "--part", "test"),
        *("--memory-mb", "64"),
    )
    assert status == 0
    assert submitted(world).how == OnData(
        version="digits@1",
        slices=("class", "age > 3"),
        robustness=True,
        part="test",
        streaming=Streaming(memory_mb=64),
    )
    assert "loading rows" in err
    lines = out.splitlines()
    assert lines[0] == "digits@1 on 360 test rows of digits, answered by onnx"
    assert "accuracy  0.9750  0.9500 to 0.9900  95% wilson" in out
    assert "the most frequent class: accuracy 0.1" in lines
    assert any(line.startswith("seven") and line.count("0.9750") == 3 for line in lines)
    assert any(line.startswith("class = 7") and line.endswith("only 9 rows") for line in lines)
    assert any(line.startswith("shift, in pixels") for line in lines)
    assert lines[-1] == "note: mind this"
    (run,) = world.runs.list()
    assert raymaas("runs", "show", run.run_id)[1].endswith(out)
    assert json.loads(raymaas("runs", "show", run.run_id, "--json")[1])["found"]["version"] == "digits@1"
    as_json = json.loads(raymaas("evaluate", "digits@1", "--json")[1])
    assert as_json["found"]["evaluation"]["metrics"]["accuracy"]["value"] == 0.975


def test_other_data_is_named_or_described(world: World, raymaas: Type) -> None:
    world.finds = FIGURES
    raymaas("evaluate", "digits@1", "--data", "wine")
    assert submitted(world).how == OnData(version="digits@1", data=Component(use="wine"))
    raymaas("evaluate", "digits@prod", "--data", '{"use": "csv", "config": {"path": "a.csv", "label": "y"}}')
    described = Component(use="csv", config={"path": "a.csv", "label": "y"})
    assert submitted(world).how == OnData(version="digits@prod", data=described)
    assert "--data: not JSON" in raymaas("evaluate", "digits@1", "--data", "{use: wine}")[2]


def test_the_command_cross_validates_a_training_job(world: World, raymaas: Type, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(JOB))
    world.finds = FoldsFigures(
        dataset="digits",
        fingerprint="f",
        rows=1437,
        folds=4,
        repeats=2,
        metrics={"accuracy": HIGH},
        deviations={"accuracy": 0.0123},
        notes=("optimistic",),
    )
    status, out, _ = raymaas("evaluate", str(tmp_path / "job.yaml"), "--folds", "4", "--repeats", "2")
    assert status == 0
    how = submitted(world).how
    assert isinstance(how, ByFolds)
    assert (how.folds, how.repeats, how.job.architecture.use) == (4, 2, "mlp")
    assert "4 folds of 1437 rows of digits, 2 times; the test rows took no part" in out
    assert "accuracy  0.9750  0.0123" in out
    assert "note: optimistic" in out


def test_the_command_has_samples_judged(world: World, raymaas: Type) -> None:
    world.finds = SamplesFigures(
        version="gan@1",
        judge="digits@2",
        samples=100,
        seed=3,
        found={"0": 40, "1": 60, "2": 0},
        classes_found=2,
        entropy=Metric(value=0.67, low=0.6, high=0.69, method="normal"),
        probability=HIGH,
    )
    status, out, _ = raymaas("evaluate", "gan@1", "--judge", "digits@2", "--samples", "100", "--seed", "3")
    assert status == 0
    assert submitted(world).how == BySamples(version="gan@1", judge="digits@2", samples=100, seed=3)
    assert "digits@2 finds 2 of 3 classes in 100 samples of gan@1" in out
    assert "entropy, nats  0.6700" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["digits@1", "--folds", "5"], "--folds does not go with digits@1, a version,"),
        (
            ["digits@1", "--judge", "a@1", "--robustness"],
            "--robustness does not go with --judge; it takes --judge",
        ),
        (["JOB"], "say --folds 5 to cross-validate it, or name a version such as digits@1"),
        (
            ["JOB", "--folds", "5", "--slice", "class"],
            "--slice does not go with --folds; it takes --folds, --repeats",
        ),
        (["JOB", "--folds", "5", "--memory-mb", "64"], "--memory-mb does not go with --folds"),
        (["digits@1", "--set", "a=1"], "--set overrides a field of a job file"),
        (["digits@1", "--part", "train"], "how.data.part"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_anything_runs(
    world: World, raymaas: Type, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "job.yaml").write_text(json.dumps(JOB))
    given = [str(tmp_path / "job.yaml") if part == "JOB" else part for part in arguments]
    status, _, err = raymaas("evaluate", *given)
    assert status == 1
    assert said in err
    assert world.runs.list() == []


def test_the_command_compares_versions(world: World, raymaas: Type) -> None:
    first, second = publish(world, wrong=12), publish(world, wrong=2)
    status, out, _ = raymaas("models", "compare", first, second)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].startswith("digits@2 is better than digits@1: +25.0 points [")
    assert lines[1] == "digits@2 minus digits@1 on 40 test rows of digits, as published"
    assert any(line.startswith("accuracy  +0.2500") for line in lines)
    assert lines[-1].startswith("McNemar: exact p 0.00195, mid-p 0.000977")
    assert json.loads(raymaas("models", "compare", first, second, "--json")[1])["rows"] == 40
    world.finds = COMPARED
    status, out, err = raymaas("models", "compare", first, second, "--data", "wine")
    assert status == 0
    assert "loading rows" in err
    assert "asked again" in out
