"""Running edges, for the tests of requests and of survival."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edge_rig import (
    Backend,
    Edge,
    end,
    first_table,
    launch,
)


@pytest.fixture(scope="module")
def backends() -> Iterator[tuple[Backend, Backend, Backend]]:
    """Two Serve proxies and a control plane."""
    servers = (Backend(), Backend(), Backend())
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    yield servers
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def make_edge(tmp_path: Path, backends: tuple[Backend, Backend, Backend]) -> Iterator[Callable[..., Edge]]:
    started: list[Edge] = []

    def make(**changes: Any) -> Edge:
        started.append(launch(tmp_path / "e", **{"control": backends[2].address} | changes))
        return started[-1]

    yield make
    end(started)


@pytest.fixture
def edge(make_edge: Callable[..., Edge], backends: tuple[Backend, Backend, Backend]) -> Edge:
    """An edge of its own, following the first table."""
    edge = make_edge()
    edge.follow(first_table(backends))
    return edge


@pytest.fixture(scope="module")
def shared_edge(
    tmp_path_factory: pytest.TempPathFactory, backends: tuple[Backend, Backend, Backend]
) -> Iterator[Edge]:
    """An edge following the first table, for tests that only send requests."""
    edge = launch(tmp_path_factory.mktemp("e"), control=backends[2].address)
    edge.follow(first_table(backends))
    yield edge
    end([edge])
