"""A network of one's own: its code travels by digest, it trains, and it is served without its code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from local_training import fit_here, trained
from sklearn.datasets import load_diabetes, load_digits

from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.bundle.runtimes.torch import load_network
from raymaas.client.code import code_of, pack
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.registry.code import keep_code, read_code
from raymaas.registry.versions import Versions
from raymaas.specs.jobs import TrainJob
from raymaas.store import LocalStore

NET = """
import torch
from tiny_nets.layers import scaled

class Net(torch.nn.Module):
    def __init__(self, in_features, classes=1, hidden=8):
        super().__init__()
        self.up = torch.nn.Linear(in_features, hidden)
        self.out = torch.nn.Linear(hidden, classes)

    def forward(self, x):
        return self.out(torch.relu(self.up(scaled(x))))

class Moody(Net):
    def forward(self, x):
        return super().forward(x if x.sum().item() > 0 else -x)

class Fixed(Net):
    def forward(self, x):
        return super().forward(x).reshape(len(x), 10)

class NotANetwork:
    pass
"""
JOB = {
    "model": "mine",
    "data": {"use": "digits"},
    "architecture": {"use": "tiny_nets.net:Net", "config": {"hidden": 16}},
    "training": {"epochs": 15, "learning_rate": 0.01},
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The folder with a package `tiny_nets` in it."""
    folder = tmp_path / "project"
    (folder / "tiny_nets").mkdir(parents=True)
    (folder / "tiny_nets" / "__init__.py").touch()
    (folder / "tiny_nets" / "layers.py").write_text("def scaled(x):\n    return x / 16\n")
    (folder / "tiny_nets" / "net.py").write_text(NET)
    (folder / "data.bin").write_bytes(b"not of the package")
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "store")
    fit_here(monkeypatch, store)
    path = list(sys.path)
    yield store
    sys.path[:] = path
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("tiny_nets")]:
        del sys.modules[name]


def submitted(store: LocalStore, package: Path, **fields: object) -> dict[str, object]:
    """The job as it is accepted: with the digest of its code."""
    job = JOB | fields
    packed = code_of(TrainJob.parse(dict(job), source="job"), folder=package)
    assert packed is not None
    return job | {"code": keep_code(store, packed)}


def test_it_trains_and_is_served_from_its_graph_without_its_code(store, package):
    version = trained(store, submitted(store, package))

    assert version.evaluation.metrics["accuracy"].value > 0.85
    assert version.runtimes == ("onnx",)
    assert version.architecture.config == {"hidden": 16, "in_features": 64, "classes": 10}
    assert version.lineage.job["code"] == submitted(store, package)["code"]
    sys.path[:] = [entry for entry in sys.path if "raymaas-code" not in entry]
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
