"""Importers: rows and labels as the file has them, and one sentence with row and column for what cannot be used."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raymaas.data.dataset import Dataset, prepare
from raymaas.data.split import split
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.errors import InvalidInput, NotFound
from raymaas.specs.jobs import Component, Split
from raymaas.store import MemoryStore


def load(use: str, **config: Any) -> Dataset:
    store = MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    return prepare(store, Component(use=use, config=config))


def x_of(dataset: Dataset) -> np.ndarray:
    """What a job without transforms makes of the rows."""
    return fit_transforms((), dataset.rows, dataset.card).apply(dataset.rows).x_ND


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Dataset]:
    def load_csv(text: str, /, **config: Any) -> Dataset:
        path = tmp_path / "people.csv"
        path.write_text(text)
        return load("csv", **{"path": str(path), "label": "kind"} | config)

    return load_csv


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Dataset]:
    def load_parquet(columns: dict[str, Any], **config: Any) -> Dataset:
        path = tmp_path / "people.parquet"
        pq.write_table(pa.table(columns), path)
        return load("parquet", **{"path": str(path), "label": "kind"} | config)

    return load_parquet


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Dataset]:
    def load_npz(config: dict[str, Any] | None = None, **arrays: Any) -> Dataset:
        path = tmp_path / "arrays.npz"
        np.savez_compressed(path, **{name: np.asarray(array) for name, array in arrays.items()})
        return load("npz", **{"path": str(path)} | (config or {}))

    return load_npz


def test_csv_columns_become_features_and_classes(csv):
    dataset = csv("age,kind,weight\n30,old, 1.5e1 \n7,young,-.5\n40,old,20\n")
    assert dataset.card.classes == ("old", "young")
    assert x_of(dataset).tolist() == [[30, 15], [7, -0.5], [40, 20]]
    assert dataset.rows.y_N.tolist() == [0, 1, 0]
    assert dataset.card.name == "csv"


def test_chosen_features_come_in_their_order_and_others_may_be_anything(csv):
    dataset = csv(
        "id;age;kind;weight\nx;30;old;1\n;7;young;\n".replace("young;", "young;2"),
        features=["weight", "age"],
        delimiter=";",
        name="people",
    )
    assert x_of(dataset).tolist() == [[1, 30], [2, 7]]
    assert dataset.card.name == "people"


def test_every_way_to_write_a_number_is_read(csv):
    written = ["1", "+5", "-.5", "1.", "2e3", "1.5E-1", " 7 ", "007"]
    dataset = csv("a,kind\n" + "\n".join(f"{text},{row % 2}" for row, text in enumerate(written)))
    assert x_of(dataset)[:, 0].tolist() == pytest.approx([1, 5, -0.5, 1, 2000, 0.15, 7, 7])


def test_whole_number_classes_are_sorted_as_numbers(csv):
    assert csv("a,kind\n1,10\n2,9\n3,-1\n").card.classes == ("-1", "9", "10")


def test_given_classes_set_the_order(csv):
    dataset = csv("a,kind\n1,low\n2,high\n", classes=["low", "middle", "high"])
    assert (dataset.card.classes, dataset.rows.y_N.tolist()) == (("low", "middle", "high"), [0, 2])


def test_a_column_may_say_which_part_a_row_is_in(csv):
    lines = [f"{row},{'ab'[row % 2]},{'test' if row < 4 else 'train'}" for row in range(24)]
    dataset = csv("a,kind,fold\n" + "\n".join(lines), part="fold")
    assert [column.name for column in dataset.card.columns] == ["a"]
    assert split(dataset, Split(test="given")).test.id_N.tolist() == [0, 1, 2, 3]


def test_a_number_late_in_a_large_file_may_have_a_fraction(csv):
    """Types are not guessed from the beginning of the file."""
    lines = [f"{row},{row % 2}" for row in range(200_000)]
    dataset = csv("a,kind\n" + "\n".join(lines) + "\n0.5,1\n")
    assert x_of(dataset)[-1].tolist() == [0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "age,kind\n30,a\nn/a,b\n7,a\n",
            "column 'age' of .*people.csv has 'n/a' in row 1, which is no number; .* data.config.text",
        ),
        ("age,kind\n30,a\nnan,b\n", "column 'age' .* has 'nan' in row 1"),
        ("age,kind\n30,a\n1e99,b\n", "column 'age' .* has 1e99 in row 1, which is no finite float32"),
        ("age,kind\n30,a\n7,\n", "column 'kind' of .*people.csv has no label in row 1"),
        ("age,kind\n30,a\n7,a\n", "has the classes 'a'; a classifier needs at least two"),
        ("age,kind\n30,a\n7,b,c\n", "is not a CSV table: .*Row #3: Expected 2 columns, got 3"),
        ("age,sort\n30,a\n", "has no column 'kind'; its columns are age, sort"),
        ("kind,kind\n30,a\n", "has 2 columns 'kind'"),
        ("kind\na\nb\n", "has no column besides kind; rows need features"),
        ("age,kind\n", "people.csv has no rows"),
        ("", "people.csv is not a CSV table: Empty CSV file"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_with_row_and_column(csv, text, message):
    with pytest.raises(InvalidInput, match=message):
        csv(text)


def test_settings_that_contradict_the_file_are_refused(csv):
    text = "age,kind,fold\n30,a,train\n7,b,dev\n"
    with pytest.raises(InvalidInput, match=r"column 'kind' .* has 'b' in row 1, which is none of 'a', 'c'"):
        csv(text, classes=["a", "c"], features=["age"])
    with pytest.raises(InvalidInput, match=r"column 'fold' .* has 'dev' in row 1, which is none of 'train'"):
        csv(text, part="fold")
    with pytest.raises(InvalidInput, match="'kind' is the label or part, or only kept, and cannot"):
        csv(text, features=["age", "kind"])
    with pytest.raises(InvalidInput, match="data set 'csv': lable: unknown field; did you mean 'label'"):
        csv(text, lable="kind")


def test_a_file_that_is_not_there_is_said_with_its_whole_path(tmp_path):
    with pytest.raises(
        NotFound, match=r"none\.csv' does not exist where the job runs; give an absolute path"
    ):
        load("csv", path=str(tmp_path / "none.csv"), label="y")
    with pytest.raises(InvalidInput, match="is a folder; name a file in it"):
        load("csv", path=str(tmp_path), label="y")


def test_parquet_takes_every_kind_of_number_and_lists_of_them(parquet):
    columns = {
        "count": pa.array([1, 2], pa.uint16()),
        "flag": [True, False],
        "price": [Decimal("1.5"), Decimal("2.5")],
        "kind": pa.array([True, False]),
        "embedding": [[0.5, 1.5], [2.5, 3.5]],
        "half": pa.array(np.array([1, 2], np.float16)),
    }
    dataset = parquet(columns)
    assert x_of(dataset).tolist() == [[1, 1, 1.5, 0.5, 1.5, 1], [2, 0, 2.5, 2.5, 3.5, 2]]
    assert (dataset.card.classes, dataset.rows.y_N.tolist()) == (("false", "true"), [1, 0])


def test_labels_of_a_category_column_and_of_a_float_column_without_fractions(parquet):
    assert parquet({"a": [1, 2], "kind": pa.array(["x", "y"]).dictionary_encode()}).card.classes == ("x", "y")
    assert parquet({"a": [1, 2], "kind": [3.0, 1.0]}).card.classes == ("1", "3")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [[1.0, 2.0], [3.0]]}, "column 'a' .* has 1 values in row 1, but 2 in row 0"),
        ({"a": pa.array([[], []], pa.list_(pa.float32()))}, r"column 'a' .* has an empty list in row 0"),
        ({"a": [[1.0, 2.0], None]}, "column 'a' .* has nothing in row 1"),
        ({"a": [[1.0, 2.0], [3.0, None]]}, "column 'a' .* lacks a value in row 1"),
        ({"a": [[1.0, 2.0], [3.0, float("nan")]]}, "column 'a' .* lacks a value in row 1"),
        ({"a": [[1.0, 2.0], [3.0, float("inf")]]}, "column 'a' .* has inf in row 1"),
        (
            {"a": [datetime(2026, 1, 1), datetime(2026, 1, 2)]},
            "column 'a' .* is timestamp.*features are numbers or text",
        ),
        (
            {"a": [1, 2], "kind": [0.5, 1.0]},
            "column 'kind' .* has 0.5 in row 0; labels are whole numbers or text",
        ),
        ({"a": [1, 2], "kind": [1.0, float("nan")]}, "column 'kind' .* has no label in row 1"),
        ({"a": [1, 2], "kind": [[1], [2]]}, "column 'kind' .* is list.*labels are whole numbers, text"),
    ],
)
def test_a_parquet_file_that_cannot_be_used_is_refused_with_row_and_column(parquet, columns, message):
    with pytest.raises(InvalidInput, match=message):
        parquet({"kind": ["x", "y"]} | columns)


def test_bytes_that_are_no_parquet_are_refused(tmp_path):
    path = tmp_path / "people.parquet"
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InvalidInput, match="is not a Parquet file that can be read"):
        load("parquet", path=str(path), label="kind")


def test_npz_rows_keep_their_shape_and_labels_may_be_text(npz):
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    dataset = npz(x=x, y=["dog", "cat"])
    assert (dataset.card.shape, dataset.card.classes) == ((3, 4), ("cat", "dog"))
    np.testing.assert_array_equal(dataset.rows.x_ND, x)
    assert dataset.rows.y_N.tolist() == [1, 0]


def test_npz_arrays_may_have_other_names(npz):
    dataset = npz({"x": "rows", "y": "targets"}, rows=[[0.5], [1.5]], targets=[0, 1])
    assert dataset.rows.x_ND.tolist() == [[0.5], [1.5]]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": [[1.0], [2.0]]}, "has no array 'y'; it has x"),
        ({"x": [1.0, 2.0], "y": [0, 1]}, r"array 'x' of .* must be numbers of the shape \[rows, ...\]"),
        ({"x": [["a"], ["b"]], "y": [0, 1]}, "array 'x' of .* must be numbers"),
        ({"x": [[1.0], [2.0]], "y": [0, 1, 0]}, "array 'y' of .* must be 2 labels"),
        ({"x": [[1.0], [np.inf]], "y": [0, 1]}, "column 'x' has inf in row 1, feature 0"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, "not empty"),
        ({"x": np.array([{}, []], dtype=object), "y": [0, 1]}, "is not a .npz of plain arrays"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(npz, arrays, message):
    with pytest.raises(InvalidInput, match=message):
        npz(**arrays)


def test_bytes_that_are_no_npz_are_refused(tmp_path):
    path = tmp_path / "arrays.npz"
    for content in (b"", b"PK\x03\x04 damaged", b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"is not a .npz of plain arrays"):
            load("npz", path=str(path))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes: two pictures of cats, one of a dog; and what is no picture."""
    folder = tmp_path / "pictures"
    for name, value in (("cat/a b.png", 10), ("cat/deep/c.bmp", 20), ("dog/d.png", 30)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 3), value, np.uint8)).save(folder / name)
    (folder / "cat/notes.txt").write_text("no picture")
    (folder / ".hidden").mkdir()
    (folder / ".hidden/e.png").write_bytes(b"no picture")
    return folder


def test_sub_folders_are_classes_and_pictures_rows(pictures):
    dataset = load("images", path=str(pictures))
    assert (dataset.card.shape, dataset.card.classes) == ((2, 3), ("cat", "dog"))
    assert dataset.rows.x_ND[:, 0, 0].tolist() == [10, 20, 30]
    assert dataset.rows.y_N.tolist() == [0, 0, 1]


def test_pictures_are_scaled_and_coloured_when_asked(pictures):
    dataset = load("images", path=pictures.as_uri(), colour="rgb", size=[4, 5])
    assert dataset.card.shape == (3, 4, 5)
    np.testing.assert_array_equal(dataset.rows.x_ND[2], np.full((3, 4, 5), 30))


def test_pictures_of_different_size_or_damaged_are_named(pictures):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(pictures / "dog/z.png")
    with pytest.raises(
        InvalidInput, match=r"dog/z.png is 4 x 4, but cat/a b.png is 2 x 3; set data.config.size"
    ):
        load("images", path=str(pictures))
    (pictures / "dog/z.png").write_bytes((pictures / "dog/d.png").read_bytes()[:40])
    with pytest.raises(InvalidInput, match=r"dog/z.png is not a picture that can be read"):
        load("images", path=str(pictures))


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="holds no pictures in sub-folders"):
        load("images", path=str(tmp_path))
    with pytest.raises(NotFound, match="does not exist where the job runs"):
        load("images", path=str(tmp_path / "none"))


def test_columns_stay_raw_under_their_names_with_what_is_missing(csv):
    dataset = csv("age,city,kind\n30,Rome,a\n,Oslo,b\n41.5,,a\n")
    assert [(column.name, column.type) for column in dataset.card.columns] == [
        ("age", "number"),
        ("city", "text"),
    ]
    assert (dataset.card.shape, dataset.card.features) == ((), 0)
    np.testing.assert_array_equal(dataset.rows.columns["age"], np.float32([30, np.nan, 41.5]))
    assert dataset.rows.columns["city"].tolist() == ["Rome", "Oslo", None]


def test_numbers_can_be_text_and_other_words_can_mean_missing(csv):
    dataset = csv("code,size,kind\n007,?,a\n12,3,b\n", text=["code"], missing=["", "?"])
    assert dataset.rows.columns["code"].tolist() == ["007", "12"]
    np.testing.assert_array_equal(dataset.rows.columns["size"], np.float32([np.nan, 3]))


def test_a_column_with_one_number_is_one_of_numbers(csv):
    with pytest.raises(InvalidInput, match=r"column 'note' .* has 'fine' in row 0, which is no number"):
        csv("note,kind\nfine,a\n12,b\n")
    assert csv("note,kind\nfine,a\n12,b\n", text=["note"]).card.columns[0].type == "text"


def test_kept_columns_are_no_features(csv, parquet):
    dataset = csv("a,patient,day,kind\n1,9,2026-01-02,x\n2,10,2026-01-01,y\n", keep=["patient", "day"])
    assert [column.name for column in dataset.card.columns] == ["a"]
    assert dataset.rows.kept["patient"].tolist() == [9, 10]
    assert dataset.rows.kept["day"].tolist() == ["2026-01-02", "2026-01-01"]
    days = [datetime(2026, 1, 2, tzinfo=UTC), None]
    dataset = parquet({"a": [1, 2], "day": days, "kind": ["x", "y"]}, keep=["day"])
    assert dataset.card.kept[0].type == "time"
    assert dataset.rows.kept["day"].astype(str).tolist() == ["2026-01-02T00:00:00.000000", "NaT"]


def test_a_kept_column_of_names_with_zeros_in_front_stays_text(csv):
    dataset = csv("a,patient,kind\n1,007,x\n2,7,y\n", keep=["patient"])
    assert dataset.rows.kept["patient"].tolist() == ["007", "7"]


def test_a_kept_column_of_ids_too_long_for_a_number_stays_text(csv, parquet):
    longest, longer = str(2**63 - 1), "98765432109876543210"
    for column in (["7", longer], ["0.5", longer]):
        dataset = csv(f"a,patient,kind\n1,{column[0]},x\n2,{column[1]},y\n", keep=["patient"])
        assert dataset.rows.kept["patient"].tolist() == column
    dataset = csv(f"a,patient,kind\n1,7,x\n2,{longest},y\n", keep=["patient"])
    assert dataset.rows.kept["patient"].tolist() == [7, 2**63 - 1]
    with pytest.raises(InvalidInput, match=r"cannot be kept: .*98765432.*; make it text"):
        parquet(
            {"a": [1, 2], "patient": pa.array([7, 9876543210987654321], pa.uint64()), "kind": ["x", "y"]},
            keep=["patient"],
        )


def test_a_number_can_be_what_is_learned(csv, parquet, npz):
    for dataset in (
        csv("a,price\n1,2.5\n2,-3\n", label="price", target="number"),
        parquet({"a": [1, 2], "price": [2.5, -3.0]}, label="price", target="number"),
        npz({"target": "number"}, x=[[1.0], [2.0]], y=[2.5, -3.0]),
    ):
        assert (dataset.card.target, dataset.card.classes) == ("number", ())
        assert dataset.rows.y_N.dtype == np.float32
        assert dataset.rows.y_N.tolist() == [2.5, -3.0]


def test_rows_may_have_nothing_to_be_learned(csv, npz):
    dataset = csv("a,b\n1,2\n3,4\n", label=None, target="none")
    assert (dataset.card.target, x_of(dataset).tolist()) == ("none", [[1, 2], [3, 4]])
    assert dataset.rows.y_N.tolist() == [0, 0]
    assert npz({"target": "none"}, x=[[1.0], [2.0]]).card.target == "none"


@pytest.mark.parametrize(
    ("text", "config", "message"),
    [
        ("a,y\n1,2\n2,\n", {"label": "y", "target": "number"}, "column 'y' .* has no number in row 1"),
        ("a,y\n1,2\n2,x\n", {"label": "y", "target": "number"}, "column 'y' .* has 'x' in row 1"),
        ("a,y\n1,2\n", {"label": "y", "target": "none"}, "with target none nothing is learned"),
        ("a,y\n1,2\n", {"label": None}, "label is missing: name the column to be learned"),
        ("a,kind\n1,x\n2,y\n", {"keep": ["day"]}, "has no column 'day'; its columns are a, kind"),
        ("a,kind\n1,x\n2,y\n", {"text": ["b"]}, "has no column 'b'"),
        (
            "a,y\n1,2\n",
            {"label": "y", "target": "number", "classes": ["1", "2"]},
            "classes belong to target classes",
        ),
    ],
)
def test_a_target_or_column_that_does_not_fit_is_refused(csv, text, config, message):
    with pytest.raises(InvalidInput, match=message):
        csv(text, **config)


def test_text_files_are_rows_by_line_and_named_after_their_label(tmp_path):
    (tmp_path / "spam.txt").write_text("buy now\n\nwin big\r\n", newline="")
    (tmp_path / "ham.txt.gz").write_bytes(gzip.compress("see you at café\n".encode()))
    dataset = load("lines", folder=str(tmp_path))
    assert dataset.card.classes == ("ham", "spam")
    assert dataset.rows.columns["text"].tolist() == ["see you at café", "buy now", "win big"]
    assert dataset.rows.y_N.tolist() == [0, 1, 1]


def test_a_text_file_may_say_the_label_before_a_tab(tmp_path):
    path = tmp_path / "mail.tsv"
    path.write_text("spam\tbuy\tnow\nham\thello\n")
    dataset = load("lines", path=str(path), classes=["spam", "ham"])
    assert dataset.rows.columns["text"].tolist() == ["buy\tnow", "hello"]
    assert dataset.rows.y_N.tolist() == [0, 1]
    assert load("lines", path=str(path), target="none").rows.columns["text"][0] == "spam\tbuy\tnow"


@pytest.mark.parametrize(
    ("content", "config", "message"),
    [
        (b"spam\tbuy\nhello\n", {}, "line 2: expected a label, a tab and a text, got 'hello'"),
        (b"spam\tbuy\nham\tcaf\xe9\n", {}, "line 2: not UTF-8"),
        (b"\n\n", {}, "has no lines of text"),
        (b"spam\tbuy\n", {"target": "number"}, "a line has no number to be learned"),
        (b"spam\tbuy\n", {"folder": "there"}, "give folder or path, one of them"),
        (b"spam\tbuy\n", {"target": "none", "classes": ["a", "b"]}, "classes belong to target classes"),
    ],
)
def test_text_lines_that_cannot_be_used_are_refused_with_their_line(tmp_path, content, config, message):
    path = tmp_path / "mail.tsv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        load("lines", path=str(path), **config)
