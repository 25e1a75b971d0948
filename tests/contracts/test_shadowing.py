"""Shadowing beside a replica: what is dropped, where copies go, and how often anybody looks for that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import orjson
import pytest
from edge_rig import eventually

from raymaas.serve.app import Copy
from raymaas.serve.plan import Target
from raymaas.serve.shadowing import Shadowing, SinceLast
from raymaas.specs.requests import Compared


def copy(value: float = 1.0, *, rows: int = 1, version: int = 3) -> Copy:
    """A request that was answered with twice what was asked."""
    x = np.full((rows, 2), value, np.float32)
    return Copy(version, b"secret", b"r-1", {"x": x}, {"y": x * 2})


class Other(ThreadingHTTPServer):
    """The version that shadows: it answers twice what it is asked, and a negative number with its triple."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.may = threading.Event()
        self.may.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Other

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.server.may.wait()
        head = int(self.headers["inference-header-content-length"])
        x = np.frombuffer(raw[head:], np.float32).reshape(orjson.loads(raw[:head])["inputs"][0]["shape"])
        y = np.where(x < 0, x * 3, x * 2).astype(np.float32)
        tensor = {
            "name": "y",
            "datatype": "FP32",
            "shape": y.shape,
            "parameters": {"binary_data_size": y.nbytes},
        }
        answer = orjson.dumps({"model_name": "digits", "model_version": "3", "outputs": [tensor]})
        self.send_response(200)
        self.send_header("inference-header-content-length", str(len(answer)))
        self.send_header("content-length", str(len(answer) + y.nbytes))
        self.end_headers()
        self.wfile.write(answer + y.tobytes())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other() -> Iterator[Other]:
    server = Other()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.may.set()
    server.shutdown()
    thread.join()
    server.server_close()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Rig:
    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.looks = 0
        self.waiting = 0
        self.clock = Clock()

    def look(self, target: Target) -> list[str]:
        assert target == Target("digits", 3)
        self.looks += 1
        return self.addresses

    @contextmanager
    def shadowing(self) -> Iterator[Shadowing]:
        shadowing = Shadowing(
            Target("digits", 1),
            classes=(),
            addresses=self.look,
            waiting=lambda: self.waiting,
            timeout_s=10,
            clock=self.clock,
        )
        shadowing.start()
        yield shadowing
        shadowing.close(timeout_s=10)


def test_rows_are_compared_and_the_other_version_knows_what_it_is_asked(other: Other) -> None:
    with Rig(other.address).shadowing() as shadowing:
        shadowing(copy(rows=3))
        shadowing(copy(-1.0, rows=2))
        expected = {3: Compared(rows=5, rows_disagreed=2, errors=0, dropped=0)}
        eventually(lambda: shadowing.totals() == expected, "both are compared")
    path, headers = other.seen[0]
    assert path == "/models/digits/3/v2/models/digits/versions/3/infer"
    told = {name: headers[name] for name in headers if name.startswith("x-")}
    assert told == {"x-raymaas-edge": "secret", "x-raymaas-copy": "1", "x-request-id": "r-1"}


def test_copies_are_dropped_and_counted_while_requests_wait(other: Other) -> None:
    rig = Rig(other.address)
    rig.waiting = 1
    with rig.shadowing() as shadowing:
        for _ in range(5):
            shadowing(copy())
        assert shadowing.totals() == {3: Compared(rows=0, rows_disagreed=0, errors=0, dropped=5)}
    assert other.seen == []


def test_one_copy_is_under_way_few_wait_and_the_rest_is_dropped(other: Other) -> None:
    other.may.clear()
    with Rig(other.address).shadowing() as shadowing:
        shadowing(copy())
        eventually(lambda: other.seen, "the first is under way")
        for _ in range(100):
            shadowing(copy())
        assert shadowing.totals()[3].dropped == 92
        assert len(other.seen) == 1
        other.may.set()
        eventually(lambda: shadowing.totals()[3].rows == 9, "those that waited were sent")


def test_what_is_too_large_to_keep_is_dropped(other: Other) -> None:
    with Rig(other.address).shadowing() as shadowing:
        shadowing(copy(rows=2**20))
        assert shadowing.totals()[3].dropped == 1


def test_where_the_others_are_is_looked_up_now_and_then_and_each_has_its_turn(other: Other) -> None:
    rig = Rig("127.0.0.1:1", other.address)

    def counted(errors: int, rows: int) -> bool:
        found = shadowing.totals().get(3)
        return found is not None and (found.errors, found.rows) == (errors, rows)

    with rig.shadowing() as shadowing:
        shadowing(copy())
        eventually(lambda: counted(1, 0), "nobody listens there")
        for number in range(1, 4):
            shadowing(copy())
            eventually(lambda number=number: counted(1, number), "the other answers")  # type: ignore[misc]
        assert rig.looks == 1
        rig.clock.now_s = 10
        rig.addresses = []
        shadowing(copy())
        eventually(lambda: counted(2, 3), "there is none any more")
        assert rig.looks == 2


def test_only_what_is_new_is_told() -> None:
    totals = {3: Compared(rows=5, rows_disagreed=1, errors=0, dropped=0)}
    since = SinceLast(lambda: dict(totals))
    assert since() == totals
    assert since() == {}
    totals |= {
        3: Compared(rows=7, rows_disagreed=1, errors=1, dropped=0),
        4: Compared(rows=1, rows_disagreed=0, errors=0, dropped=0),
    }
    assert since() == {3: Compared(rows=2, rows_disagreed=0, errors=1, dropped=0), 4: totals[4]}
