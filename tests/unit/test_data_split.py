"""Splits: every row in exactly one part, stratified, decided by the seed, and named by a fingerprint."""

from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.data.columns import INPUT, KEPT
from raymaas.data.dataset import Dataset, put_table
from raymaas.data.split import split
from raymaas.data.table import Learned, table_of, table_of_columns, table_of_numbers, table_of_rows
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Split
from raymaas.store import MemoryStore


def in_memory(table: pa.Table) -> Dataset:
    return put_table(MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)), table, name="visits")


def dataset_of(rows: int, classes: int = 3, offset: float = 0.0) -> Dataset:
    y_N = np.arange(rows) % classes
    table = table_of(
        np.arange(rows * 2.0).reshape(rows, 2) + offset, y_N, classes=tuple(str(c) for c in range(classes))
    )
    return put_table(MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)), table, name="numbers")


@settings(max_examples=25)
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


@pytest.mark.parametrize("how", [Split(), Split(test="given"), Split(stratify=False, seed=3)])
def test_another_process_has_the_same_parts_by_their_ids_alone(how):
    dataset = divided([0, 0, 2, 0, 0, 2] * 10)
    parts = split(dataset, how)
    again = parts.ids.of(dataset.rows)
    assert again.fingerprint == parts.fingerprint
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, part).id_N, getattr(parts, part).id_N)
        np.testing.assert_array_equal(getattr(again, part).x_ND, getattr(parts, part).x_ND)


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


def test_a_number_or_nothing_to_learn_is_not_stratified_by():
    x = np.arange(40.0).reshape(20, 2)
    for table in (table_of_numbers(x, np.arange(20.0)), table_of_rows(x)):
        dataset = in_memory(table)
        assert len(split(dataset, Split(test=0.25)).test) == 5
        with pytest.raises(InvalidInput, match="only classes can be stratified by; leave split"):
            split(dataset, Split(stratify=True))


def test_leaving_stratify_out_names_the_same_parts_as_saying_it():
    """Fingerprints of divisions made before it could be left out still hold."""
    dataset = dataset_of(90)
    assert split(dataset, Split()).fingerprint == split(dataset, Split(stratify=True)).fingerprint
    assert split(dataset, Split(stratify=False)).fingerprint != split(dataset, Split()).fingerprint


def visits(patient: list[object], day: list[object], *, part_N: list[int] | None = None) -> Dataset:
    """A row for each visit of a patient."""
    columns = {
        INPUT + "age": pa.array(np.arange(len(patient)), pa.float32()),
        KEPT + "patient": pa.array(patient),
        KEPT + "day": pa.array(day),
    }
    y_N = np.arange(len(patient)) % 2
    parts = None if part_N is None else np.array(part_N)
    return in_memory(table_of_columns(columns, Learned("classes", ("no", "yes")), y_N, part_N=parts))


@settings(max_examples=25)
@given(
    groups=st.lists(st.integers(0, 11), min_size=40, max_size=120).filter(lambda g: len(set(g)) > 8),
    seed=st.integers(0, 9),
)
def test_no_group_lies_in_two_parts(groups, seed):
    dataset = visits([f"p{group}" for group in groups], list(range(len(groups))))
    parts = split(dataset, Split(group="patient", seed=seed))
    held = [set(part.kept["patient"]) for part in (parts.train, parts.validation, parts.test)]
    assert all(one.isdisjoint(other) for one, other in combinations(held, 2))
    assert sum(map(len, (parts.train, parts.validation, parts.test))) == len(groups)
    largest = max(groups.count(group) for group in groups)
    assert abs(len(parts.test) - 0.2 * len(groups)) <= largest


def test_groups_are_drawn_by_the_seed_and_named_in_the_fingerprint():
    dataset = visits([f"p{row // 3}" for row in range(60)], list(range(60)))
    drawn = [split(dataset, Split(group="patient", seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0].fingerprint == drawn[1].fingerprint != drawn[2].fingerprint
    assert drawn[0].test.id_N.tolist() != drawn[2].test.id_N.tolist()
    assert len(drawn[0].test) == 12


def test_training_rows_come_before_validation_before_test_rows():
    days = [f"2026-01-{1 + (7 * row) % 20:02}" for row in range(40)]  # each day twice, in no order
    parts = split(visits(["p"] * 40, days), Split(time="day", validation=0.2, test=0.25))
    train, validation, test = (part.kept["day"] for part in (parts.train, parts.validation, parts.test))
    assert max(train) < min(validation) <= max(validation) < min(test)
    assert (len(train), len(validation), len(test)) == (22, 8, 10)


def test_rows_of_one_moment_stay_together():
    parts = split(
        visits(["p"] * 20, [1] * 12 + [2] * 3 + [3] * 5), Split(time="day", validation=0.1, test=0.2)
    )
    assert [sorted(set(part.kept["day"])) for part in (parts.train, parts.validation, parts.test)] == [
        [1],
        [2],
        [3],
    ]


@pytest.mark.parametrize(
    ("patient", "day", "how", "message"),
    [
        (["a"] * 20, list(range(20)), Split(group="patient"), "no rows are left for"),
        (["a"] * 20, [1] * 20, Split(time="day"), "no rows are left for"),
        (["a", None] * 10, list(range(20)), Split(group="patient"), "'patient' has no group in row 1"),
        (["a"] * 20, list(range(20)), Split(group="sex"), "it has no column 'sex'; its columns are age"),
    ],
)
def test_a_column_that_cannot_divide_is_refused(patient, day, how, message):
    with pytest.raises(InvalidInput, match=message):
        split(visits(patient, day), how)


def test_own_parts_that_break_groups_or_time_are_refused():
    own = [0] * 15 + [2] * 5
    mixed = visits([f"p{row % 6}" for row in range(20)], list(range(20))[::-1], part_N=own)
    with pytest.raises(InvalidInput, match=r"group p. of 'patient' lies in its own test part and in"):
        split(mixed, Split(group="patient", test="given"))
    with pytest.raises(InvalidInput, match="are not all earlier by 'day' than those of test"):
        split(mixed, Split(time="day", test="given"))
    apart = visits([f"p{row // 5}" for row in range(20)], list(range(20)), part_N=own)
    assert len(split(apart, Split(group="patient", test="given", validation=0.25)).validation) == 5
    assert split(apart, Split(time="day", test="given")).validation.id_N.tolist() == [12, 13, 14]


def test_two_ways_to_divide_at_once_are_refused():
    for fields in ({"group": "a", "time": "b"}, {"group": "a", "stratify": True}):
        with pytest.raises(InvalidInput, match="cannot both decide which rows go together"):
            Split.parse(fields, source="split")
