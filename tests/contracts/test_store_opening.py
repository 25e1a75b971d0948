"""Opening stores: what each URL means, and what is refused and how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raymaas.errors import InvalidInput, NotFound
from raymaas.store import LocalStore, open_store


def test_a_store_opens_by_url_by_path_and_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    LocalStore(tmp_path / "my store").create("a/b", b"here")
    for url in ("my store", "~/my store", str(tmp_path / "my store"), f"file://{tmp_path}/my%20store"):
        assert open_store(url).read("a/b") == b"here"
    opened = open_store("my store")
    assert open_store(opened.url).read("a/b") == b"here"
    monkeypatch.chdir("/")
    assert opened.read("a/b") == b"here"


def test_opening_writes_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "new"))
    assert store.first("models/") is None
    with pytest.raises(NotFound):
        store.read("a/b")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("memory://", "invisible to every other process"),
        ("s3://", "is not a bucket"),
        ("s3:///prefix", "is not a bucket"),
        ("s3://Bucket/prefix", "is not a bucket"),
        ("s3://b", "is not a bucket"),
        ("s3://bucket/a/../b", "cannot be a prefix"),
        ("s3://bucket/a//b", "cannot be a prefix"),
        ("s3://bucket/a#b", "cannot be a prefix"),
        ("s3://bucket/" + "a" * 121, "cannot be a prefix"),
        ("s3://bucket?endpoint=http://host", "did you mean 'endpoint_url'"),
        ("s3://bucket?verify=no", "known are endpoint_url, region"),
        ("s3://bucket?endpoint_url", "name=value"),
        ("s3://bucket?endpoint_url=host:9000", "is not an endpoint"),
        ("s3://bucket?endpoint_url=http://host:port", "is not an endpoint"),
        ("s3://bucket?endpoint_url=http://host/path", "must end after the port"),
        ("s3://bucket?region=Mars!", "is not a region"),
        ("gs://bucket", "unknown scheme 'gs'"),
        ("file://data/store", "write file:///data/store"),
        ("", "names no folder"),
        ("file://", "names no folder"),
    ],
)
def test_urls_that_cannot_be_opened_say_why(url: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        open_store(url)


def test_a_file_is_not_opened_as_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="a store is a folder"):
        open_store(str(tmp_path / "file"))


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/a/b",
        "s3://bucket/a?region=eu-central-1",
        "s3://bucket/a?endpoint_url=http://127.0.0.1:9000&region=us-east-1",
        "s3://bucket/a?endpoint_url=https://[::1]:9000",
    ],
)
def test_an_s3_url_is_kept_as_it_was_given(url: str) -> None:
    assert open_store(url).url == url


def test_an_s3_url_may_be_quoted_and_end_in_a_slash() -> None:
    quoted = "s3://bucket/a/?region=us-east-1&endpoint_url=http%3A%2F%2F127.0.0.1%3A9000%2F"
    assert open_store(quoted).url == "s3://bucket/a?endpoint_url=http://127.0.0.1:9000&region=us-east-1"


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA123:hunter2@bucket/a",
        "s3://bucket/a?endpoint_url=http://AKIA123:hunter2@host:9000",
        "s3://bucket/a?aws_secret_access_key=hunter2",
        "s3://bucket/a?secret=hunter2",
        "s3://bucket/a?token=hunter2",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="AWS_ACCESS_KEY_ID") as raised:
        open_store(url)
    assert "hunter2" not in str(raised.value)


def test_a_folder_is_opened_without_loading_s3fs() -> None:
    code = "import sys; from raymaas.store import open_store; open_store('/x'); print('s3fs' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
