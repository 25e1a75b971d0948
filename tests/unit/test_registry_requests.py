"""What the registry asks of the store does not grow with the number of versions or of moves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from long_history import NEW_FILES, age, costs
from s3_server import S3Server

from raymaas.store import LocalStore, Store, open_store

Calls = dict[str, tuple[str, ...]]


def calls(store: Store, count: int) -> Calls:
    age(store, count)
    return {what: cost.calls for what, cost in costs(store, count).items()}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    return calls(LocalStore(tmp_path_factory.mktemp("few")), 10)


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_as_many_requests_at_ten_versions_as_at(few: Calls, tmp_path: Path, count: int) -> None:
    assert calls(LocalStore(tmp_path), count) == few


@pytest.mark.parametrize("count", [10, 1_000])
def test_as_many_requests_in_a_bucket_at(few: Calls, s3: S3Server, s3_prefix: str, count: int) -> None:
    assert calls(open_store(s3.url(s3_prefix)), count) == few


def test_a_publication_and_a_move_cost_these_requests(few: Calls) -> None:
    publish = Counter(few["publish"])
    # One for each file, and the reservation, the entry that leads from its data to it, and the manifest.
    assert publish["create"] == len(NEW_FILES) + 3
    assert publish["list"] == 0
    assert len(few["publish"]) == 8 + 2 * len(NEW_FILES)
    assert few["newest"] == ("first", "list", "read")
    assert few["get"] == ("read", "read")
    assert Counter(few["promote"])["create"] == 1
