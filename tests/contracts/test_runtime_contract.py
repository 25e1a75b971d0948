"""RuntimeContract: every runtime gives the same predictions, and loads only what was published."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from raymaas.bundle.files import FILES_OF_RUNTIME
from raymaas.bundle.format import BuiltBundle, build
from raymaas.bundle.probes import PROBES
from raymaas.bundle.runtimes.base import check_probes
from raymaas.bundle.runtimes.opening import load_runtime, open_runtime
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.registry.layout import blob_key
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import CodeVersion, Lineage, ModelVersion, TensorSpec
from raymaas.store import MemoryStore

D, CLASSES = 12, tuple("abcd")
INPUT = TensorSpec(name="x", dtype="FP32", shape=(-1, D))
SIGNATURE = classifier_signature(INPUT, CLASSES)
EVERY = pytest.mark.parametrize("runtime", ["onnx", "torch"])


def features(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, D)).astype(np.float32)


@dataclass
class Published:
    """A version in a registry; `asked` are the names of the files that were read."""

    network: torch.nn.Module
    bundle: BuiltBundle
    store: MemoryStore
    manifest: ModelVersion
    asked: list[str] = field(default_factory=list)

    def read(self, name: str) -> bytes:
        self.asked.append(name)
        return Versions(self.store).read_file(self.manifest, name)


@pytest.fixture(scope="module")
def built() -> tuple[torch.nn.Module, Component, BuiltBundle]:
    """Made once: the exporter takes seconds."""
    component = catalogue.resolve(
        Component(use="mlp", config={"hidden": [16, 8], "dropout": 0.5, "input_scale": 0.5}),
        Facts(input=INPUT, classes=CLASSES),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(component)
    return network, component, build(network, architecture=component, signature=SIGNATURE, probes=features(3))


@pytest.fixture
def published(built) -> Published:
    network, component, bundle = built
    draft = VersionDraft(
        model="small",
        run_id="train-small-1",
        architecture=component,
        signature=SIGNATURE,
        runtimes=bundle.runtimes,
        evaluation=Evaluation(dataset="d", fingerprint="f", rows=1, runtime="torch", metrics={}),
        lineage=Lineage(
            run_id="train-small-1",
            dataset="d",
            data_fingerprint="f",
            job={},
            job_sha256="0" * 64,
            code=CodeVersion(raymaas="0", source_sha256="0" * 64),
            libraries={},
            seed=0,
        ),
    )
    store = MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    manifest = Versions(store).publish(draft, bundle.files)
    return Published(network=network, bundle=bundle, store=store, manifest=manifest)


@EVERY
class TestRuntimeContract:
    @pytest.mark.parametrize("rows", [1, 7, 64])
    def test_predictions_are_the_networks(self, published, runtime, rows):
        opened = open_runtime(published.manifest, published.read, runtime=runtime)
        x_BD = features(rows, seed=rows)
        outputs = opened.run({"x": x_BD})
        with torch.no_grad():
            logits_BC = published.network(torch.tensor(x_BD))
        assert opened.name == runtime
        assert list(outputs) == ["logits", "probabilities"]
        for name, expected in (("logits", logits_BC), ("probabilities", logits_BC.softmax(-1))):
            assert outputs[name].dtype == np.float32
            np.testing.assert_allclose(outputs[name], expected.numpy(), rtol=1e-4, atol=1e-5)

    def test_inputs_that_are_a_view_or_read_only_are_taken_and_left_alone(self, published, runtime):
        opened = open_runtime(published.manifest, published.read, runtime=runtime)
        wide = features(8)
        view = wide[::2]
        view.setflags(write=False)
        outputs = opened.run({"x": view})
        np.testing.assert_allclose(
            outputs["logits"], opened.run({"x": wide})["logits"][::2], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_array_equal(wide, features(8))

    def test_only_its_own_files_are_read(self, published, runtime):
        open_runtime(published.manifest, published.read, runtime=runtime)
        assert set(published.asked) == set(FILES_OF_RUNTIME[runtime])

    @pytest.mark.parametrize("damage", ["flip", "cut", "longer"])
    def test_a_file_that_is_not_what_was_published_is_not_loaded(
        self, published, runtime, damage, monkeypatch
    ):
        loads: list[str] = []
        monkeypatch.setattr(
            "raymaas.bundle.runtimes.opening.load_runtime", lambda name, *rest, **options: loads.append(name)
        )
        for name in FILES_OF_RUNTIME[runtime]:
            key = blob_key(published.manifest.files[name])
            data = published.store.read(key)
            bad = {"flip": bytes([data[0] ^ 1]) + data[1:], "cut": data[:-1], "longer": data + b"\0"}[damage]
            published.store.delete(key)
            published.store.create(key, bad)
            with pytest.raises(IntegrityError, match=rf"{name} of small@1 is damaged.*nothing was loaded"):
                open_runtime(published.manifest, published.read, runtime=runtime)
            published.store.delete(key)
            published.store.create(key, data)
        assert loads == []

    def test_a_file_missing_from_the_manifest_is_named(self, published, runtime):
        name = FILES_OF_RUNTIME[runtime][0]
        files = {key: value for key, value in published.manifest.files.items() if key != name}
        with pytest.raises(IntegrityError, match=f"{name} of small@1 is not in the manifest"):
            open_runtime(
                published.manifest.model_copy(update={"files": files}), published.read, runtime=runtime
            )

    def test_predictions_other_than_the_recorded_ones_are_refused(self, published, runtime):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            stranger = catalogue.build(published.manifest.architecture)
        other = build(
            stranger, architecture=published.manifest.architecture, signature=SIGNATURE, probes=features(3)
        )
        files = published.bundle.files | {PROBES: other.files[PROBES]}
        with pytest.raises(
            IntegrityError, match=f"'{runtime}' does not reproduce this version: output 'logits'"
        ):
            open_runtime(published.manifest, files.__getitem__, runtime=runtime)

    def test_probes_that_are_damaged_or_lack_an_output_are_refused(self, published, runtime):
        opened = load_runtime(runtime, published.bundle.files, signature=SIGNATURE)
        check_probes(opened, published.bundle.files)
        with pytest.raises(IntegrityError, match=f"{PROBES} is damaged"):
            check_probes(opened, {PROBES: b"short"})
        with pytest.raises(IntegrityError, match="holds no output 'logits'"):
            check_probes(opened, {PROBES: save({"input.x": features(2)})})
        for inputs in ({}, {"input.x": features(0)}):
            nothing = save({**inputs, "output.logits": np.zeros((0, len(CLASSES)), np.float32)})
            with pytest.raises(IntegrityError, match=f"{PROBES} asks nothing"):
                check_probes(opened, {PROBES: nothing})

    def test_bytes_that_are_no_model_are_an_integrity_error(self, published, runtime):
        name = FILES_OF_RUNTIME[runtime][0]
        with pytest.raises(IntegrityError, match=name):
            load_runtime(runtime, {**published.bundle.files, name: b"not a model"}, signature=SIGNATURE)


def test_auto_takes_the_first_runtime_that_can_use_the_device(published):
    assert open_runtime(published.manifest, published.read).name == "onnx"
    torch_only = published.manifest.model_copy(update={"runtimes": ("torch",)})
    assert open_runtime(torch_only, published.read).name == "torch"
    with pytest.raises(
        InvalidInput, match="'onnx' cannot serve this version on cpu; it can be served with torch"
    ):
        open_runtime(torch_only, published.read, runtime="onnx")
    with pytest.raises(InvalidInput, match="'onnx' cannot serve this version on cuda"):
        open_runtime(published.manifest, published.read, runtime="onnx", device="cuda")
