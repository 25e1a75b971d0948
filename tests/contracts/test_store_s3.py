"""What only a bucket has: credentials, markers of others, Arrow beside it, processes that fork."""

from __future__ import annotations

import multiprocessing
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_server import BUCKET, S3Server

from raymaas.cli.local import up_options
from raymaas.data.dataset import open_dataset, prepare
from raymaas.errors import Denied, Unavailable
from raymaas.settings import load_settings
from raymaas.specs.jobs import Component
from raymaas.store import Store, open_store
from raymaas.store.s3 import S3Store
from raymaas.store.s3_client import S3Tuning
from raymaas.store.s3_place import S3Place


@pytest.fixture
def store(s3: S3Server, s3_prefix: str) -> Store:
    return open_store(s3.url(s3_prefix))


def test_a_bucket_that_does_not_exist_is_told_apart_from_a_key_that_does_not(s3: S3Server) -> None:
    store = open_store(s3.url("a", bucket="no-such-bucket"))
    for ask in (store.read, store.size, store.exists, store.delete, lambda key: store.create(key, b"x")):
        with pytest.raises(Unavailable, match="bucket 'no-such-bucket' does not exist"):
            ask("a/b")


def test_without_credentials_the_next_step_is_told(
    s3: S3Server, s3_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Denied, match="set AWS_ACCESS_KEY_ID"):
        open_store(s3.url(s3_prefix)).create("a/b", b"x")


def test_wrong_credentials_are_denied(s3: S3Server, s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = open_store(s3.url(s3_prefix))
    with pytest.raises(Denied, match="SignatureDoesNotMatch"):
        store.create("a/b", b"x")
    with pytest.raises(Denied):
        store.read("a/b")


def test_a_profile_s_credentials_are_used(
    s3: S3Server, s3_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {name: s3.environment[name.upper()] for name in ("aws_access_key_id", "aws_secret_access_key")}
    for name in keys:
        monkeypatch.delenv(name.upper())
    (tmp_path / "credentials").write_text(
        "\n".join(["[models]", *(f"{name} = {value}" for name, value in keys.items())])
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "models")
    store = open_store(s3.url(s3_prefix))
    store.create("a/b", b"x")
    assert store.read("a/b") == b"x"


def test_the_clock_is_the_server_s_in_whole_seconds(store: Store) -> None:
    before = datetime.now(UTC)
    now = store.now()  # of the same machine, as the server runs beside us
    assert now.microsecond == 0
    assert before - timedelta(seconds=1) < now <= datetime.now(UTC)


def test_what_others_put_under_names_that_are_no_keys_is_passed_over(
    s3: S3Server, s3_prefix: str, store: Store
) -> None:
    client = s3.client()
    store.create("runs/a/spec", b"x")
    for name in ("runs/", "runs/.hidden", "runs/a/", "runs/a/.validate_storage_marker", "runs/a/with space"):
        client.call_s3("put_object", Bucket=BUCKET, Key=f"{s3_prefix}/{name}", Body=b"")
    paging = S3Store(S3Place.parse(store.url), tuning=S3Tuning(keys_per_page=1))
    for each in (store, paging):
        assert each.list("", limit=2) == ["runs/a/spec"]
        assert each.first("runs/") == "runs/a/spec"
        assert each.children("runs/") == ["a"]


def test_a_store_may_be_the_whole_bucket(s3: S3Server, s3_prefix: str) -> None:
    store = open_store(s3.url(""))
    store.create(f"{s3_prefix}/a", b"x")
    assert store.list(f"{s3_prefix}/") == [f"{s3_prefix}/a"]
    assert "tests" in store.children("")


def test_arrow_reads_and_writes_beside_the_store_and_carries_no_secret(s3: S3Server, store: Store) -> None:
    filesystem, root = store.arrow_filesystem()
    assert s3.environment["AWS_SECRET_ACCESS_KEY"].encode() not in pickle.dumps(filesystem)
    table = pa.table({"x": [1, 2, 3]})
    filesystem.create_dir(f"{root}/runs/r-1/train")
    pq.write_table(table, f"{root}/runs/r-1/train/part.parquet", filesystem=filesystem)
    assert store.list("") == ["runs/r-1/train/part.parquet"]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.create("data/part.parquet", sink.getvalue().to_pybytes())
    assert pq.read_table(f"{root}/data/part.parquet", filesystem=filesystem).equals(table)


def test_a_data_set_prepared_in_a_bucket_is_read_back(store: Store) -> None:
    prepared = prepare(store, Component(use="digits"))
    again = prepare(store, Component(use="digits"))
    opened = open_dataset(store, "digits", prepared.card.fingerprint)
    assert prepared.card == again.card == opened.card
    assert (opened.rows.x_ND == prepared.rows.x_ND).all()


def test_up_takes_a_bucket_and_refuses_one_that_is_not_there(
    s3: S3Server, s3_prefix: str, tmp_path: Path
) -> None:
    url = s3.url(s3_prefix)
    assert up_options(load_settings({}, home=str(tmp_path), storage=url)).storage == url
    absent = s3.url(s3_prefix, bucket="no-such-bucket")
    with pytest.raises(Unavailable, match="no-such-bucket"):
        up_options(load_settings({}, home=str(tmp_path), storage=absent))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_goes_on_with_the_store_it_inherited(store: Store) -> None:
    store.create("a/parent", b"x")
    child = multiprocessing.get_context("fork").Process(target=store.create, args=("a/child", b"y"))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == 0
    assert store.list("a/") == ["a/child", "a/parent"]
