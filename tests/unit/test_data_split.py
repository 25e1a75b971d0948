"""Splits: every row in exactly one part, stratified, decided by the seed, and named by a fingerprint."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.data.builtin import table_of
from raymaas.data.dataset import Dataset, put_table
from raymaas.data.split import split
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Split
from raymaas.store import MemoryStore


def dataset_of(rows: int, classes: int = 3, offset: float = 0.0) -> Dataset:
    y_N = np.arange(rows) % classes
    table = table_of(
        np.arange(rows * 2.0).reshape(rows, 2) + offset, y_N, classes=tuple(str(c) for c in range(classes))
    )
    return put_table(MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)), table, name="numbers")


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(60, 200), seed=st.integers(0, 9), stratify=st.booleans())
def test_every_row_lies_in_exactly_one_part(rows, seed, stratify):
    parts = split(dataset_of(rows), Split(validation=0.2, test=0.25, seed=seed, stratify=stratify))
    ids = np.concatenate([parts.train.id_N, parts.validation.id_N, parts.test.id_N])
    assert sorted(ids) == list(range(rows))
    assert abs(len(parts.test) - 0.25 * rows) <= 1
    assert abs(len(parts.validation) - 0.2 * rows) <= 1


def test_rows_keep_their_features_and_labels():
    parts = split(dataset_of(90), Split())
    for part in (parts.train, parts.validation, parts.test):
        np.testing.assert_array_equal(part.x_ND[:, 0], part.id_N * 2)
        np.testing.assert_array_equal(part.y_N, part.id_N % 3)


def test_stratified_parts_hold_the_classes_in_equal_shares():
    parts = split(dataset_of(300), Split(validation=0.2, test=0.2))
    for part, each in ((parts.train, 60), (parts.validation, 20), (parts.test, 20)):
        assert np.bincount(part.y_N).tolist() == [each] * 3


def test_the_fingerprint_tells_content_and_division_apart():
    same = split(dataset_of(90), Split()).fingerprint
    assert split(dataset_of(90), Split()).fingerprint == same
    assert split(dataset_of(90), Split(seed=1)).fingerprint != same
    assert split(dataset_of(90), Split(test=0.3)).fingerprint != same
    assert split(dataset_of(90, offset=1.0), Split()).fingerprint != same


def test_too_few_rows_to_stratify_are_refused():
    with pytest.raises(InvalidInput, match="'numbers' cannot be split into"):
        split(dataset_of(4), Split())
