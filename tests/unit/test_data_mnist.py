"""Sets known by name and digest: where their files are looked for, downloads, and what a wrong file is called."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from raymaas.data.dataset import open_dataset, prepare
from raymaas.data.sources.base import DataFiles
from raymaas.data.sources.fetching import KnownFile, fetch
from raymaas.data.sources.mnist import TEST, TRAIN
from raymaas.data.split import split
from raymaas.errors import IntegrityError, NotFound, Unavailable
from raymaas.settings import load_settings
from raymaas.specs.jobs import Component, Split
from raymaas.store import MemoryStore
from raymaas.wiring import data_files

CONTENT = bytes(range(256)) * 5000
FILE = KnownFile("small", "values.gz", len(CONTENT), hashlib.md5(CONTENT).hexdigest())

DATASETS = Path(os.environ.get("RAYMAAS_DATASETS") or Path(__file__).resolve().parents[3] / "shared" / "data")
"""Where MNIST may be: as the user says, else beside the checkout."""


@pytest.fixture
def files(tmp_path: Path) -> DataFiles:
    return DataFiles(folder=tmp_path / "mine", cache=tmp_path / "cache")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a real HTTP server, and the folder it serves."""
    folder = tmp_path / "mirror"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", folder
        server.shutdown()
        thread.join()


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("place", ["mine/small/values.gz", "mine/values.gz", "cache/small/values.gz"])
def test_a_file_is_found_in_the_folder_or_the_cache_however_it_was_packed(tmp_path, files, place):
    for packed in (gzip.compress(CONTENT, 1), gzip.compress(CONTENT, 9), CONTENT):
        put(tmp_path / place, packed)
        assert fetch(FILE, files, mirror="") == CONTENT


def test_the_users_folder_comes_before_the_cache(tmp_path, files):
    put(tmp_path / "cache/small/values.gz", b"another file")
    put(tmp_path / "mine/small/values.gz", CONTENT)
    assert fetch(FILE, files, mirror="") == CONTENT


def test_a_wrong_file_is_named_with_both_digests(tmp_path, files):
    put(tmp_path / "mine/small/values.gz", b"another file")
    found = hashlib.md5(b"another file").hexdigest()
    with pytest.raises(
        IntegrityError, match=rf"mine/small/values\.gz .* should be {FILE.md5} and is {found}"
    ):
        fetch(FILE, files, mirror="")
    put(tmp_path / "mine/small/values.gz", gzip.compress(CONTENT)[:-9])
    with pytest.raises(IntegrityError, match=r"mine/small/values\.gz is damaged gzip"):
        fetch(FILE, files, mirror="")


def test_a_file_that_inflates_to_more_than_its_size_is_not_inflated_whole(tmp_path, files):
    put(tmp_path / "mine/values.gz", gzip.compress(bytes(10 * len(CONTENT))))
    beginning = hashlib.md5(bytes(len(CONTENT) + 1)).hexdigest()
    with pytest.raises(IntegrityError, match=f"should be {FILE.md5} and is {beginning}"):
        fetch(FILE, files, mirror="")


def test_a_download_is_told_of_and_kept(tmp_path, files, mirror):
    url, folder = mirror
    put(folder / "values.gz", gzip.compress(CONTENT, 0))
    told: list[str] = []
    listening = DataFiles(folder=files.folder, cache=files.cache, say=told.append)
    assert fetch(FILE, listening, mirror=url) == CONTENT
    assert told[0] == f"downloading {url}values.gz"
    assert "values.gz: 100 % of" in told[-1]
    (folder / "values.gz").unlink()
    assert fetch(FILE, listening, mirror=url) == CONTENT
    assert [path.name for path in (tmp_path / "cache/small").iterdir()] == ["values.gz"]


def test_what_a_mirror_gives_is_kept_only_if_it_is_the_file(tmp_path, files, mirror):
    url, folder = mirror
    for wrong in (b"another file", CONTENT + b"and more"):
        put(folder / "values.gz", wrong)
        with pytest.raises(IntegrityError, match=rf"{url}values.gz .* should be {FILE.md5}"):
            fetch(FILE, files, mirror=url)
    assert not (tmp_path / "cache").exists()


def test_a_mirror_without_the_file_and_no_mirror_at_all(files, mirror):
    with pytest.raises(
        Unavailable, match=r"values.gz cannot be downloaded: .*404.*; try again, .*RAYMAAS_DATASETS"
    ):
        fetch(FILE, files, mirror=mirror[0])
    with pytest.raises(Unavailable, match="cannot be downloaded: unknown url type"):
        fetch(FILE, files, mirror="mirror.example")
    with pytest.raises(NotFound, match=r"nothing is downloaded; put it at .*mine/small/values\.gz"):
        fetch(FILE, files, mirror="")
    with pytest.raises(NotFound, match=r"put it at a folder that RAYMAAS_DATASETS names|into a folder"):
        fetch(FILE, DataFiles(), mirror="")


def test_the_environment_says_where_files_are(tmp_path):
    environment = {
        "RAYMAAS_HOME": str(tmp_path),
        "RAYMAAS_DATASETS": "/data/sets",
        "RAYMAAS_MNIST_MIRROR": "http://m/",
    }
    files = data_files(load_settings(environment))
    assert (files.folder, files.cache, files.mnist_mirror) == (
        Path("/data/sets"),
        tmp_path / "datasets",
        "http://m/",
    )
    assert data_files(load_settings({"RAYMAAS_HOME": str(tmp_path)})).folder is None


@pytest.mark.skipif(
    not all((DATASETS / "mnist" / file.name).is_file() for file in (*TRAIN, *TEST)),
    reason=f"MNIST's files are not in {DATASETS / 'mnist'}; set RAYMAAS_DATASETS to the folder above them",
)
def test_mnist_is_70_000_images_with_its_own_test_part():
    store = MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    card = prepare(store, Component(use="mnist"), files=DataFiles(folder=DATASETS)).card
    assert (card.rows, card.shape, card.own_parts) == (70_000, (28, 28), {"train": 60_000, "test": 10_000})
    assert card.fingerprint == "341a0165f9d9d1073062078c8574798be1d44ce6ca670f5e2e5ae787178ab691"
    parts = split(open_dataset(store, "mnist", card.fingerprint), Split(test="given", validation=0.1))
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [53_000, 7_000, 10_000]
    assert parts.test.y_N[:5].tolist() == [7, 2, 1, 0, 4]
    assert (parts.test.x_ND.min(), parts.test.x_ND.max()) == (0, 255)
