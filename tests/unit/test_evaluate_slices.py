"""Slices of rows, and folds: which rows, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from raymaas.errors import InvalidInput
from raymaas.evaluate.folds import folds, over_folds
from raymaas.evaluate.slices import slices

COLUMNS = {
    "age": np.array([20, 30, 40, 50, np.nan]),
    "sex": np.array(["F", "M", "F", None, "M"], dtype=object),
    "class": np.array(["9", "10", "9", "10", "9"], dtype=object),
    "seen": np.array(["2026-01-01", "2026-01-02", "NaT", "2026-01-01", "2026-01-03"], dtype="datetime64[us]"),
    "curve": np.zeros((5, 3)),
}


def found(wanted: str) -> dict[str, list[int]]:
    return {part.name: part.positions.tolist() for part in slices(wanted, COLUMNS)}


def test_a_column_is_sliced_by_its_values_and_missing_ones_are_a_slice_of_their_own() -> None:
    assert found("sex") == {"sex = F": [0, 2], "sex = M": [1, 4], "sex missing": [3]}
    assert list(found("class")) == ["class = 9", "class = 10"], "numbers by size"
    assert found("age") == {
        "age = 20": [0],
        "age = 30": [1],
        "age = 40": [2],
        "age = 50": [3],
        "age missing": [4],
    }
    assert list(found("seen").values()) == [[0, 3], [1], [4], [2]]


def test_a_condition_slices_in_two_and_rows_without_a_value_do_not_meet_it() -> None:
    assert found("age >= 40") == {"age >= 40": [2, 3], "not age >= 40": [0, 1, 4]}
    assert found("sex==F") == {"sex == F": [0, 2], "not sex == F": [1, 3, 4]}
    assert found("age < 99") == {"age < 99": [0, 1, 2, 3], "not age < 99": [4]}
    assert found("age != 40")["age != 40"] == [0, 1, 3]


def test_many_numbers_are_cut_at_their_quartiles_and_every_row_is_in_one() -> None:
    values = np.random.default_rng(0).normal(size=1001)
    cut = slices("v", {"v": values})
    assert len(cut) == 4
    assert sorted(np.concatenate([part.positions for part in cut]).tolist()) == list(range(1001))
    assert all(abs(len(part.positions) - 250) <= 1 for part in cut)
    assert all(not part.warning for part in cut)


def test_a_slice_of_few_rows_is_warned_of() -> None:
    assert [part.warning for part in slices("sex", COLUMNS)] == ["only 2 rows", "only 2 rows", "only 1 rows"]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("weight", "no column 'weight' to slice by; there are age, class, curve, seen, sex"),
        ("weight > 3", "no column 'weight'"),
        ("age > old", "column 'age' holds numbers, and 'old' is none"),
        ("curve", "column 'curve' has several values in a row"),
    ],
)
def test_what_cannot_be_sliced_is_refused(wanted: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        slices(wanted, COLUMNS)


def test_folds_hold_every_row_once_and_have_the_same_shares_of_classes() -> None:
    y_N = np.repeat([0, 1, 2], [100, 60, 40])
    made = folds(200, count=5, seed=3, strata_N=y_N)
    assert sorted(np.concatenate(made).tolist()) == list(range(200))
    assert all(np.bincount(y_N[fold]).tolist() == [20, 12, 8] for fold in made)
    assert any((a != b).any() for a, b in zip(made, folds(200, count=5, seed=4, strata_N=y_N), strict=True))
    assert all((a == b).all() for a, b in zip(made, folds(200, count=5, seed=3, strata_N=y_N), strict=True))


def test_a_group_is_in_one_fold_alone() -> None:
    group_N = np.array([f"patient {n}" for n in np.random.default_rng(0).integers(0, 30, 200)])
    made = folds(200, count=4, seed=1, group_N=group_N)
    assert sorted(np.concatenate(made).tolist()) == list(range(200))
    assert sum(len(set(group_N[fold])) for fold in made) == len(set(group_N))


def test_too_many_folds_are_refused() -> None:
    with pytest.raises(InvalidInput, match="5 folds need at least as many rows, and of 4 rows there are 4"):
        folds(4, count=5, seed=0)
    with pytest.raises(InvalidInput, match="as many rows of each class, and of 20 rows there are 3"):
        folds(20, count=5, seed=0, strata_N=np.repeat([0, 1], [17, 3]))
    with pytest.raises(InvalidInput, match="as many groups, and of 20 rows there are 2"):
        folds(20, count=5, seed=0, group_N=np.repeat([0, 1], 10))


def test_the_interval_over_folds_is_the_corrected_one() -> None:
    metric = over_folds([0.90, 0.92, 0.94, 0.91, 0.93], held_out=0.2, confidence=0.95)
    # Worked by hand: t(0.975, 4) = 2.7764451, s = 0.0158114, sqrt(1 / 5 + 1 / 4) = 0.6708204.
    assert metric.value == pytest.approx(0.92)
    assert metric.high - metric.value == pytest.approx(2.7764451 * 0.0158114 * 0.6708204, rel=1e-5)
    assert metric.method == "corrected t"
