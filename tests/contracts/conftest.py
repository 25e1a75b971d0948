"""Running edges, and a control plane with the command line before it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from both_clients import Awaited, Connect
from control_server import Switch, Type, World, serving
from edge_rig import (
    Backend,
    Edge,
    end,
    first_table,
    launch,
)

from raymaas.cli.main import main
from raymaas.client import AsyncClient, Client


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Switch]]:
    """The URL of a control plane, and what it serves."""
    switch = Switch()
    with serving(switch) as url:
        yield url, switch


@pytest.fixture
def world(server: tuple[str, Switch]) -> World:
    """An empty one, behind the control plane."""
    world = World()
    server[1].app = world.app()
    return world


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of one kind, all closed at the end."""
    clients: list[Any] = []
    with asyncio.Runner() as runner:

        def make(url: str, **options: Any) -> Any:
            client = (
                Client(url, **options)
                if request.param == "sync"
                else Awaited(AsyncClient(url, **options), runner.get_loop())
            )
            clients.append(client)
            return client

        yield make
        for client in clients:
            client.close()


@pytest.fixture
def client(world: World, connect: Connect, server: tuple[str, Switch]) -> Any:
    """Of either kind, before that world."""
    return connect(server[0])


@pytest.fixture
def raymaas(server: tuple[str, Switch], capsys: pytest.CaptureFixture[str]) -> Type:
    """Types a command; gives its exit status, output and remarks."""

    def type_(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as raised:
            main(["--url", server[0], *arguments])
        shown = capsys.readouterr()
        return int(raised.value.code or 0), shown.out, shown.err

    return type_


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
