"""The S3 server of a test session, started by the first test that asks for it, and the options of soak tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from itertools import count

import hypothesis
import pytest
from s3_server import S3Server

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# A job in a shell's background ignores SIGINT, and so would the processes that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("soak")
    group.addoption("--soak-kills", type=int, default=20, help="random kills of a training (default: 20)")
    group.addoption("--soak-seed", type=int, default=None, help="repeat the kills of that seed")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running server. From now on this process, and those it starts, have the keys to it."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        try:
            server.start()
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture
def s3_prefix(_numbers: Iterator[int]) -> str:
    """A prefix of the session's bucket that no other test uses."""
    return f"tests/{next(_numbers)}"
