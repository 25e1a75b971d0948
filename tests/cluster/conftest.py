"""A Ray, a store and a data set that the tests of one file share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from digits_fits import JOB

from raymaas.data.dataset import Dataset, prepare
from raymaas.store import LocalStore


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray of our own on two cores, its sockets in a short folder, its token not the user's."""
    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory(prefix="rt") as folder:
        token = Path(folder, "token")
        token.touch(mode=0o600)
        token.write_text("0123456789abcdef" * 4)
        environment.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        # Ray read the mode when it was imported; set now, it would be half believed. Unset, init turns it on.
        environment.delenv("RAY_AUTH_MODE", raising=False)
        # Ray Train's controller looks every 2 s by default, and a checkpoint waits for it.
        environment.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        environment.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # as on a head of our own
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
        try:
            yield ray.get_runtime_context().gcs_address
        finally:
            ray.shutdown()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def dataset(store: LocalStore) -> Dataset:
    return prepare(store, JOB.data)
