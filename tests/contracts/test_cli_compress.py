"""`raymaas compress`: a job file, or just the name of what to compress."""

from __future__ import annotations

from pathlib import Path

import pytest
from control_server import Type, World

from raymaas.specs.compression import CompressJob, default_recipe


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
    assert set(job.space()) == {"prune.sparsity", "prune.score", "quantize.bits"}


def test_the_options_change_what_a_job_file_says(world: World, raymaas: Type, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "kind: compress\nmodel: digits\nrecipe: [{use: quantize, config: {bits: 4}}]\nmax_loss: 2\n"
    )
    status, _, err = raymaas("compress", str(tmp_path / "job.yaml"), "--max-error-increase", "1", "--no-wait")

    assert status == 0, err
    job = submitted(world)
    assert job.max_loss == 1
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
