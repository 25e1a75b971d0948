"""IDX files: every value type, the test part of a set, and what damage is called."""

from __future__ import annotations

import gzip
import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from raymaas.data.dataset import Dataset, prepare
from raymaas.data.sources.idx import read_idx
from raymaas.data.split import split
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Component, Split
from raymaas.store import MemoryStore

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: np.ndarray) -> bytes:
    """`array` as the format's page describes it: two zeros, type, dimensions, sizes and values, big-endian."""
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """40 training and 10 test images of 2 x 3 pixels, gzipped and not, as the settings of the importer."""
    generator, written = np.random.default_rng(0), {}
    for prefix, rows in (("", 40), ("test_", 10)):
        arrays = {
            "images": generator.integers(0, 256, (rows, 2, 3)).astype(np.uint8),
            "labels": (np.arange(rows) % 3).astype(np.uint8),
        }
        for name, array in arrays.items():
            path = tmp_path / f"{prefix}{name}.idx"
            path.write_bytes(gzip.compress(idx_bytes(array)) if prefix else idx_bytes(array))
            written[prefix + name] = str(path)
    return written


def load(config: dict[str, str]) -> Dataset:
    store = MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    return prepare(store, Component(use="idx", config=dict(config)))


@pytest.mark.parametrize("kind", CODES)
def test_every_type_of_value_is_read(kind):
    array = np.arange(-3 if kind != "u1" else 0, 9, dtype=kind).reshape(-1, 3)
    read = read_idx(idx_bytes(array), source="numbers")
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_files_of_a_test_part_follow_the_training_rows(files):
    dataset = load(files)
    assert (dataset.card.shape, dataset.card.classes) == ((2, 3), ("0", "1", "2"))
    assert dataset.card.own_parts == {"train": 40, "test": 10}
    assert split(dataset, Split(test="given")).test.id_N.tolist() == list(range(40, 50))
    images = read_idx(Path(files["test_images"]).read_bytes(), source="test images")
    np.testing.assert_array_equal(dataset.rows.x_ND[40:], images)


def test_without_a_test_part_there_is_no_division(files):
    dataset = load({name: files[name] for name in ("images", "labels")})
    assert (dataset.card.rows, dataset.card.own_parts) == (40, {})


def test_half_a_test_part_is_refused(files):
    del files["test_labels"]
    with pytest.raises(InvalidInput, match="test_images and test_labels go together"):
        load(files)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file: it begins with nothing"),
        (b"GIF89a", "is not an IDX file: it begins with 47 49 46 38"),
        (idx_bytes(np.zeros((40, 2, 3), np.uint8))[:9], "ends within its header of 16 bytes"),
        (
            idx_bytes(np.zeros((40, 2, 3), np.uint8))[:-1],
            r"has 255 bytes, but its header, \[40, 2, 3\] of uint8, says 256",
        ),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], "is damaged gzip"),
        (idx_bytes(np.zeros((39, 2, 3), np.uint8)), r"has 39 rows, but their labels have the shape \[40\]"),
        (idx_bytes(np.zeros(40, np.uint8)), "one shape of at least one dimension"),
        (idx_bytes(np.zeros((40, 3, 3), np.uint8)), r"one shape of .* got \[\(2, 3\), \(3, 3\)\]"),
    ],
)
def test_a_file_that_is_damaged_or_does_not_fit_is_named(files, content, message):
    Path(files["images"]).write_bytes(content)
    with pytest.raises(
        InvalidInput, match=rf"images\.idx.*{message}" if "shape of" not in message else message
    ):
        load(files)
