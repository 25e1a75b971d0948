"""Raw columns to the end: a version trained behind transforms is asked by column name, with null and unknown words."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from raymaas.bundle.files import CODED
from raymaas.bundle.format import BuiltBundle, build
from raymaas.bundle.probes import read_probes, write_probes
from raymaas.bundle.runtimes.base import Runtime, check_probes
from raymaas.bundle.runtimes.opening import load_runtime, open_runtime
from raymaas.bundle.transforming import TRANSFORMS, put_in_front, transformed_signature
from raymaas.client.predictions import infer_request, read_prediction
from raymaas.client.wire import Answer
from raymaas.data.dataset import Dataset, prepare
from raymaas.data.sources.base import DataFiles
from raymaas.data.split import Parts, split
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.jobs.ground import ground_of
from raymaas.jobs.judging import judged
from raymaas.jobs.origin import rows_of_version
from raymaas.jobs.parts import JobParts
from raymaas.jobs.recipes import RecipeTrial, coded_bundle
from raymaas.jobs.sweep import JobTrial
from raymaas.models import own
from raymaas.models.base import signature_of
from raymaas.registry.runs import Runs
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.serve.app import InferenceApp, Served
from raymaas.serve.oip.request import Head
from raymaas.specs.compression import CompressJob
from raymaas.specs.jobs import Component, Split, Training, TrainJob
from raymaas.specs.kinds import job_fields
from raymaas.specs.names import Reference
from raymaas.specs.sweeping import SweepJob
from raymaas.specs.tensors import LENGTH_HEADER
from raymaas.specs.versions import CodeVersion, Lineage, ModelVersion, Signature
from raymaas.store import LocalStore
from raymaas.sweep.search import Report
from raymaas.train.loop import fit
from raymaas.train.world import World


def people(path: Path) -> Path:
    """300 rows that buy or not by age and city; a tenth of the ages and cities are missing."""
    draw = np.random.default_rng(0)
    age, city = draw.normal(40, 12, 300).round(1), draw.choice(["Rome", "Oslo", "Bern"], 300)
    score = (age - 40) / 12 + 1.5 * (city == "Rome") - (city == "Oslo") + draw.normal(0, 0.7, 300)
    lines = [
        f"{'' if draw.random() < 0.1 else a},{'' if draw.random() < 0.1 else c},{'yes' if s > 0 else 'no'}"
        for a, c, s in zip(age, city, score, strict=True)
    ]
    path.write_text("\n".join(["age,city,buys", *lines]))
    return path


@dataclass(frozen=True)
class Trained:
    """A logistic regression on people, as a training job makes it."""

    dataset: Dataset
    rows: Parts
    bundle: BuiltBundle
    signature: Signature
    version: ModelVersion
    store: LocalStore

    @property
    def versions(self) -> Versions:
        return Versions(self.store)

    def runtime(self, name: str = "auto") -> Runtime:
        return open_runtime(self.version, partial(self.versions.read_file, self.version), runtime=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("people")
    path = people(folder / "people.csv")
    job = TrainJob.parse(
        {
            "model": "buyers",
            "data": {"use": "csv", "config": {"path": str(path), "label": "buys"}},
            "split": Split(validation=0.1, test=0.2),
            "transforms": [
                {"use": "impute", "config": {"strategy": "median"}},
                {"use": "impute", "config": {"columns": ["city"], "strategy": "constant", "value": "?"}},
                {"use": "standardize", "config": {"columns": ["age"]}},
                {"use": "one_hot"},
            ],
            "architecture": {"use": "logistic"},
            "training": Training(optimizer="lbfgs", epochs=5, l2=2 / 210, keep="last"),
        },
        source="job",
    )
    store = LocalStore(folder / "store")
    dataset = prepare(store, job.data)
    division = split(dataset, job.split)
    transforms = fit_transforms(job.transforms, division.train, dataset.card)
    rows, facts = transforms.ready(division), transforms.facts(dataset.card)
    architecture = own.resolve(job.architecture, facts)
    checkpoint = fit(partial(own.build, architecture), job.training, parts=rows, world=World.single())
    network = own.build(architecture)
    network.load_state_dict(dict(checkpoint.best_weights))
    of_network = signature_of("classification", facts)
    signature = transformed_signature(of_network, transforms)
    bundle = put_in_front(
        transforms,
        build(network, architecture=architecture, signature=of_network, probes=rows.test.x_ND[:8]),
        signature=signature,
        probes=rows.test.inputs(signature.inputs, count=8),
    )
    evaluation, bundle = judged(bundle, signature, dataset="people", rows=rows)
    draft = VersionDraft(
        model="buyers",
        run_id="train-buyers-1",
        architecture=architecture,
        signature=signature,
        runtimes=bundle.runtimes,
        evaluation=evaluation,
        lineage=Lineage(
            run_id="train-buyers-1",
            dataset="csv",
            data_fingerprint=dataset.card.fingerprint,
            job=job_fields(job),
            job_sha256="0" * 64,
            code=CodeVersion(raymaas="0", source_sha256="0" * 64),
            libraries={},
            seed=0,
        ),
    )
    return Trained(dataset, rows, bundle, signature, Versions(store).publish(draft, bundle.files), store)


def columns_of(rows: Any) -> list[list[Any]]:
    return [list(pair) for pair in zip(rows.columns["age"].tolist(), rows.columns["city"], strict=True)]


def test_every_runtime_answers_as_scikit_learns_pipeline_does(trained):
    rows = trained.rows
    theirs = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), [0]),
            (make_pipeline(SimpleImputer(missing_values=None, strategy="constant", fill_value="?"),
                           OneHotEncoder(handle_unknown="ignore")), [1]),
        ),
        LogisticRegression(C=1, tol=1e-9),
    )  # fmt: skip
    theirs.fit(np.array(columns_of(rows.train), dtype=object), rows.train.y_N)
    expected = theirs.predict_proba(np.array(columns_of(rows.test), dtype=object))
    assert trained.version.runtimes == ("onnx", "torch")
    for name in trained.version.runtimes:
        found = trained.runtime(name).run(rows.test.inputs(trained.signature.inputs))["probabilities"]
        np.testing.assert_allclose(found, expected, atol=1e-3)
    assert trained.version.evaluation.metrics["accuracy"].value > 0.7


def ask(trained: Trained, inputs: Any) -> dict[str, Any]:
    """What the version's HTTP application answers to what the client sends."""
    runtime = trained.runtime()

    async def compute(method: str, arrays: dict[str, np.ndarray], **_: object) -> dict[str, np.ndarray]:
        return runtime.run(arrays)

    app = InferenceApp(
        Served(model="buyers", version="1", signature=trained.signature, runtime=runtime.name),
        compute=compute,
        secret_sha256="",
        record=lambda **told: None,
    )
    request = infer_request(Reference(model="buyers"), inputs, "infer")
    assert request.body is not None
    head = Head(header_length=request.headers.get(LENGTH_HEADER, ""))
    answer = asyncio.run(app.predict(request.body, head=head))
    told = {name.decode(): value.decode() for name, value in answer.headers}
    found = read_prediction(Answer(200, told, answer.body), arrays=False)
    return {"outputs": found.outputs, "classes": list(found.classes)}


def test_a_client_sends_raw_values_with_null_and_words_nobody_knows(trained):
    answer = ask(trained, {"age": [40, None, 25.5, 31], "city": ["Rome", "Oslo", None, "Atlantis"]})
    assert answer["classes"] == ["no", "yes"]
    assert len(answer["outputs"]["probabilities"]) == 4
    median = float(np.nanmedian(trained.rows.train.columns["age"]))
    same = ask(trained, {"age": np.array([median]), "city": np.array(["Oslo"])})
    assert same["outputs"]["probabilities"][0] == pytest.approx(answer["outputs"]["probabilities"][1])
    turned = ask(trained, {"city": ["Rome", "Oslo", None, "Atlantis"], "age": [40, None, 25.5, 31]})
    assert turned["outputs"] == answer["outputs"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"age": [40]}, "input 'city' is missing; send BYTES"),
        ({"age": ["40"], "city": ["Rome"]}, "input 'age': expected numbers of FP32, got a string"),
        ({"age": [40], "city": [3]}, "input 'city': expected strings, got the number 3"),
        ({"age": [40], "city": "Rome"}, "input 'city': expected a list of strings, got a string"),
        ({"age": [40, 41], "city": ["Rome"]}, "inputs must have equally many rows"),
        ([[40, 1]], "this model takes several inputs"),
    ],
)
def test_what_does_not_fit_the_columns_is_refused(trained, inputs, message):
    with pytest.raises(InvalidInput, match=message):
        ask(trained, inputs)


def test_a_missing_value_that_nothing_fills_is_refused_with_its_row(trained):
    rows, card = trained.rows.train, trained.dataset.card
    impute = Component(use="impute", config={"columns": ["city"], "strategy": "most_frequent"})
    whole = rows.take(np.flatnonzero(~np.isnan(rows.columns["age"])))
    made = fit_transforms([impute, Component(use="one_hot")], whole, card)
    assert [spec.nullable for spec in made.inputs] == [False, True]
    with pytest.raises(InvalidInput, match="column 'age' has nothing in row 1; give it a value"):
        made.x_of({"age": np.float32([1, np.nan]), "city": np.array(["Rome", None], dtype=object)})


def test_probes_are_raw_and_texts_in_them_come_back(trained):
    inputs, outputs = read_probes(trained.bundle.files["probes.safetensors"])
    assert inputs["city"].tolist() == trained.rows.test.columns["city"][:8].tolist()
    np.testing.assert_array_equal(inputs["age"], trained.rows.test.columns["age"][:8])
    assert set(outputs) == {"logits", "probabilities"}
    again = read_probes(write_probes({"t": np.array(["é", None, ""], dtype=object)}, {}))
    assert again[0]["t"].tolist() == ["é", None, ""]


def test_other_transforms_than_those_published_are_refused(trained):
    files = dict(trained.bundle.files)
    files[TRANSFORMS] = files[TRANSFORMS].replace(b"Rome", b"Roma")
    with pytest.raises(IntegrityError, match=r"transforms\.json does not match its own digest"):
        load_runtime("torch", files, signature=trained.signature)
    rows, card = trained.rows.train, trained.dataset.card
    settings = [
        Component(use="impute", config={"strategy": "constant", "value": 0}),
        Component(use="impute", config={"columns": ["city"], "strategy": "constant", "value": "?"}),
        Component(use="one_hot"),
    ]
    files[TRANSFORMS] = fit_transforms(settings, rows, card).document.seal()
    loaded = load_runtime("torch", files, signature=trained.signature)
    with pytest.raises(IntegrityError, match="does not reproduce this version"):
        check_probes(loaded, files)


def test_the_rows_of_a_version_are_what_its_network_took(trained):
    again = rows_of_version(trained.store, trained.version)
    assert again.fingerprint == trained.rows.fingerprint
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, part).x_ND, getattr(trained.rows, part).x_ND)


def test_a_compressed_version_stands_behind_its_parents_transforms(trained):
    job = CompressJob.parse(
        {"model": "buyers", "recipe": [{"use": "quantize", "config": {"bits": 8, "epochs": 1}}]}, source="job"
    )
    told: list[Report] = []
    rows = rows_of_version(trained.store, trained.version)
    parts = JobParts(
        store=trained.store,
        versions=trained.versions,
        runs=Runs(trained.store),
        run_id="c",
        say=lambda sentence: None,
        on_trial=lambda trial: None,
    )
    RecipeTrial(job)({}, ground_of(job, trained.version, trained.version, rows, parts), told.append)
    swept = SweepJob(job=job_fields(job), fields={"recipe.0.config.bits": {"choice": [7, 8]}})
    JobTrial(swept, trained.store.url, DataFiles())({"recipe.0.config.bits": 8}, None, told.append)
    assert told[0].files == told[1].files
    bundle = coded_bundle(told[0].files[CODED], trained.version, trained.versions, rows)
    loaded = load_runtime("torch", bundle.files, signature=trained.signature)
    check_probes(loaded, bundle.files)
    inputs = rows.test.inputs(trained.signature.inputs)
    found, before = (runtime.run(inputs)["probabilities"] for runtime in (loaded, trained.runtime("torch")))
    np.testing.assert_allclose(found, before, atol=0.05)


def test_without_transforms_a_bundle_stays_as_it_was(trained):
    rows = trained.rows.train
    numbers = rows.take(np.flatnonzero(~np.isnan(rows.columns["age"])))
    card = trained.dataset.card.model_copy(update={"columns": trained.dataset.card.columns[:1]})
    made = fit_transforms((), numbers, card)
    assert put_in_front(made, trained.bundle, signature=trained.signature, probes={}) is trained.bundle
    assert torch.tensor(made.apply(numbers).x_ND).shape == (len(numbers), 1)
