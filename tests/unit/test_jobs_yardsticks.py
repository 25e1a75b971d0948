"""A metric of the user's own decides what a recipe may cost: it travels with its code and is asked of every recipe."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_training import fit_here, trained
from own_network import forget

from raymaas.client.code import code_of
from raymaas.errors import InvalidInput, RunFailed
from raymaas.jobs import compress as compressing
from raymaas.jobs.compress import compress
from raymaas.jobs.judging import Subject
from raymaas.jobs.origin import rows_of_version
from raymaas.jobs.parts import JobParts
from raymaas.jobs.recipes import RecipeTrial
from raymaas.registry.blobs import Blobs
from raymaas.registry.code import keep_code
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob
from raymaas.specs.kinds import parse_job
from raymaas.specs.names import new_run_id
from raymaas.specs.own_code import own_code, with_code
from raymaas.specs.runs import RunSpec
from raymaas.specs.search import Finished, Trial, every_point, trial_name
from raymaas.store import LocalStore
from raymaas.sweep.search import Report

METRICS = '''
import numpy as np

def within_two(predict, data):
    """The share of rows whose label is one of the two likeliest."""
    likely = predict(data.inputs)["probabilities"].argsort(axis=1)[:, -2:]
    assert data.classes[9] == "9"
    return (likely == data.targets[:, None]).any(axis=1).mean()

def beyond_two(predict, data):
    return 1 - within_two(predict, data)

def broken(predict, data):
    raise KeyError("nine")

def nothing(predict, data):
    return float("nan")

LIMIT = 3
'''
TRAIN = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": {"use": "mlp", "config": {"hidden": [16], "input_scale": 0.0625}},
    "training": {"epochs": 5, "learning_rate": 0.01},
}


@pytest.fixture(scope="module")
def with_parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with digits@1 in it."""
    folder = tmp_path_factory.mktemp("parent")
    with pytest.MonkeyPatch.context() as patch:
        store = LocalStore(folder)
        fit_here(patch, store)
        trained(store, TRAIN)
    return folder


@pytest.fixture
def store(with_parent: Path, tmp_path: Path) -> Iterator[LocalStore]:
    """digits@1 is in it."""
    shutil.copytree(with_parent, tmp_path / "store")
    yield LocalStore(tmp_path / "store")
    forget()


def job_of(store: LocalStore, folder: Path, **fields: Any) -> CompressJob:
    """As it is accepted: with the digest of the code that lies in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "my_metrics.py").write_text(METRICS)
    job = CompressJob.parse(
        {
            "model": "digits",
            "recipe": [{"use": "prune", "config": {"sparsity": {"choice": [0.1, 0.97]}, "epochs": 0}}],
            **fields,
        },
        source="job",
    )
    packed = code_of(job, folder=folder)
    assert packed is not None
    accepted = with_code(job, keep_code(store, packed))
    assert isinstance(accepted, CompressJob)
    return accepted


def carried_out(job: CompressJob, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The run in this process, its trials as well, one after the other."""

    def search(function: RecipeTrial, *_: Any, shared: Any, **given: Any) -> tuple[Trial, ...]:
        ended = []
        for point in every_point(job.space(), at_most=9) or []:
            told: list[Report] = []
            function(point, shared, told.append)
            files = {name: Blobs(store).put(data, name=name) for name, data in told[-1].files.items()}
            outcome = Finished(metrics=told[-1].metrics, files=files, reports=1, seconds=1.0)
            ended.append(
                Trial(run_id=given["run_id"], trial=trial_name(point), point=dict(point), outcome=outcome)
            )
        return tuple(ended)

    monkeypatch.setattr(compressing, "search", search)
    monkeypatch.setattr(compressing, "with_shelf", lambda ground: ground)
    return compress(job, parts_of(job, store))


def parts_of(job: CompressJob, store: LocalStore) -> JobParts:
    runs, run_id = Runs(store), new_run_id("compress", "digits")
    runs.create(RunSpec(run_id=run_id, job=job, who="test", created_at=store.now()))
    return JobParts(store, Versions(store), runs, run_id, say=lambda line: None, on_trial=lambda trial: None)


@pytest.mark.parametrize(("name", "fields"), [("within_two", {}), ("beyond_two", {"less_is_better": True})])
def test_it_is_the_gate_of_every_recipe_in_every_runtime(store, tmp_path, monkeypatch, name, fields):
    use = f"my_metrics:{name}"
    job = job_of(store, tmp_path / "own", metric=use, max_loss=0.1, **fields)
    (version,) = carried_out(job, store, monkeypatch)

    compression = version.lineage.compression
    selection, versions = compression.selection, Versions(store)
    validation = rows_of_version(store, versions.get("digits", 1)).validation
    opened = Subject.of_version(versions, versions.get("digits", 1))
    likely = opened.runtime.run({"x": validation.x_ND})["probabilities"].argsort(axis=1)[:, -2:]
    found = float(np.mean([label in pair for label, pair in zip(validation.y_N, likely, strict=True)]))
    assert selection.metric == use
    assert selection.parent_value == pytest.approx(1 - found if fields else found)
    assert compression.recipe[0].config["sparsity"] == 0.1, "with 0.97 there is not enough left"
    served = [finding for finding in compression.accounting.runtimes if finding.passed]
    assert served
    assert all(abs(finding.value - selection.parent_value) <= 0.1 for finding in served)


def test_what_no_recipe_keeps_to_is_refused_by_its_name(store, tmp_path, monkeypatch):
    job = job_of(
        store,
        tmp_path / "own",
        metric="my_metrics:within_two",
        max_loss=0,
        recipe=[{"use": "prune", "config": {"sparsity": 0.99, "epochs": 0}}],
    )
    with pytest.raises(
        RunFailed, match=r"no recipe keeps validation my_metrics:within_two within 0 of 0\.\d+"
    ):
        carried_out(job, store, monkeypatch)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("my_metrics:broken", "metric 'my_metrics:broken' raised KeyError: 'nine'"),
        ("my_metrics:nothing", "gave nan, which cannot be compared"),
        ("my_metrics:nobody", "my_metrics has no function called 'nobody'"),
        ("my_metrics:LIMIT", "my_metrics has no function called 'LIMIT'"),
    ],
)
def test_one_that_cannot_be_asked_is_told_before_any_trial(store, tmp_path, monkeypatch, metric, said):
    job = job_of(store, tmp_path / "own", metric=metric)
    monkeypatch.setattr(compressing, "search", lambda *_, **__: pytest.fail("a trial began"))
    with pytest.raises(InvalidInput, match=said):
        compress(job, parts_of(job, store))


def test_it_must_come_with_its_code(store, tmp_path):
    job = CompressJob.parse({"model": "digits", "metric": "my_metrics:within_two"}, source="job")
    assert own_code(job) == "my_metrics:within_two"
    with pytest.raises(
        InvalidInput, match=r"'my_metrics:within_two': neither my_metrics/ nor my_metrics.py is in"
    ):
        code_of(job, folder=tmp_path)
    with pytest.raises(InvalidInput, match="came without its code; submit the job by the CLI or the Python"):
        compress(job, parts_of(job, store))


def test_a_direction_is_refused_for_a_metric_whose_direction_is_known():
    with pytest.raises(InvalidInput, match="less_is_better is for a metric of your own"):
        parse_job(
            {"kind": "compress", "model": "m", "metric": "accuracy", "less_is_better": True}, source="job"
        )


def test_rows_are_asked_in_batches_and_come_back_in_order(store, tmp_path):
    from raymaas.evaluate.answers import in_batches

    asked = []

    def run(inputs):
        asked.append(len(inputs["x"]))
        return {"twice": inputs["x"] * 2}

    x_N = np.arange(600.0)
    np.testing.assert_array_equal(in_batches(run, {"x": x_N})["twice"], 2 * x_N)
    assert max(asked) <= 256
