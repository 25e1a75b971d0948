"""Large CSV files: read in pieces, with the values, the kinds of columns and the messages of one that is read whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymaas.data.catalogue import source_of
from raymaas.data.dataset import open_dataset, put
from raymaas.data.sources.base import DataFiles
from raymaas.errors import InvalidInput
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.jobs import Component
from raymaas.store import LocalStore

ROWS = 5200
NAMES = ("a", "b", "note", "town", "visit", "day", "label")
A, B, NOTE, TOWN, VISIT, DAY, LABEL = range(len(NAMES))


@pytest.fixture(scope="module")
def values() -> list[list[str]]:
    """Cells by row: two numbers, a note of 900 characters, a town, a visit, a day and a label."""
    x_N2 = np.random.default_rng(0).normal(size=(ROWS, 2))
    note = "so it goes " * 82
    return [
        [f"{a:.5f}", f"{b:.5f}", note, f"town {n % 7}", str(n // 4), "2026-01-02", str(n % 12)]
        for n, (a, b) in enumerate(x_N2)
    ]


def write(path: Path, cells: list[list[str]]) -> Component:
    path.write_text("\n".join(",".join(row) for row in [NAMES, *cells]) + "\n")
    return component(path)


def component(path: Path, **config: Any) -> Component:
    settings = {"path": str(path), "label": "label", "keep": ["visit", "day"], "name": "big"}
    return Component(use="csv", config=settings | config)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, values: list[list[str]]) -> Path:
    path = tmp_path_factory.mktemp("data") / "big.csv"
    write(path, values)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def card(store: LocalStore, path: Path) -> DatasetCard:
    return put(store, component(path))


@pytest.fixture
def changed(tmp_path: Path, values: list[list[str]]) -> Callable[..., Component]:
    """The same file with other cells, given as (row, column from the left, text)."""

    def written(*cells: tuple[int, int, str], **config: Any) -> Component:
        rows = list(values)
        for row, column, text in cells:
            rows[row] = [*rows[row][:column], text, *rows[row][column + 1 :]]
        write(tmp_path / "changed.csv", rows)
        return component(tmp_path / "changed.csv", **config)

    return written


def test_it_comes_in_parts_with_all_its_rows_as_they_are(store, card, values):
    assert len(card.parts) > 1
    rows = open_dataset(store, "big", card.fingerprint).rows
    assert card.classes == tuple(str(label) for label in range(12)), "in the order of numbers"
    np.testing.assert_array_equal(rows.y_N, np.arange(ROWS) % 12)
    np.testing.assert_array_equal(rows.columns["a"], np.float32([float(row[A]) for row in values]))
    assert rows.columns["town"].tolist() == [row[TOWN] for row in values]
    assert rows.kept["visit"].tolist() == [n // 4 for n in range(ROWS)]
    assert rows.kept["day"][-1] == "2026-01-02"


def test_it_is_never_read_whole(path, monkeypatch):
    source = source_of(component(path))
    tables = source.tables(DataFiles())
    monkeypatch.setattr(type(source), "table", lambda *_: pytest.fail("read whole"))
    sizes = [len(table) for table in tables]
    assert sum(sizes) == ROWS
    assert max(sizes) < ROWS / 3
    assert [len(table) for table in tables] == sizes, "a second time"


def test_what_kind_a_column_is_says_the_whole_file(store, changed):
    late = changed((ROWS - 1, VISIT, "007"), (0, A, ""), (4000, A, ""), text=["b"])
    card = put(store, late)
    kinds = {column.name: column.type for column in (*card.columns, *card.kept)}
    assert (kinds["visit"], kinds["b"], kinds["a"], kinds["town"]) == ("text", "text", "number", "text")
    rows = open_dataset(store, "big", card.fingerprint).rows
    assert rows.kept["visit"][0] == "0"
    assert np.flatnonzero(np.isnan(rows.columns["a"])).tolist() == [0, 4000]


def test_one_id_too_long_for_a_number_far_behind_makes_all_text(store, changed):
    longer = "98765432109876543210"
    card = put(store, changed((ROWS - 1, VISIT, longer)))
    visits = open_dataset(store, "big", card.fingerprint).rows.kept["visit"]
    assert visits[[0, -1]].tolist() == ["0", longer]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            [(ROWS - 1, B, "n/a")],
            f"column 'b' of .*changed.csv has 'n/a' in row {ROWS - 1}, which is no number; correct it, or name the "
            r"column in data.config.text$",
        ),
        ([(ROWS - 2, B, "1e99")], f"column 'b' .* has 1e99 in row {ROWS - 2}, which is no finite float32"),
        ([(ROWS - 1, TOWN, "12")], "column 'town' .* has 'town 0' in row 0, which is no number"),
        (
            [(5000, LABEL, "")],
            r"column 'label' of .* has no label in row 5000; fill or drop it \(1 up to row",
        ),
        ([(5000, DAY, "1,2")], "changed.csv is not a CSV table: .*Row #5002: Expected 7 columns, got 8"),
    ],
)
def test_a_bad_value_far_behind_is_named_by_column_and_row(store, changed, cells, message):
    with pytest.raises(InvalidInput, match=message):
        put(store, changed(*cells))


def test_a_label_outside_the_classes_is_named_by_its_row(store, changed):
    with pytest.raises(InvalidInput, match=f"has 'mars' in row {ROWS - 1}, which is none of '0', '1'"):
        put(store, changed((ROWS - 1, LABEL, "mars"), classes=[str(label) for label in range(12)]))


def test_several_bad_values_are_counted_as_far_as_the_file_was_read(store, changed):
    bad = [(row, B, "n/a") for row in (3000, 3001, ROWS - 1)]
    with pytest.raises(InvalidInput, match=r"in row 3000, .* \(2 such values up to row [34]\d{3}\)$"):
        put(store, changed(*bad))
