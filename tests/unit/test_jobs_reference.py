"""A version that is published brings what drift is told from: how its test rows and its answers for them look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_examples import DIGITS, table, trained

from raymaas.bundle.files import REFERENCE
from raymaas.data.blocks import HeldBlocks
from raymaas.data.rows import Rows
from raymaas.jobs import judging
from raymaas.jobs.judging import Subject
from raymaas.monitor.counts import Counting
from raymaas.registry.versions import Versions
from raymaas.specs.drift import Reference
from raymaas.specs.versions import ModelVersion
from raymaas.store import LocalStore, Store


def reference_in(store: Store, version: ModelVersion) -> Reference:
    return Reference.unseal(Versions(store).read_file(version, REFERENCE), source=REFERENCE)


def test_a_classifier_of_digits_is_looked_at_by_every_pixel_and_by_its_classes(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    version = trained(store, DIGITS, "run-1")
    reference = reference_in(store, version)
    assert reference.rows == version.evaluation.rows
    assert version.files[REFERENCE].bytes < 40_000
    features = {feature.name: feature for feature in reference.features}
    assert sum(name.startswith("x[") for name in features) == 64
    assert features["predicted class"].labels == version.signature.classes
    assert all(sum(feature.counts) == reference.rows for feature in reference.features)


def test_a_table_is_looked_at_by_the_columns_that_clients_send(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    version = trained(store, table(tmp_path / "people.csv"), "run-1")
    features = {feature.name: feature for feature in reference_in(store, version).features}
    assert {spec.name for spec in version.signature.inputs} <= set(features)
    assert features["age"].counts[-1] > 0
    assert features["town"].labels == ("north", "south")


def test_of_more_rows_than_memory_allows_some_are_looked_at_with_their_own_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    version = trained(store, DIGITS, "run-1")
    subject = Subject.of_version(Versions(store), version)
    x_ND = np.random.default_rng(0).integers(0, 16, (1000, 64)).astype(np.float32)
    rows = Rows(x_ND=x_ND, y_N=np.zeros(1000, np.int64), id_N=np.arange(1000))
    pieces = [HeldBlocks(rows.take(np.arange(start, start + 125))).rows for start in range(0, 1000, 125)]
    found_N = subject.answers([rows])
    monkeypatch.setattr(judging, "MOST_ROWS", 300)
    reference = judging._reference(found_N, Several(rows, pieces), subject)
    assert reference.rows == 250
    fourth: dict[str, np.ndarray] = {"x": x_ND[::4]}
    counts = Counting(reference.features).of({"input": fourth, "prediction": {"probabilities": found_N[::4]}})
    assert counts == tuple(feature.counts for feature in reference.features)


class Several(HeldBlocks):
    """The same rows, in pieces."""

    def __init__(self, rows: Rows, pieces: list[Rows]) -> None:
        super().__init__(rows)
        object.__setattr__(self, "pieces", pieces)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.pieces)  # type: ignore[attr-defined]
