"""A store and a data set that the tests of one file share."""

import pytest
from digits_fits import JOB

from raymaas.data.dataset import Dataset, prepare
from raymaas.store import LocalStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def dataset(store: LocalStore) -> Dataset:
    return prepare(store, JOB.data)
