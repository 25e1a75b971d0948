"""Integrity: whatever single byte of a version changes in the store, nothing of that version is loaded."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest

from raymaas.bundle.format import BuiltBundle, build
from raymaas.bundle.runtimes import opening
from raymaas.errors import IntegrityError, RaymaasError
from raymaas.models import catalogue
from raymaas.models.base import classifier_signature
from raymaas.registry.layout import blob_key, version_key
from raymaas.registry.versions import VersionDraft, Versions
from raymaas.specs.evaluation import Evaluation
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import CodeVersion, Lineage, TensorSpec
from raymaas.store import MemoryStore, Store

FLIPS = 1000
SIGNATURE = classifier_signature(TensorSpec(name="x", dtype="FP32", shape=(-1, 5)), ("a", "b", "c"))


def small_bundle() -> tuple[Component, BuiltBundle]:
    component = catalogue.resolve(
        Component(use="logistic"), Facts(input=SIGNATURE.inputs[0], classes=SIGNATURE.classes)
    )
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    bundle = build(catalogue.build(component), architecture=component, signature=SIGNATURE, probes=rows)
    return component, bundle.with_evaluation(row_N=np.arange(3), values={"correct": np.ones(3, bool)})


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    """Holds `small@1`, with every file a version has."""
    component, bundle = small_bundle()
    store = MemoryStore(lambda: datetime(2026, 1, 1, tzinfo=UTC))
    draft = VersionDraft(
        model="small",
        run_id="train-small-1",
        architecture=component,
        signature=SIGNATURE,
        runtimes=bundle.runtimes,
        evaluation=Evaluation(dataset="d", fingerprint="f", rows=3, runtime="onnx", metrics={}),
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
    Versions(store).publish(draft, bundle.files)
    return store


def load_everything(store: Store) -> None:
    """As replicas and jobs do: the manifest, each of its runtimes, and the files that no runtime uses."""
    versions = Versions(store)
    manifest = versions.get("small", 1)
    for runtime in manifest.runtimes:
        opening.open_runtime(manifest, partial(versions.read_file, manifest), runtime=runtime)
    versions.read_files(manifest)


def test_of_a_thousand_flipped_bytes_each_is_refused_and_nothing_is_loaded(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Versions(store).get("small", 1)
    objects = [version_key("small", 1), *(blob_key(entry) for entry in manifest.files.values())]
    assert len(objects) == 6
    load_everything(store)
    loaded: list[bytes] = []
    really_load = opening.load_runtime

    def noting(name: str, files: dict[str, bytes], **options: object) -> object:
        loaded.extend(files.values())
        return really_load(name, files, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(opening, "load_runtime", noting)
    dice = random.Random(20260301)
    for _ in range(FLIPS):
        key = dice.choice(objects)
        whole = store.read(key)
        place = dice.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= dice.randrange(1, 256)
        replace(store, key, bytes(flipped))
        with pytest.raises(RaymaasError) as refusal:
            load_everything(store)
        assert isinstance(refusal.value, IntegrityError), f"byte {place} of {key}: {refusal.value!r}"
        assert bytes(flipped) not in loaded
        replace(store, key, whole)
    load_everything(store)
    assert loaded


def replace(store: Store, key: str, data: bytes) -> None:
    store.delete(key)
    store.create(key, data)
