"""A network of one's own: its code travels by digest, it trains, and it is served without its code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_training import fit_here, trained
from own_network import JOB, NET, forget, submitted, write_package
from sklearn.datasets import load_diabetes, load_digits

from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.bundle.runtimes.torch import load_network
from raymaas.client.code import code_of, pack
from raymaas.data.dataset import prepare
from raymaas.data.sources.base import DataFiles
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.jobs.folds import FoldTraining
from raymaas.jobs.sweep import JobTrial
from raymaas.registry.code import read_code
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import TrainJob
from raymaas.specs.kinds import parse_job
from raymaas.specs.own_code import with_code
from raymaas.specs.sweeping import SweepJob
from raymaas.store import LocalStore
from raymaas.sweep.search import Report


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder with a package `tiny_nets` in it."""
    return write_package(tmp_path / "project")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "store")
    fit_here(monkeypatch, store)
    yield store
    forget()


def test_it_trains_and_is_served_from_its_graph_without_its_code(store, package):
    version = trained(store, submitted(store, package))

    assert version.evaluation.metrics["accuracy"].value > 0.85
    assert version.runtimes == ("onnx",)
    assert version.architecture.config == {"hidden": 16, "in_features": 64, "classes": 10}
    assert version.lineage.job["code"] == submitted(store, package)["code"]
    forget()
    versions = Versions(store)
    runtime = open_runtime(version, partial(versions.read_file, version))
    rows = load_digits().data[:200].astype(np.float32)
    answers = runtime.run({"x": rows})["probabilities"].argmax(axis=1)
    assert (answers == load_digits().target[:200]).mean() > 0.85
    assert not any(name.startswith("tiny_nets") for name in sys.modules)
    with pytest.raises(InvalidInput, match="imported for training only"):
        load_network(versions.read_files(version))


def test_numbers_as_labels_make_it_a_regressor(store, package):
    version = trained(store, submitted(store, package, data={"use": "diabetes"}))
    assert version.task == "regression"
    runtime = open_runtime(version, partial(Versions(store).read_file, version))
    rows = load_diabetes().data[:3].astype(np.float32)
    assert runtime.run({"x": rows})["prediction"].shape == (3,)


def test_each_fold_brings_the_code_to_where_it_is_trained(store, package):
    job = TrainJob.parse(submitted(store, package, training={"epochs": 2}), source="job")
    card = prepare(store, job.data).card
    figures = FoldTraining(job, 3, store.url, card.name, card.fingerprint)({"repeat": 1, "fold": 1})
    assert 0 <= figures["accuracy"] <= 1


def test_each_trial_of_a_sweep_brings_the_code_to_where_it_is_trained(store, package):
    values = {"architecture.config.hidden": {"choice": [2, 32]}}
    job = SweepJob(
        job=submitted(store, package, training={"epochs": 3, "learning_rate": 0.01}), fields=values
    )
    losses = []
    for hidden in (2, 32):
        told: list[Report] = []
        JobTrial(job, store.url, DataFiles())({"architecture.config.hidden": hidden}, None, told.append)
        losses.append(told[-1].metrics["validation_loss"])
        forget()
    assert losses[1] < losses[0]


@pytest.mark.parametrize("kind", ["train", "evaluate", "sweep"])
def test_every_kind_of_job_that_trains_takes_its_code_along(package, kind):
    job = parse_job(wrapped(kind, JOB), source="job")
    assert code_of(job, folder=package) == pack("tiny_nets.net:Net", package)
    sent = with_code(job, "0" * 64)
    assert sent == parse_job(wrapped(kind, JOB | {"code": "0" * 64}), source="job")
    assert code_of(sent, folder=package) is None, "it is there already"


@pytest.mark.parametrize("kind", ["train", "evaluate", "sweep"])
def test_a_job_without_code_of_ones_own_stays_as_it_is(package, kind):
    job = parse_job(wrapped(kind, JOB | {"architecture": {"use": "mlp"}}), source="job")
    assert code_of(job, folder=package) is None
    assert with_code(job, "0" * 64) == job


def wrapped(kind: str, job: dict[str, Any]) -> dict[str, Any]:
    """A job of that kind, which trains `job`."""
    match kind:
        case "evaluate":
            return {"kind": kind, "model": job["model"], "how": {"by": "folds", "job": job}}
        case "sweep":
            return {"kind": kind, "job": job, "fields": {"training.epochs": {"choice": [1, 2]}}}
    return job


def test_the_digest_is_that_of_the_content_alone(package, tmp_path):
    digest = pack("tiny_nets.net:Net", package)
    (package / "tiny_nets" / "__pycache__").mkdir()
    (package / "tiny_nets" / "__pycache__" / "net.pyc").write_bytes(b"compiled")
    (package / "tiny_nets" / "net.py").touch()
    assert pack("tiny_nets.net:Net", package) == digest
    (package / "tiny_nets" / "net.py").write_text(NET + "\n# another thought\n")
    assert pack("tiny_nets.net:Net", package) != digest


def test_code_that_was_changed_in_the_store_is_not_run(store, package):
    job = submitted(store, package)
    file = next((store.root if hasattr(store, "root") else package.parent / "store").rglob("*.zip"))
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="damaged"):
        read_code(store, str(job["code"]))


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ({"use": "tiny_nets.net:Missing"}, "no torch.nn.Module called 'Missing'"),
        ({"use": "tiny_nets.net:NotANetwork"}, "no torch.nn.Module called 'NotANetwork'"),
        ({"use": "tiny_nets.nets:Net"}, "cannot be imported"),
        ({"use": "tiny_nets.net:Net", "config": {"width": 3}}, "unexpected keyword argument 'width'"),
        ({"use": "tiny_nets.net:Moody"}, "cannot be served"),
        ({"use": "tiny_nets.net:Fixed"}, "takes 8 rows and no other number"),
    ],
)
def test_what_cannot_be_trained_or_served_is_said(store, package, architecture, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        trained(store, submitted(store, package, architecture=architecture, training={"epochs": 1}))


def test_a_package_that_is_not_beside_the_job_is_said_before_anything_is_sent(package, tmp_path):
    job = TrainJob.parse(dict(JOB), source="job")
    with pytest.raises(InvalidInput, match="neither tiny_nets/ nor tiny_nets"):
        code_of(job, folder=tmp_path)
    own = JOB | {"architecture": {"use": "mlp"}}
    assert code_of(TrainJob.parse(own, source="job"), folder=tmp_path) is None
