"""The long poll of the controller, against a real HTTP server."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from raymaas.errors import Denied, IntegrityError, Unavailable
from raymaas.serve.edge.source import HttpController
from raymaas.specs.serving import EdgeTable

SECRET = "canary_0123456789abcdef"
TABLE = EdgeTable(revision="r7", proxies=("127.0.0.1:8000",))


class Controller(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status = 200
        self.body = TABLE.seal()
        self.asked: list[str] = []


class Answer(http.server.BaseHTTPRequestHandler):
    server: Controller

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        known = self.headers.get("x-raymaas-edge") == SECRET
        self.send_response(self.server.status if known else 401)
        self.end_headers()
        if known and self.server.status == 200:
            self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def controller() -> Iterator[Controller]:
    server = Controller()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def source(controller: Controller) -> Iterator[HttpController]:
    source = HttpController(f"http://127.0.0.1:{controller.server_address[1]}", secret=SecretStr(SECRET))
    yield source
    source.close()


def test_it_asks_for_what_is_newer_and_reads_the_sealed_table(
    controller: Controller, source: HttpController
) -> None:
    assert source(None, 10.0) == TABLE
    assert source("r6", 0.5) == TABLE
    assert controller.asked == [
        "/internal/edge-table?wait_s=10",
        "/internal/edge-table?wait_s=0.5&after=r6",
    ]


def test_not_modified_means_nothing_newer(controller: Controller, source: HttpController) -> None:
    controller.status = 304
    assert source("r7", 0.1) is None


def test_a_controller_in_trouble_is_unavailable(controller: Controller, source: HttpController) -> None:
    controller.status = 500
    with pytest.raises(Unavailable, match="answered 500"):
        source(None, 0.1)


def test_a_damaged_table_is_not_used(controller: Controller, source: HttpController) -> None:
    controller.body = TABLE.seal().replace(b"8000", b"8001")
    with pytest.raises(IntegrityError, match="digest"):
        source(None, 0.1)


def test_another_secret_is_named_as_the_reason(controller: Controller) -> None:
    stranger = HttpController(
        f"http://127.0.0.1:{controller.server_address[1]}", secret=SecretStr("wrong_wrong_wrong_")
    )
    with pytest.raises(Denied, match="refuses the edge's secret") as denied:
        stranger(None, 0.1)
    assert "wrong_wrong" not in str(denied.value)
    stranger.close()


def test_a_controller_that_is_away_is_unavailable() -> None:
    away = HttpController("http://127.0.0.1:1", secret=SecretStr(SECRET))
    with pytest.raises(Unavailable, match="the last routes stay"):
        away(None, 0.1)
    away.close()
