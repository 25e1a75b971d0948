"""One version's HTTP application, called as an ASGI server calls it."""

import asyncio
import hashlib
from typing import Any

import numpy as np
import orjson
import pytest

from raymaas.errors import Unavailable
from raymaas.serve.app import InferenceApp, Served
from raymaas.serve.asgi import AsgiApp
from raymaas.serve.oip.limits import MAX_BODY_BYTES
from raymaas.specs.versions import Signature, TensorSpec

SECRET = "the-secret-of-this-edge"
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 2)),),
    outputs=(TensorSpec(name="double", dtype="FP32", shape=(-1, 2)),),
)


class Recorded:
    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.requests: list[tuple[str, int | None]] = []
        self.key_ids: list[str] = []
        self.shadows: list[bool] = []

    def __call__(
        self, *, status: int, seconds: float, request_id: str, rows: int | None, key_id: str, shadow: bool
    ) -> None:
        assert seconds >= 0
        self.statuses.append(status)
        self.requests.append((request_id, rows))
        self.key_ids.append(key_id)
        self.shadows.append(shadow)


class Caller:
    """The application of digits@3 mounted at its prefix, and what it recorded."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.recorded = Recorded()

        async def compute(method: str, inputs: dict[str, np.ndarray], **_: object) -> dict[str, np.ndarray]:
            if failure:
                raise failure
            return {"double": inputs["x"] * 2}

        app = InferenceApp(
            Served(model="digits", version="3", signature=SIGNATURE, runtime="test"),
            compute=compute,
            secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
            record=self.recorded,
        )
        self.app = AsgiApp(app.answer, max_body_bytes=MAX_BODY_BYTES)

    def __call__(
        self, method: str, path: str, *, chunks: list[bytes] | None = None, secret: str | None = SECRET
    ) -> tuple[int, dict[str, Any], dict[bytes, bytes]]:
        headers = [(b"x-request-id", b"r-1"), (b"x-raymaas-key", b"0123abcd")]
        headers += [(b"x-raymaas-edge", secret.encode())] if secret else []
        scope = {
            "type": "http",
            "method": method,
            "root_path": "/models/digits/3",
            "path": f"/models/digits/3{path}",
            "headers": headers,
        }
        parts = chunks or [b""]
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": i < len(parts) - 1}
            for i, part in enumerate(parts)
        ]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        return sent[0]["status"], orjson.loads(sent[1]["body"]), dict(sent[0]["headers"])


INFER = "/v2/models/digits/versions/3/infer"


def test_a_body_in_pieces_is_answered_with_the_request_id() -> None:
    status, body, headers = Caller()("POST", INFER, chunks=[b'{"inputs": [[1,', b" 2]]}"])

    assert status == 200
    assert body["outputs"] == {"double": [[2.0, 4.0]]}
    assert headers[b"x-request-id"] == b"r-1"


@pytest.mark.parametrize("path", ["/v2", "/v2/models/digits", "/v2/models/digits/ready", INFER])
@pytest.mark.parametrize("secret", [None, "wrong", "", "the-secret-of-this-edge "])
def test_every_path_but_health_needs_the_secret(path: str, secret: str | None) -> None:
    method = "POST" if path == INFER else "GET"

    status, body, _ = Caller()(method, path, secret=secret)

    assert status == 401
    assert body["code"] == "denied"
    assert Caller()("GET", "/v2/health/live", secret=None)[0] == 200


def test_metadata_and_readiness_are_those_of_this_version() -> None:
    _, metadata, _ = Caller()("GET", "/v2/models/digits")

    assert metadata["versions"] == ["3"]
    assert metadata["platform"] == "raymaas_test"
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert Caller()("GET", "/v2/models/digits/versions/3/ready")[1] == {"name": "digits", "ready": True}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/models/digits/versions/4/infer"),
        ("POST", "/v2/models/other/infer"),
        ("GET", INFER),
        ("POST", "/v2/models/digits"),
        ("GET", "/elsewhere"),
    ],
)
def test_another_version_or_path_is_a_404_that_says_what_is_here(method: str, path: str) -> None:
    status, body, _ = Caller()(method, path)

    assert status == 404
    assert "digits" in body["error"]


def test_a_fault_of_the_model_is_a_500_without_its_details() -> None:
    caller = Caller(failure=RuntimeError("secret path /home/me"))

    status, body, _ = caller("POST", INFER, chunks=[b'{"inputs": [[1, 2]]}'])

    assert status == 500
    assert "secret path" not in body["error"]
    assert "request id" in body["error"]


def test_what_is_temporary_is_a_503() -> None:
    assert Caller(failure=Unavailable("busy"))("POST", INFER, chunks=[b'{"inputs": [[1, 2]]}'])[0] == 503


def test_every_answer_is_recorded_with_its_status() -> None:
    caller = Caller()

    caller("POST", INFER, chunks=[b'{"inputs": [[1, 2]]}'])
    caller("POST", INFER, chunks=[b'{"inputs": [[1]]}'])
    caller("POST", INFER, secret=None)

    assert caller.recorded.statuses == [200, 400, 401]
    assert caller.recorded.requests == [("r-1", 1), ("r-1", None), ("r-1", None)]
    assert caller.recorded.key_ids == ["0123abcd"] * 3


def test_a_body_beyond_the_limit_is_refused_before_it_is_all_read() -> None:
    chunk = b" " * (9 * 1024 * 1024)

    status, body, _ = Caller()("POST", INFER, chunks=[chunk, chunk, chunk])

    assert (status, body["code"]) == (413, "too-large")
    assert "larger than" in body["error"]
