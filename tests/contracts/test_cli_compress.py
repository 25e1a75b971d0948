"""`raymaas compress`: a job file, or just the name of what to compress."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from control_server import Type, World, utc_now

from raymaas.cli.runs import next_step
from raymaas.cli.show import state_detail
from raymaas.specs.compression import CompressJob, default_recipe
from raymaas.specs.runs import Run, Succeeded
from raymaas.specs.runs import Stopped as StoppedRun
from raymaas.specs.search import Finished, Stopped, Trial


def submitted(world: World) -> CompressJob:
    run = world.runs.list()[0]
    job = world.runs.spec(run.run_id).job
    assert isinstance(job, CompressJob)
    return job


@pytest.fixture
def trained(world: World, raymaas: Type, tmp_path: Path) -> None:
    """digits@1 is there."""
    job = tmp_path / "train.yaml"
    job.write_text("model: digits\ndata: {use: digits}\narchitecture: {use: mlp}\ntraining: {epochs: 2}\n")
    assert raymaas("train", str(job))[0] == 0


@pytest.mark.usefixtures("trained")
def test_the_name_of_a_version_is_enough(world: World, raymaas: Type) -> None:
    status, _, err = raymaas(
        "compress", "digits@1", "--max-error-increase", "0.2", "--trials", "3", "--no-wait"
    )

    assert status == 0, err
    job = submitted(world)
    assert (job.model, job.parent, job.max_loss, job.search.trials) == ("digits", "digits@1", 0.2, 3)
    assert job.recipe == default_recipe()
    assert set(job.space()) == {"prune.sparsity", "prune.score", "quantize.bits", "quantize.scales"}


@pytest.mark.usefixtures("trained")
def test_the_options_change_what_a_job_file_says(world: World, raymaas: Type, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "kind: compress\nmodel: digits\nrecipe: [{use: quantize, config: {bits: 4}}]\nmax_loss: 2\n"
    )
    status, _, err = raymaas("compress", str(tmp_path / "job.yaml"), "--max-error-increase", "1", "--no-wait")

    assert status == 0, err
    job = submitted(world)
    assert (job.parent, job.max_loss) == ("digits@1", 1)
    assert [step.use for step in job.recipe] == ["quantize"]


@pytest.mark.usefixtures("trained")
def test_a_metric_that_the_parent_has_not_is_told_before_anything_is_submitted(
    world: World, raymaas: Type
) -> None:
    status, _, err = raymaas("compress", "digits@1", "--set", "metric=elbo")

    assert status != 0
    assert "metric 'elbo' is none of digits's: accuracy" in err
    assert [run.kind for run in world.runs.list()] == ["train"]


def test_a_name_that_is_none_and_no_file_is_told(world: World, raymaas: Type) -> None:
    status, _, err = raymaas("compress", "jobs/nothing.yaml")

    assert status != 0
    assert "jobs/nothing.yaml" in err
    assert world.runs.list() == []


@pytest.mark.usefixtures("trained")
def test_each_limit_and_rule_has_an_option(world: World, raymaas: Type) -> None:
    status, _, err = raymaas(
        "compress", "digits@1", "--max-bytes", "9000", "--max-latency-ms", "0.5", "--minutes", "2.5",
        "--choose", "smallest,knee", "--choose", "fastest", "--no-wait",
    )  # fmt: skip

    assert status == 0, err
    job = submitted(world)
    assert (job.max_bytes, job.max_latency_ms, job.search.minutes) == (9000, 0.5, 2.5)
    assert job.choose == ("smallest", "knee", "fastest")


@pytest.mark.usefixtures("trained")
def test_a_rule_that_is_none_is_told_with_those_there_are(world: World, raymaas: Type) -> None:
    status, _, err = raymaas("compress", "digits@1", "--choose", "least", "--no-wait")

    assert status != 0
    assert "'smallest', 'fastest' or 'knee'" in err
    assert [run.kind for run in world.runs.list()] == ["train"]


@pytest.fixture
def compressed(world: World, trained: None, raymaas: Type) -> str:
    """The id of a compression that published two versions and left a front."""
    assert raymaas("compress", "digits@1", "--no-wait")[0] == 0
    run_id = world.runs.list()[0].run_id
    outcome = Finished(metrics={"bytes": 5720.0}, reports=1, seconds=1.0)
    world.runs.add_trial(Trial(run_id=run_id, trial="t-1", point={"quantize.bits": 4}, outcome=outcome))
    early = Stopped(reason="it lost 70 points", metrics={}, reports=1, seconds=1.0)
    world.runs.add_trial(Trial(run_id=run_id, trial="t-2", point={"quantize.bits": 2}, outcome=early))
    front = world.runs.artifacts(run_id).front
    front.settle("front.csv", b"trial,front\nt-1,1\n")
    front.settle("front.html", b"<!doctype html>")
    return run_id


def test_the_front_of_a_run_is_printed_or_brought_and_show_says_so(
    raymaas: Type, compressed: str, tmp_path: Path
) -> None:
    assert raymaas("runs", "front", compressed)[1] == "trial,front\nt-1,1\n"

    status, out, _ = raymaas("runs", "front", compressed, "--to", str(tmp_path / "front"))

    assert status == 0
    assert (tmp_path / "front" / "front.html").read_bytes() == b"<!doctype html>"
    assert "front.csv" in out
    assert f"`raymaas runs front {compressed} --to FOLDER` draws" in raymaas("runs", "show", compressed)[1]


def test_the_trials_of_a_run_are_shown(raymaas: Type, compressed: str) -> None:
    shown = raymaas("runs", "show", compressed)[1]

    assert re.search(r"t-1 +4 +5720 +1\.0", shown)
    assert re.search(r"t-2 +2 +stopped", shown)
    assert len(json.loads(raymaas("runs", "show", compressed, "--json")[1])["trials"]) == 2


@pytest.mark.usefixtures("trained")
def test_a_run_without_a_front_says_when_there_is_one(world: World, raymaas: Type) -> None:
    run_id = world.runs.list()[0].run_id

    status, _, err = raymaas("runs", "front", run_id)

    assert status != 0
    assert "once its first recipe has ended" in err


def test_every_version_of_a_run_is_named(world: World) -> None:
    ended = Succeeded(at=utc_now(), version=2, also=(3, 4), seconds=1.0)
    run = Run(
        run_id="compress-digits-1",
        model="digits",
        kind="compress",
        who="me",
        created_at=utc_now(),
        status=ended,
    )

    assert ended.versions == (2, 3, 4)
    assert state_detail(ended) == "versions 2, 3 and 4 in 1.0 s"
    assert "`raymaas deploy digits@2` serves it, and digits@3, digits@4 likewise" in next_step(run)
    stopped = run.model_copy(update={"status": StoppedRun(at=utc_now(), who="me")})
    assert "`raymaas runs front compress-digits-1 --to FOLDER` draws" in next_step(
        stopped, left=["front.csv"]
    )
