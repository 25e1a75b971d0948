"""Files and folders a user names by a path or a URL: the same bytes from a disk and from a bucket."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import S3Server

from raymaas.errors import InvalidInput, NotFound
from raymaas.store import open_store
from raymaas.store.places import file_at, files_at, read_folder, read_place

FILES = {"cat/a.png": b"1", "cat/b.png": b"2", "dog/c.png": b"3", "top.csv": b"a,b"}


@pytest.fixture(params=["path", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """What names `FILES` and what lies below them, by each way."""
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        prefix: str = request.getfixturevalue("s3_prefix")
        url = server.url(prefix)
    else:
        url = tmp_path.as_uri() if request.param == "file" else str(tmp_path)
    store = open_store(url)
    for name, data in FILES.items():
        store.create(name, data)
    where, question, fields = url.partition("?")
    return lambda name: f"{where}/{name}".rstrip("/") + question + fields


def test_a_file_is_read(place):
    assert read_place(place("cat/b.png")) == b"2"
    file = file_at(place("cat/b.png"))
    assert file.open().read() == file.open().read() == b"2"


def test_a_folder_is_read_in_the_order_of_its_paths(place):
    assert list(read_folder(place(""))) == sorted(FILES.items())
    assert list(read_folder(place("cat"))) == [("a.png", b"1"), ("b.png", b"2")]


def test_files_are_opened_by_folder_and_by_name(place):
    assert [file.open().read() for file in files_at(place("cat"))] == [b"1", b"2"]
    (one,) = files_at(place("cat/b.png"))
    assert one.open().read() == one.open().read() == b"2"
    assert [file.place.rpartition("/")[2] for file in files_at(place(""))] == [
        "a.png",
        "b.png",
        "c.png",
        "top.csv",
    ]
    with pytest.raises(NotFound):
        files_at(place("none"))


def test_what_is_not_there_is_not_found(place):
    with pytest.raises(NotFound):
        read_place(place("none.csv"))
    with pytest.raises(NotFound, match=r"none.csv.* does not exist"):
        file_at(place("none.csv")).open()
    with pytest.raises(NotFound):
        list(read_folder(place("none")))


def test_hidden_files_are_left_out_and_any_name_is_read(tmp_path):
    for name in (".DS_Store", ".git/x.png", "cat/.thumb", "cat/ä ö.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"4")
    assert list(read_folder(str(tmp_path))) == [("cat/ä ö.png", b"4")]


def test_another_machines_file_and_an_unknown_scheme_are_refused():
    with pytest.raises(InvalidInput, match="names the host 'server'"):
        read_place("file://server/share/a.csv")
    with pytest.raises(InvalidInput, match="unknown scheme 'gopher'"):
        read_place("gopher://server/a.csv")
