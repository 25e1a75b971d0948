"""One real cluster per session, driven as a user would: through the CLI, HTTP and the Python client."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from journey_home import Home


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A running cluster."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.cli("up")
    yield home
    home.cli("down", check=False)


@pytest.fixture(scope="session")
def digits(home: Home) -> str:
    """`digits@1`, trained by `raymaas train` and deployed by `raymaas deploy`."""
    home.cli("train", "jobs/train_digits.yaml", RAYMAAS_URL=home.plan().url)
    home.cli("deploy", "digits@1", RAYMAAS_URL=home.plan().url)
    return "digits@1"


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().data, dtype=np.float32)
