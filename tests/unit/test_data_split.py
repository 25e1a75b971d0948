"""Splits: every row in exactly one part, stratified, decided by the seed, and named by a fingerprint."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.data.dataset import Dataset, put_table
from raymaas.data.split import split
from raymaas.data.table import table_of
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


def divided(part_N: list[int]) -> Dataset:
    """A data set that brings its own division."""
    count = len(part_N)
    table = table_of(
        np.arange(count * 2.0).reshape(count, 2),
        np.arange(count) % 2,
        classes=("no", "yes"),
        part_N=np.array(part_N),
    )
    return put_table(MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)), table, name="divided")


def test_the_sets_own_test_rows_are_the_test_part():
    dataset = divided([0] * 30 + [2] * 10)
    assert dataset.card.own_parts == {"train": 30, "test": 10}
    parts = split(dataset, Split(test="given", validation=0.15))
    assert parts.test.id_N.tolist() == list(range(30, 40))
    assert (len(parts.train), len(parts.validation)) == (24, 6)  # a share is one of all rows
    assert split(dataset, Split(test=0.25)).test.id_N.tolist() != parts.test.id_N.tolist()
    assert split(dataset, Split(test=0.25)).fingerprint != parts.fingerprint


def test_both_parts_may_be_the_sets_own():
    parts = split(divided([0] * 6 + [1] * 4 + [2] * 2), Split(test="given", validation="given"))
    assert [part.id_N.tolist() for part in (parts.train, parts.validation, parts.test)] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9],
        [10, 11],
    ]


def test_own_validation_rows_are_training_rows_where_a_share_is_asked_for():
    parts = split(divided([0] * 30 + [1] * 10 + [2] * 10), Split(test="given", validation=0.2))
    assert sorted([*parts.train.id_N, *parts.validation.id_N]) == list(range(40))


@pytest.mark.parametrize(
    ("part_N", "how", "message"),
    [
        (None, Split(test="given"), "it brings no division of its own; set split.test to a share"),
        (
            [0] * 9 + [2],
            Split(validation="given"),
            "it brings only train, test of its own; set split.validation",
        ),
        ([1, 2] * 9, Split(test="given", validation="given"), "its own parts leave no rows to train on"),
    ],
)
def test_a_part_the_set_does_not_bring_is_refused(part_N, how, message):
    with pytest.raises(InvalidInput, match=message):
        split(divided(part_N) if part_N else dataset_of(90), how)


@pytest.mark.parametrize("size", [0, 1, 1.5, "own", None])
def test_a_size_that_is_no_share_is_refused_in_one_sentence(size):
    with pytest.raises(InvalidInput, match="test: must be a share between 0 and 1, or `given`") as refused:
        Split.parse({"test": size}, source="split")
    assert ";" not in str(refused.value)
