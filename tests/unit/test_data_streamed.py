"""Data sets in several parts: cut the same however they come, checked row by row, and divided without their rows."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raymaas.data.blocks import HeldBlocks, ReadBlocks
from raymaas.data.catalogue import source_of
from raymaas.data.dataset import open_card, open_dataset, put
from raymaas.data.sources.base import DataFiles
from raymaas.data.split import split
from raymaas.data.streamed import Reader, is_streamed, open_index, with_validation_rows
from raymaas.data.transforms.fitted import fit_transforms
from raymaas.errors import IntegrityError, InvalidInput, NotFound
from raymaas.jobs.preparing import ready_rows
from raymaas.specs.jobs import Component, Split, Streaming, Training, TrainJob
from raymaas.store import LocalStore, MemoryStore

ROWS, WIDTH = 40_000, 64  # 10 MB as float32
FEW = Split(validation=0.05, test=0.05)
HALF = Split(validation=0.05, test=0.5)
SMALL = Streaming(memory_mb=32)


def numbers() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, size=(ROWS, WIDTH)).astype(np.float32)


def write(folder: Path, x_ND: np.ndarray, *, files: int, label: list[str] | None = None) -> Component:
    """The rows in so many files, each with its label, its number and a column of text."""
    folder.mkdir()
    labels = label or [("odd" if n % 3 else "even") for n in range(len(x_ND))]
    for number, places in enumerate(np.array_split(np.arange(len(x_ND)), files)):
        some = x_ND[places]
        columns = {
            "x": pa.FixedSizeListArray.from_arrays(pa.array(some.reshape(-1)), some.shape[1]),
            "label": pa.array([labels[place] for place in places]),
            "visit": pa.array(places // 10),
        }
        pq.write_table(pa.table(columns), folder / f"{number:03}.parquet")
    return imported(folder)


def imported(folder: Path, **further: object) -> Component:
    return Component(
        use="parquet",
        config={"path": str(folder), "name": "big", "label": "label", "keep": ["visit"], **further},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "three"
    write(folder, numbers(), files=3)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def card(store, folder):
    return put(store, imported(folder))


def test_rows_come_back_as_they_were_numbered_through(store, card):
    assert len(card.parts) > 2
    rows = open_dataset(store, "big", card.fingerprint).rows
    np.testing.assert_array_equal(rows.columns["x"], numbers())
    np.testing.assert_array_equal(rows.id_N, np.arange(ROWS))
    np.testing.assert_array_equal(rows.y_N, (np.arange(ROWS) % 3 > 0).astype(int))
    assert card.classes == ("even", "odd")
    assert 0.9 < card.part_bytes / (numbers().nbytes + ROWS * 24) < 1.1


def test_the_fingerprint_does_not_depend_on_how_rows_are_cut_into_files(store, card, tmp_path):
    assert put(store, write(tmp_path / "seven", numbers(), files=7)).fingerprint == card.fingerprint
    other = numbers()
    other[-1, -1] += 1
    assert put(store, write(tmp_path / "other", other, files=3)).fingerprint != card.fingerprint


def test_what_fits_one_part_is_one_however_many_files_it_has(tmp_path):
    store = MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    few = numbers()[:200]
    one, three = (put(store, write(tmp_path / str(files), few, files=files)) for files in (1, 3))
    assert one == three
    assert one.parts == ()


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        ("x", r"column 'x' of .*002.parquet lacks a value in row 13332"),
        ("label", r"column 'label' of .*002.parquet has no label in row 13332"),
    ],
)
def test_a_bad_value_far_behind_is_named_by_file_and_row(store, tmp_path, spoiled, message):
    x_ND, labels = numbers(), [str(n % 2) for n in range(ROWS)]
    if spoiled == "x":
        x_ND[-1, 5] = np.nan
    else:
        labels[-1] = None
    component = write(tmp_path / "bad", x_ND, files=3, label=labels)
    with pytest.raises(InvalidInput, match=message):
        put(store, component)


def test_a_column_that_changes_its_type_is_refused(store, tmp_path):
    component = write(tmp_path / "changing", numbers(), files=2)
    last = tmp_path / "changing" / "001.parquet"
    table = pq.read_table(last)
    changed = table.set_column(2, "visit", pa.array([f"v{n}" for n in range(len(table))]))
    pq.write_table(changed, last)
    with pytest.raises(
        InvalidInput, match=r"'kept.visit' is int64 in the first rows and string in those from row"
    ):
        put(store, component)


def test_a_file_without_a_wanted_column_and_a_folder_without_files_are_refused(store, tmp_path):
    component = write(tmp_path / "lacking", numbers(), files=2)
    last = tmp_path / "lacking" / "001.parquet"
    pq.write_table(pq.read_table(last).drop_columns(["x"]), last)
    with pytest.raises(InvalidInput, match=r"001.parquet has no column 'x'"):
        put(store, component)
    (tmp_path / "none").mkdir()
    with pytest.raises(NotFound, match=r"holds no file whose name ends in .parquet"):
        put(store, imported(tmp_path / "none"))


def test_damage_to_one_part_is_found(tmp_path, folder):
    store = LocalStore(tmp_path)
    card = put(store, imported(folder))
    path = tmp_path / f"datasets/big/{card.fingerprint}/part-1.parquet"
    path.chmod(0o644)
    path.write_bytes((path.parent / "part-0.parquet").read_bytes())
    reader = Reader(store, open_card(store, "big", card.fingerprint))
    with pytest.raises(IntegrityError, match=r"part-1.parquet does not have the fingerprint"):
        reader.part(1)


@pytest.mark.parametrize("how", [FEW, Split(validation=0.05, test=0.05, group="visit")])
def test_the_split_without_rows_is_the_split_of_the_whole(store, card, how):
    whole = split(open_dataset(store, "big", card.fingerprint), how)
    lean = split(open_index(store, card, how), how)
    assert lean.fingerprint == whole.fingerprint
    np.testing.assert_array_equal(lean.train.id_N, whole.train.id_N)
    assert lean.train.x_ND.shape == (len(whole.train), 0)
    assert lean.train.columns == {}


def test_held_rows_are_those_of_a_set_in_memory(store, card):
    dataset = open_dataset(store, "big", card.fingerprint)
    whole = split(dataset, FEW)
    transforms = fit_transforms((Component(use="standardize"),), whole.train, card)
    ready = transforms.ready(whole)
    lean = split(open_index(store, card, FEW), FEW)
    held = with_validation_rows(Reader(store, card), lean, transforms, SMALL)
    np.testing.assert_array_equal(held.validation.x_ND, ready.validation.x_ND)
    np.testing.assert_array_equal(held.validation.id_N, ready.validation.id_N)
    with pytest.raises(InvalidInput, match=r"the 16000 validation rows take \d+ MB"):
        with_validation_rows(
            Reader(store, card), split(dataset, Split(validation=0.4, test=0.1)), transforms, SMALL
        )


def test_test_rows_are_read_in_blocks_that_together_are_those_of_a_set_in_memory(store, card):
    whole = split(open_dataset(store, "big", card.fingerprint), HALF)
    transforms = fit_transforms((Component(use="standardize"),), whole.train, card)
    held = HeldBlocks(transforms.ready(whole).test)
    lean = split(open_index(store, card, HALF), HALF).test
    read = ReadBlocks(lean, Reader(store, card), transforms)
    blocks = list(read)
    assert max(block.x_ND.nbytes for block in blocks) <= 2**20
    np.testing.assert_array_equal(np.concatenate([block.x_ND for block in blocks]), held.rows.x_ND)
    assert len(read) == len(held) == ROWS // 2
    np.testing.assert_array_equal(read.first(9000).id_N, held.first(9000).id_N)
    some = np.array([0, 7, 9000])
    np.testing.assert_array_equal(read.take(some).first(9).x_ND, held.take(some).first(9).x_ND)


def test_a_job_streams_what_is_above_a_quarter_of_its_memory(store, folder, card):
    job = TrainJob(
        model="m",
        data=imported(folder),
        split=FEW,
        transforms=(Component(use="standardize"),),
        architecture=Component(use="mlp"),
        streaming=SMALL,
    )
    ready = ready_rows(job, store, DataFiles())
    assert ready.streamed
    assert ready.rows.train.x_ND.shape[1:] == (0,)
    assert ready.rows.test.x_ND.shape[1:] == (0,)
    assert abs(ready.test.first(500).x_ND.mean()) < 0.05
    held = ready_rows(job.model_copy(update={"streaming": Streaming(memory_mb=64)}), store, DataFiles())
    assert not held.streamed
    assert held.rows.fingerprint == ready.rows.fingerprint
    in_one_piece = card.model_copy(update={"parts": (), "features": WIDTH, "rows": 10 * ROWS})
    with pytest.raises(InvalidInput, match=r"above a quarter of streaming.memory_mb and in one piece"):
        is_streamed(in_one_piece, SMALL)


def test_a_fit_on_all_rows_at_once_cannot_be_streamed():
    with pytest.raises(ValueError, match="lbfgs takes all rows at once"):
        TrainJob(
            model="m",
            data=Component(use="iris"),
            architecture=Component(use="logistic"),
            training=Training(optimizer="lbfgs"),
            streaming=SMALL,
        )


def test_a_source_of_one_table_gives_that(tmp_path):
    (tables,) = source_of(Component(use="iris")).tables(DataFiles())
    assert len(tables) == 150
