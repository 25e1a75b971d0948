"""Data sets: shapes of rows, what is refused, that content decides the fingerprint, that damage is found."""

from datetime import UTC, datetime

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from raymaas.data.catalogue import source_of
from raymaas.data.columns import INPUT, KEPT, TIME
from raymaas.data.dataset import open_dataset, prepare, put_table
from raymaas.data.table import Learned, table_of, table_of_columns, table_of_numbers, table_of_rows
from raymaas.errors import IntegrityError, InvalidInput, NotFound
from raymaas.specs.base import canonical_json, sha256_hex
from raymaas.specs.datasets import DatasetCard
from raymaas.specs.jobs import Component
from raymaas.store import LocalStore, MemoryStore

DIGITS = Component(use="digits")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))


def small_table(rows: int = 20) -> pa.Table:
    generator = np.random.default_rng(0)
    return table_of(generator.normal(size=(rows, 3)), np.arange(rows) % 2, classes=("no", "yes"))


def test_digits_are_scikit_learns_digits(store):
    dataset = prepare(store, DIGITS)
    bunch = load_digits()
    assert dataset.card.rows == 1797
    assert dataset.card.classes == tuple("0123456789")
    assert dataset.card.shape == (64,)
    np.testing.assert_array_equal(dataset.rows.x_ND, bunch.data.astype(np.float32))
    np.testing.assert_array_equal(dataset.rows.y_N, bunch.target)


def test_the_fingerprint_of_digits_is_for_ever(store):
    """Versions name the data they were made from by it."""
    fingerprint = "9d1759d4fd76708531414a5f2e1fd39e4d00195635b0639aa3032ae954852147"
    assert prepare(store, DIGITS).card.fingerprint == fingerprint


def images(rows: int = 6) -> np.ndarray:
    return np.arange(rows * 2 * 3, dtype=np.uint8).reshape(rows, 2, 3)


def test_rows_keep_their_shape_and_bytes_stay_bytes_in_the_store(tmp_path):
    store = LocalStore(tmp_path)
    card = put_table(store, table_of(images(), np.arange(6) % 2, classes=("no", "yes")), name="images").card
    opened = open_dataset(store, "images", card.fingerprint)
    assert (opened.card.shape, opened.card.features, opened.rows.x_ND.shape) == ((2, 3), 6, (6, 2, 3))
    assert opened.rows.x_ND.dtype == np.float32
    np.testing.assert_array_equal(opened.rows.x_ND, images())
    stored = pq.read_table(tmp_path / f"datasets/images/{card.fingerprint}/part-0.parquet")
    assert stored.schema.field("x").type == pa.binary(6)


def test_the_fingerprint_tells_shapes_and_divisions_apart(store):
    y_N = np.arange(6) % 2
    tables = [
        table_of(images(), y_N, classes=("no", "yes")),
        table_of(images().reshape(6, 3, 2), y_N, classes=("no", "yes")),
        table_of(images().astype(np.float32), y_N, classes=("no", "yes")),
        table_of(images(), y_N, classes=("no", "yes"), part_N=np.array([0, 0, 0, 0, 2, 2])),
        table_of(images(), y_N, classes=("no", "yes"), part_N=np.array([0, 0, 0, 1, 2, 2])),
    ]
    assert len({put_table(store, table, name="images").card.fingerprint for table in tables}) == len(tables)


def test_a_slice_of_a_table_has_its_own_bytes(store):
    table = table_of(images(), np.arange(6) % 2, classes=("no", "yes"))
    np.testing.assert_array_equal(put_table(store, table.slice(2, 3), name="part").rows.x_ND, images()[2:5])


def test_a_card_of_the_first_format_describes_vectors():
    fields = {"name": "old", "fingerprint": "0" * 64, "rows": 3, "features": 64, "classes": ["0", "1"]}
    body = fields | {"kind": "dataset", "format": 1}
    sealed = canonical_json(body | {"digest": sha256_hex(canonical_json(body))})
    assert DatasetCard.unseal(sealed, source="old card").shape == (64,)


def test_a_card_of_the_second_format_has_classes():
    fields = {"name": "old", "fingerprint": "0" * 64, "rows": 3, "features": 4, "shape": [2, 2]}
    body = fields | {"classes": ["0", "1"], "own_parts": {}, "kind": "dataset", "format": 2}
    sealed = canonical_json(body | {"digest": sha256_hex(canonical_json(body))})
    card = DatasetCard.unseal(sealed, source="old card")
    assert (card.target, card.columns, card.kept) == ("classes", (), ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "number"}, "a set with classes has at least two, and others have none"),
        ({"classes": ()}, "a set with classes has at least two, and others have none"),
        ({"shape": (), "features": 0}, "rows have either a shape or named columns"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(store, changes, message):
    card = put_table(store, small_table(), name="small").card
    with pytest.raises(InvalidInput, match=message):
        DatasetCard.parse(card.model_dump() | changes, source="card")


def people(**changes: pa.Array) -> pa.Table:
    """Raw columns of every type."""
    columns = {
        INPUT + "age": pa.array([30, None, 7], pa.float32()),
        INPUT + "city": pa.array(["Rome", None, "Oslo"]),
        INPUT + "face": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)),
        KEPT + "born": pa.array([0, 1, None], TIME),
    }
    return table_of_columns(columns | changes, Learned("number"), np.array([0.5, 1.5, 2.5]))


def test_raw_columns_come_back_as_they_were(store):
    card = put_table(store, people(), name="people").card
    rows = open_dataset(store, "people", card.fingerprint).rows
    assert [(c.name, c.type, c.shape) for c in card.columns] == [
        ("age", "number", ()),
        ("city", "text", ()),
        ("face", "number", (2,)),
    ]
    np.testing.assert_array_equal(rows.columns["age"], np.float32([30, np.nan, 7]))
    assert rows.columns["city"].tolist() == ["Rome", None, "Oslo"]
    assert rows.columns["face"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert rows.kept["born"].astype(str).tolist()[1:] == ["1970-01-01T00:00:00.000001", "NaT"]
    assert (rows.x_ND.shape, rows.y_N.tolist()) == ((3, 0), [0.5, 1.5, 2.5])
    assert rows.take(np.array([2])).columns["city"].tolist() == ["Oslo"]


def test_the_fingerprint_follows_every_value_of_raw_columns(store):
    tables = [
        people(),
        people(**{INPUT + "age": pa.array([30, 0, 7], pa.float32())}),
        people(**{INPUT + "city": pa.array(["Rome", "", "Oslo"])}),
        people(**{INPUT + "face": pa.array([[1, 2], [3, 4], [6, 5]], pa.list_(pa.float32(), 2))}),
        people(**{KEPT + "born": pa.array([0, 2, None], TIME)}),
        people(**{KEPT + "born": pa.array([0, 1, None], pa.int64())}),
        people()
        .rename_columns(["row", INPUT + "years", *people().column_names[2:]])
        .replace_schema_metadata(people().schema.metadata),
    ]
    assert len({put_table(store, table, name="people").card.fingerprint for table in tables}) == len(tables)


def test_raw_columns_that_are_infinite_or_of_another_type_are_refused(store):
    with pytest.raises(InvalidInput, match="column 'age' has an infinite number in row 1"):
        put_table(store, people(**{INPUT + "age": pa.array([1, np.inf, 2], pa.float32())}), name="bad")
    with pytest.raises(InvalidInput, match=r"column 'column.age' must be numbers, text or times, got bool"):
        put_table(store, people(**{INPUT + "age": pa.array([True, False, True])}), name="bad")


def test_a_number_to_learn_is_finite_float32(store):
    x = np.zeros((3, 2))
    dataset = put_table(store, table_of_numbers(x, np.array([1, 2.5, 3])), name="numbers")
    assert (dataset.card.target, dataset.rows.y_N.dtype) == ("number", np.float32)
    with pytest.raises(InvalidInput, match="column 'y' has inf in row 1"):
        put_table(store, table_of_numbers(x, np.array([1, 1e99, 3])), name="bad")
    table = table_of_numbers(x, np.arange(3))
    with pytest.raises(InvalidInput, match="column 'y' must be float, got int64"):
        put_table(store, table.set_column(2, "y", pa.array([1, 2, 3])), name="bad")


def test_rows_with_nothing_to_learn_have_no_y(store):
    table = table_of_rows(images())
    assert "y" not in table.column_names
    dataset = put_table(store, table, name="pictures")
    opened = open_dataset(store, "pictures", dataset.card.fingerprint)
    assert (opened.card.target, opened.rows.y_N.tolist()) == ("none", [0] * 6)
    labelled = put_table(store, table_of(images(), np.arange(6) % 2, classes=("a", "b")), name="pictures")
    assert labelled.card.fingerprint != dataset.card.fingerprint


def test_a_shape_that_does_not_hold_the_features_is_refused(store):
    table = table_of(images(), np.arange(6) % 2, classes=("no", "yes"))
    wrong = table.replace_schema_metadata(table.schema.metadata | {b"shape": b"[28,28]"})
    with pytest.raises(InvalidInput, match=r"rows of 6 values cannot have the shape \[28, 28\]"):
        put_table(store, wrong, name="bad")


def test_a_value_that_is_no_number_is_refused_with_its_place_in_the_row(store):
    x = images().astype(np.float32)
    x[4, 1, 2] = np.nan
    with pytest.raises(InvalidInput, match=r"nan in row 4, feature \[1, 2\]"):
        put_table(store, table_of(x, np.arange(6) % 2, classes=("no", "yes")), name="bad")


def test_a_part_nobody_knows_is_refused(store):
    table = table_of(images(), np.arange(6) % 2, classes=("no", "yes"), part_N=np.array([0, 0, 3, 0, 2, 2]))
    with pytest.raises(
        InvalidInput, match="column 'part' has 3 in row 2; known are 0 train, 1 validation, 2 test"
    ):
        put_table(store, table, name="bad")


def test_preparing_twice_leaves_one_copy_and_opening_gives_the_same_rows(store):
    first = prepare(store, DIGITS)
    keys = store.list("")
    again = prepare(store, DIGITS)
    assert store.list("") == keys
    assert again.card == first.card
    opened = open_dataset(store, "digits", first.card.fingerprint)
    np.testing.assert_array_equal(opened.rows.x_ND, first.rows.x_ND)
    np.testing.assert_array_equal(opened.rows.id_N, first.rows.id_N)


def test_a_crash_before_the_card_is_repaired_by_preparing_again(tmp_path):
    store = LocalStore(tmp_path)
    card = put_table(store, small_table(), name="small").card
    store.delete(f"datasets/small/{card.fingerprint}/card.json")
    with pytest.raises(NotFound):
        open_dataset(store, "small", card.fingerprint)
    assert put_table(store, small_table(), name="small").card == card
    assert len(open_dataset(store, "small", card.fingerprint).rows) == 20


def test_the_fingerprint_follows_content_and_not_its_encoding(store):
    table = small_table()
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)]).select(["y", "x", "row"])
    relabelled = table.replace_schema_metadata({"classes": orjson.dumps(["yes", "no"])})
    changed = table_of(np.zeros((20, 3)), np.arange(20) % 2, classes=("no", "yes"))
    fingerprint = put_table(store, table, name="a").card.fingerprint
    assert put_table(store, chunked, name="b").card.fingerprint == fingerprint
    assert put_table(store, relabelled, name="c").card.fingerprint != fingerprint
    assert put_table(store, changed, name="d").card.fingerprint != fingerprint


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_feature_that_is_no_number_is_refused_with_row_and_feature(store, value):
    x = np.zeros((5, 3))
    x[3, 1] = value
    with pytest.raises(InvalidInput, match=rf"'bad': column 'x' has {value} in row 3, feature 1"):
        put_table(store, table_of(x, np.array([0, 1, 0, 1, 0]), classes=("no", "yes")), name="bad")
    assert store.list("") == []


@pytest.mark.parametrize(
    ("column", "array", "message"),
    [
        ("x", pa.array([[1.0]] * 20), r"column 'x' must be fixed_size_list<float>, .*got list<item: double>"),
        ("y", pa.array([0.5] * 20), "column 'y' must be int64, got double"),
        ("y", pa.array([0, None] * 10), "column 'y' has a null in row 1"),
        ("y", pa.array([0, 2] * 10), "column 'y' has 2 in row 1; labels are 0 to 1"),
        ("row", pa.array([7] * 20), "column 'row' has 7 twice"),
    ],
)
def test_a_wrong_column_is_refused_by_name(store, column, array, message):
    table = small_table()
    table = table.set_column(table.column_names.index(column), column, array)
    with pytest.raises(InvalidInput, match=message):
        put_table(store, table, name="bad")


def test_a_missing_column_and_missing_classes_are_refused(store):
    with pytest.raises(InvalidInput, match="'bad' has no column 'y'; it has row, x"):
        put_table(store, small_table().drop_columns(["y"]), name="bad")
    with pytest.raises(InvalidInput, match="'bad' names no classes"):
        put_table(store, small_table().replace_schema_metadata(None), name="bad")


def test_an_unknown_set_or_setting_is_refused_with_the_nearest_name():
    with pytest.raises(InvalidInput, match="'digit' is unknown; did you mean 'digits'"):
        source_of(Component(use="digit"))
    with pytest.raises(InvalidInput, match="takes no settings, got size"):
        source_of(Component(use="digits", config={"size": 3}))


def test_other_rows_under_the_same_fingerprint_are_found(tmp_path):
    store = LocalStore(tmp_path)
    card = put_table(store, small_table(), name="small").card
    path = tmp_path / f"datasets/small/{card.fingerprint}/part-0.parquet"
    path.unlink()
    pq.write_table(table_of(np.zeros((20, 3)), np.arange(20) % 2, classes=("no", "yes")), path)
    with pytest.raises(IntegrityError, match="does not have the fingerprint"):
        open_dataset(store, "small", card.fingerprint)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(IntegrityError, match="cannot be read"):
        open_dataset(store, "small", card.fingerprint)


@pytest.mark.parametrize(("name", "fingerprint"), [("../up", "0" * 64), ("digits", "../../etc")])
def test_names_and_fingerprints_that_could_be_paths_are_refused(store, name, fingerprint):
    with pytest.raises(InvalidInput):
        open_dataset(store, name, fingerprint)
