"""One real cluster per session, driven as a user would: through the CLI, HTTP and the Python client."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from journey_home import ROOT, Home, Written


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A running cluster."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.cli("up")
    yield home
    home.cli("down", check=False)


@pytest.fixture(scope="session")
def readme(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The README's dozen lines, run on a new cluster: they train `digits@1` and deploy it."""
    text = (ROOT / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", text, re.DOTALL)
    assert found is not None, "the README has a program and what it prints"
    program = tmp_path_factory.mktemp("readme") / "readme.py"
    program.write_text(found[1])
    return Written(said=found[2], printed=home.python(program))


@pytest.fixture(scope="session")
def digits(readme: Written) -> str:
    """`digits@1`, trained and deployed."""
    return "digits@1"


@pytest.fixture(scope="session")
def rows() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().data, dtype=np.float32)
