"""Whom recipes learn from besides their parent, and from which rows: never from those they are judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from local_training import fit_here, trained
from registry_examples import memory_store

from raymaas.errors import InvalidInput
from raymaas.jobs.origin import network_of, rows_of_version
from raymaas.jobs.parts import JobParts
from raymaas.jobs.teaching import teachers_of, transfer_of
from raymaas.registry.runs import Runs
from raymaas.registry.versions import Versions
from raymaas.specs.compression import CompressJob
from raymaas.specs.versions import ModelVersion

DIGITS = {"use": "digits"}
TRAIN = {
    "model": "digits",
    "data": DIGITS,
    "architecture": {"use": "mlp", "config": {"hidden": [8], "input_scale": 0.0625}},
    "training": {"epochs": 1},
}


@pytest.fixture(scope="module")
def parts() -> JobParts:
    """digits@1 is in its store; digits@2 is larger, digits@3 of another split, digits@4 behind transforms."""
    store = memory_store()
    larger = {"use": "mlp", "config": {"hidden": [16], "input_scale": 0.0625}}
    with pytest.MonkeyPatch.context() as patch:
        fit_here(patch, store)
        for changes in (
            {},
            {"architecture": larger},
            {"split": {"seed": 1}},
            {"transforms": [{"use": "standardize"}]},
        ):
            trained(store, TRAIN | changes)
    return JobParts(
        store, Versions(store), Runs(store), "c", say=lambda line: None, on_trial=lambda trial: None
    )


def job(**config: Any) -> CompressJob:
    return CompressJob.parse(
        {"model": "digits", "recipe": [{"use": "distill", "config": config}]}, source="job"
    )


def parent(parts: JobParts) -> ModelVersion:
    return parts.versions.get("digits", 1)


def test_every_teacher_that_a_recipe_may_name_is_there_by_its_words(parts: JobParts) -> None:
    asked = job(teacher={"choice": ["digits@2", "digits@1"]})

    found = teachers_of(asked, parent(parts), parts)

    assert list(found) == ["digits@2", "digits@1"]
    theirs = network_of(parts.versions, parts.versions.get("digits", 2)).state_dict()
    assert all(found["digits@2"].state_dict()[name].equal(tensor) for name, tensor in theirs.items())
    assert teachers_of(job(epochs=1), parent(parts), parts) == {}


@pytest.mark.parametrize(
    ("teacher", "sentence"),
    [
        ("digits@3", "it was trained on another split of 'digits', so it has seen rows"),
        ("digits@4", "they differ in transforms"),
    ],
)
def test_a_teacher_that_saw_other_rows_or_reads_them_otherwise_is_refused(
    parts: JobParts, teacher: str, sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=f"{teacher} cannot teach digits@1: {sentence}"):
        teachers_of(job(teacher=teacher), parent(parts), parts)


def test_rows_without_labels_are_never_those_that_recipes_are_judged_by(parts: JobParts) -> None:
    rows = rows_of_version(parts.store, parent(parts))

    (more,) = transfer_of(job(transfer_data=DIGITS), parent(parts), rows, parts).values()

    taken = {row.tobytes() for row in more.numpy()}
    held_out = {row.tobytes() for part in (rows.validation, rows.test) for row in part.x_ND}
    assert not taken & held_out
    assert taken == {row.tobytes() for row in rows.train.x_ND} - held_out
    assert more.numpy().dtype == np.float32


def test_rows_of_another_shape_are_refused(parts: JobParts) -> None:
    rows = rows_of_version(parts.store, parent(parts))

    with pytest.raises(
        InvalidInput, match=r"rows of 'breast_cancer' have the shape \[30\], those of digits@1 \[64\]"
    ):
        transfer_of(job(transfer_data={"use": "breast_cancer"}), parent(parts), rows, parts)
