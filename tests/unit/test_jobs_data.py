"""Data on its way into a job: files of named sets are looked for as told, and rows keep their shape to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raymaas.bundle.runtimes.opening import open_runtime
from raymaas.data.dataset import prepare
from raymaas.data.sources.base import DataFiles
from raymaas.data.split import split
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.exchange.weights import read_weights
from raymaas.jobs.importing import import_weights
from raymaas.jobs.origin import rows_of_version
from raymaas.jobs.parts import JobParts
from raymaas.jobs.sweep import JobTrial, sweep
from raymaas.jobs.train import train
from raymaas.models import catalogue
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.importing import WeightsFile, WeightsImport
from raymaas.specs.jobs import Component, Split, TrainJob
from raymaas.specs.sweeping import SweepJob
from raymaas.specs.versions import ModelVersion
from raymaas.store import LocalStore

MNIST: dict[str, Any] = {"model": "m", "data": {"use": "mnist"}, "architecture": {"use": "logistic"}}
SWEEP = SweepJob.parse({"job": MNIST, "fields": {"split.seed": {"choice": [1, 2]}}}, source="sweep")


@pytest.fixture
def parts(tmp_path: Path) -> JobParts:
    """Where the first of MNIST's files is another one."""
    store = LocalStore(tmp_path / "store")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"another file")
    return JobParts(
        store=store,
        versions=Versions(store),
        runs=Runs(store),
        run_id="t",
        say=lambda sentence: None,
        on_trial=lambda trial: None,
        files=DataFiles(folder=tmp_path),
    )


@pytest.mark.parametrize(
    "carry_out",
    [
        lambda parts: train(TrainJob.parse(MNIST, source="job"), parts),
        lambda parts: sweep(SWEEP, parts),
        lambda parts: JobTrial(SWEEP, parts.store.url, parts.files)(
            {"split.seed": 1}, None, lambda report: None
        ),
    ],
    ids=["train", "sweep", "trial"],
)
def test_named_sets_are_looked_for_where_the_job_was_told(
    carry_out: Callable[[JobParts], Any], parts
) -> None:
    with pytest.raises(
        IntegrityError, match=r"train-images-idx3-ubyte\.gz is not the .* of data set 'mnist'"
    ):
        carry_out(parts)


def test_weights_are_imported_for_a_set_that_is_looked_for_where_told(parts, tmp_path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pth")
    weights = read_weights(tmp_path / "weights.pth")
    file = WeightsFile(name=weights.name, bytes=weights.bytes, sha256=weights.sha256)
    job = WeightsImport.parse(MNIST | {"weights": file}, source="job")
    with pytest.raises(IntegrityError, match="data set 'mnist'"):
        import_weights(
            job, weights, store=parts.store, versions=parts.versions, say=parts.say, files=parts.files
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"column 'age' has nothing in row 3; .* \{use: impute\}"),
        ({"transforms": [{"use": "impute"}]}, "column 'city' is text; add {use: one_hot}"),
        ({"transforms": [{"use": "hot"}]}, r"transforms\[0\] hot: transform 'hot' is unknown"),
        ({"split": {"group": "patient"}}, "has no column 'patient'; its columns are age, city"),
    ],
)
def test_columns_that_no_network_takes_end_a_training_before_any_worker_starts(
    parts: JobParts, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    lines = [
        f"{'' if row == 3 else row},{'Rome' if row % 3 else 'Oslo'},{'xy'[row % 2]}" for row in range(40)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["age,city,kind", *lines]))
    data = {"use": "csv", "config": {"path": str(tmp_path / "rows.csv"), "label": "kind"}}
    split = {"split": {"validation": 0.1, "test": 0.1, "seed": 3}}
    with pytest.raises(InvalidInput, match=message):
        train(TrainJob.parse(MNIST | {"data": data} | split | changes, source="job"), parts)


def test_bad_data_ends_a_training_before_any_worker_starts(parts: JobParts, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,kind\n1,x\ntwo,y\n")
    data = {"use": "csv", "config": {"path": str(tmp_path / "rows.csv"), "label": "kind"}}
    with pytest.raises(InvalidInput, match=r"column 'a' of .*rows\.csv has 'two' in row 1"):
        train(TrainJob.parse(MNIST | {"data": data}, source="job"), replace(parts, files=DataFiles()))


@pytest.fixture
def shaped(tmp_path: Path) -> Component:
    """60 rows of 4 x 3 bytes in three classes."""
    x = np.random.default_rng(0).integers(0, 256, (60, 4, 3)).astype(np.uint8)
    np.savez(tmp_path / "shaped.npz", x=x, y=np.array(["a", "b", "c"] * 20))
    return Component(use="npz", config={"path": str(tmp_path / "shaped.npz")})


def imported(parts: JobParts, data: Component, folder: Path) -> tuple[ModelVersion, torch.nn.Module]:
    """A version of fresh weights, and its network."""
    dataset = prepare(parts.store, data)
    facts = fit_transforms((), dataset.rows, dataset.card).facts(dataset.card)
    network = catalogue.build(catalogue.resolve(Component(use="mlp"), facts))
    torch.save(network.state_dict(), folder / "weights.pth")
    weights = read_weights(folder / "weights.pth")
    file = WeightsFile(name=weights.name, bytes=weights.bytes, sha256=weights.sha256)
    job = WeightsImport(model="m", weights=file, data=data, architecture=Component(use="mlp"))
    version = import_weights(job, weights, store=parts.store, versions=parts.versions, say=parts.say)
    return version, network.eval()


def test_a_version_of_shaped_rows_takes_them_in_every_runtime(parts, shaped, tmp_path) -> None:
    version, network = imported(parts, shaped, tmp_path)
    assert version.signature.inputs[0].shape == (-1, 4, 3)
    assert version.evaluation.rows == 12
    x = prepare(parts.store, shaped).rows.x_ND[:5]
    with torch.no_grad():
        expected = network(torch.tensor(x)).numpy()
    assert version.runtimes == ("onnx", "torch")
    for name in version.runtimes:
        runtime = open_runtime(version, partial(parts.versions.read_file, version), runtime=name)
        np.testing.assert_allclose(runtime.run({"x": x})["logits"], expected, rtol=1e-4, atol=1e-4)


def test_imported_weights_may_have_transforms_in_front_and_then_take_raw_columns(parts, tmp_path) -> None:
    lines = [f"{row % 9},{('Rome', 'Oslo')[row % 2]},{'xy'[row // 30]}" for row in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["age,city,kind", *lines]))
    data = Component(use="csv", config={"path": str(tmp_path / "rows.csv"), "label": "kind"})
    steps = (Component(use="standardize"), Component(use="one_hot"))
    dataset = prepare(parts.store, data)
    fitted = fit_transforms(steps, split(dataset, Split()).train, dataset.card)
    network = catalogue.build(catalogue.resolve(Component(use="mlp"), fitted.facts(dataset.card)))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    weights = read_weights(tmp_path / "weights.pth")
    file = WeightsFile(name=weights.name, bytes=weights.bytes, sha256=weights.sha256)
    job = WeightsImport(
        model="m", weights=file, data=data, architecture=Component(use="mlp"), transforms=steps
    )
    version = import_weights(job, weights, store=parts.store, versions=parts.versions, say=parts.say)
    assert [spec.name for spec in version.signature.inputs] == ["age", "city"]
    sent = {name: values[:7] for name, values in dataset.rows.columns.items()}
    with torch.no_grad():
        expected = network.eval()(torch.tensor(fitted.x_of(sent))).numpy()
    runtime = open_runtime(version, partial(parts.versions.read_file, version), runtime="torch")
    np.testing.assert_allclose(runtime.run(sent)["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
        rows_of_version(parts.store, version).test.x_ND, fitted.ready(split(dataset, Split())).test.x_ND
    )
