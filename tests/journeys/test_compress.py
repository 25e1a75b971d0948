"""A sweep that is killed goes on, and its version is served as it was evaluated."""

from __future__ import annotations

import os
import signal
from functools import partial

import httpx
import numpy as np
import pytest
from journey_home import Home, commands, everything_of, wait_until

from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.exchange.identity import identity
from raymaas.specs.runs import Succeeded
from raymaas.specs.serving import Scaling
from raymaas.wiring import open_registry

pytestmark = [pytest.mark.journey]


def driver_of(home: Home, run_id: str) -> int:
    running = commands(everything_of(home.plan(), home.table()))
    return next((pid for pid, command in running.items() if command.endswith(f"run --run {run_id}")), 0)


@pytest.mark.soak  # tests/cluster/test_sweep.py kills one for every change
def test_a_sweep_whose_driver_is_killed_goes_on_and_keeps_its_trials(
    home: Home, digits: str, rows: np.ndarray
) -> None:
    with home.client() as client:
        handle = client.compress("jobs/compress_digits.yaml")
        wait_until(lambda: len(handle.trials()) >= 1, timeout_s=120, what="the first trial is finished")
        before = {trial.trial for trial in handle.trials()}
        os.kill(driver_of(home, handle.run_id), signal.SIGKILL)

        done = handle.wait(timeout_s=170)

        assert isinstance(done, Succeeded)
        assert before <= {trial.trial for trial in handle.trials()}
        assert {file.name for file in handle.files()} >= {"front.csv", "front.png", "front.html"}
        assert handle.file("front.html").startswith(b"<!doctype html>")

    registry = open_registry(home.plan().storage)
    manifest = registry.versions.get("digits", done.version or 0)
    assert manifest.lineage.parent == 1
    parent = registry.versions.get("digits", 1)
    assert manifest.lineage.parent_digest == identity(registry.versions, parent)
    compression = manifest.lineage.compression
    assert compression is not None
    assert compression.selection is not None
    assert compression.selection.chosen_at < compression.selection.tested_at
    assert manifest.weights_bytes * 8 <= parent.weights_bytes


@pytest.mark.soak  # the quickstart serves what was chosen; a version for each rule has tests/unit/test_jobs_compress.py
def test_every_rule_becomes_a_version_and_each_is_served_as_it_was_evaluated(
    home: Home, digits: str, rows: np.ndarray
) -> None:
    recipe = [{"use": "quantize", "config": {"bits": {"choice": [3, 6]}, "epochs": 2}}]
    job = {"kind": "compress", "model": "digits", "parent": "digits@1", "recipe": recipe, "max_loss": 20}
    registry = open_registry(home.plan().storage)
    with home.client() as client:
        done = client.compress(job | {"choose": ["smallest", "fastest", "knee"]}).wait(timeout_s=280)
        assert isinstance(done, Succeeded)
        assert len(done.versions) == len(set(done.versions)) <= 2
        for number in done.versions:
            manifest = registry.versions.get("digits", number)
            runtime = manifest.runtimes[0]
            assert manifest.evaluation.runtime == runtime
            reference = f"digits@{number}"
            client.deploy(reference, scaling=Scaling(runtime=runtime), timeout_s=120)
            served = client.model(reference).predict(rows[:50]).outputs["probabilities"]
            url = f"{client.url}/v2/models/digits/versions/{number}"
            platform = httpx.get(url, trust_env=False, timeout=30).json()["platform"]
            client.undeploy(reference)

            assert platform == f"raymaas_{runtime}"
            opened = open_runtime(manifest, partial(registry.versions.read_file, manifest), runtime=runtime)
            np.testing.assert_array_equal(
                served.astype(np.float32), opened.run({"x": rows[:50]})["probabilities"]
            )


def test_a_scheduler_with_several_metrics_is_refused(home: Home) -> None:
    refused = home.cli(
        "sweep", "jobs/train_digits.yaml", "--search", "training.learning_rate=loguniform:1e-4,1e-2",
        "--metric", "validation_loss", "--metric", "seconds", "--scheduler", "asha",
        check=False,
    )  # fmt: skip

    assert refused.returncode == 1
    assert "one" in refused.stderr
