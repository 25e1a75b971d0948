"""Fine-tuning: a fit that starts from a version's weights, some of them frozen, and a lineage that says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from local_training import fit_here, trained, without_graphs
from safetensors.numpy import load

from raymaas.bundle.files import WEIGHTS
from raymaas.bundle.transforming import TRANSFORMS
from raymaas.errors import InvalidInput, NotFound
from raymaas.registry.resolve import pinned
from raymaas.registry.states import States
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob
from raymaas.specs.jobs import TrainJob
from raymaas.specs.versions import ModelVersion
from raymaas.store import LocalStore

JOB = {
    "model": "digits",
    "data": {"use": "digits"},
    "architecture": {"use": "mlp", "config": {"hidden": [16], "input_scale": 0.0625}},
    "training": {"epochs": 3, "learning_rate": 0.01},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    store = LocalStore(tmp_path)
    fit_here(monkeypatch, store)
    without_graphs(monkeypatch)
    return store


def weights(store: LocalStore, version: ModelVersion) -> dict[str, np.ndarray]:
    return load(Versions(store).read_file(version, WEIGHTS))


def test_it_starts_from_the_versions_weights_and_leaves_the_frozen_ones(store):
    first = trained(store, JOB)
    second = trained(
        store,
        JOB
        | {"init_from": "digits@1", "training": {"epochs": 1, "learning_rate": 1e-4, "frozen": ["hidden.*"]}},
    )

    before, after = weights(store, first), weights(store, second)
    for name in before:
        if name.startswith("hidden."):
            np.testing.assert_array_equal(after[name], before[name])
        else:
            assert not np.array_equal(after[name], before[name])
            np.testing.assert_allclose(after[name], before[name], atol=0.02)
    assert second.evaluation.metrics["accuracy"].value > first.evaluation.metrics["accuracy"].value - 0.02
    assert (second.lineage.parent, second.lineage.init_from) == (1, "digits@1")


def test_another_models_weights_are_taken_where_they_fit_and_the_rest_is_drawn(store):
    trained(store, JOB)
    said: list[str] = []
    job = JOB | {
        "model": "wide",
        "init_from": "digits@1",
        "architecture": {"use": "mlp", "config": {"hidden": [16, 12], "input_scale": 0.0625}},
    }
    version = trained(store, job, said=said)

    told = next(line for line in said if line.startswith("starting from digits@1"))
    assert "3 of 6 tensors" in told
    assert "head.weight" in told
    assert (version.lineage.parent, version.lineage.init_from) == (None, "digits@1")


def test_the_versions_transforms_stay_as_they_were_fitted_unless_the_job_has_its_own(store):
    job = JOB | {"transforms": [{"use": "standardize"}], "split": {"seed": 1}}
    first = trained(store, job)
    later = JOB | {"init_from": "digits@1", "split": {"seed": 2}}
    for transforms, kept in ((), True), ([{"use": "standardize"}], False):
        version = trained(store, later | {"transforms": transforms})
        assert (version.files[TRANSFORMS].sha256 == first.files[TRANSFORMS].sha256) == kept
    with pytest.raises(
        InvalidInput, match=r"column 'x' is number \[4\], and the transforms take number \[64\]"
    ):
        trained(store, later | {"data": {"use": "iris"}})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architecture": {"use": "logistic"}}, "none of its tensors has the name and shape"),
        ({"training": {"epochs": 1, "frozen": ["hiden.*"]}}, "'hiden.*' matches no parameter"),
        ({"training": {"epochs": 1, "frozen": ["*"]}}, "no parameter to train"),
    ],
)
def test_what_cannot_be_started_from_is_said(store, changes, sentence):
    trained(store, JOB)
    with pytest.raises(InvalidInput, match=sentence):
        trained(store, JOB | {"init_from": "digits@1"} | changes)


def test_an_alias_is_pinned_when_the_job_is_submitted(store):
    trained(store, JOB)
    versions, states = Versions(store), States(store)
    job = TrainJob.parse(JOB | {"init_from": "digits"}, source="job")
    assert pinned(job, versions, states, now=store.now()).init_from == "digits@1"
    with pytest.raises(NotFound, match="digits"):
        pinned(
            TrainJob.parse(JOB | {"init_from": "digits@7"}, source="job"), versions, states, now=store.now()
        )


def test_parent_and_teacher_of_a_compression_are_pinned_too(store):
    trained(store, JOB)
    versions, states = Versions(store), States(store)
    recipe = [{"use": "distill", "config": {"teacher": "digits", "epochs": 1}}, {"use": "finetune"}]
    job = pinned(
        CompressJob.parse({"model": "digits", "recipe": recipe}, source="job"),
        versions,
        states,
        now=store.now(),
    )
    assert job.parent == "digits@1"
    assert job.recipe[0].config == {"teacher": "digits@1", "epochs": 1}
    assert job.recipe[1].config == {}
