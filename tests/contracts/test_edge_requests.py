"""The edge against a real HAProxy: what a client sees, what a replica sees, and what is refused."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from edge_rig import (
    MAX_BODY,
    SECRET,
    Backend,
    Edge,
    ask,
    eventually,
    served_path,
)

from raymaas.cluster.ports import free_ports
from raymaas.registry.requests import time_in


def test_traffic_follows_the_weights(shared_edge: Edge) -> None:
    with shared_edge.connection() as connection:
        paths = [ask(connection, "/v2/models/digits/infer", b"x")[1]["path"] for _ in range(1000)]
    seen = Counter(paths)
    assert seen.keys() == {served_path(1, "/infer"), served_path(2, "/infer")}
    # 100 expected, standard deviation 9.5: five of them.
    assert 52 < seen[served_path(2, "/infer")] < 148


def test_a_version_is_pinned_and_an_alias_followed(shared_edge: Edge) -> None:
    for ref, version in (("3", 3), ("prod", 2), ("1", 1)):
        status, seen, _ = shared_edge.ask(f"/v2/models/digits/versions/{ref}/infer?x=1", b"abc")
        assert (status, seen["path"], seen["body_bytes"]) == (200, served_path(version, "/infer?x=1"), 3)
    assert shared_edge.ask("/v2/models/digits/versions/prod")[1]["path"] == served_path(2, "")
    assert shared_edge.ask("/v2/models/digits")[1]["path"] in (served_path(1, ""), served_path(2, ""))


def test_what_no_live_version_answers_goes_to_the_control_plane(
    shared_edge: Edge, backends: tuple[Backend, ...]
) -> None:
    for path in (
        "/",
        "/v2",
        "/v2/health/ready",
        "/v2/repository/index",
        "/api/v1/models",
        "/v2/models",
        "/v2/models/digitz/infer",
        "/v2/models/digits/versions/9/infer",
        "/v2/models/digits/versions/staging",
        "/v2/models/digits/versions",
        "/v2/models/digits%237/infer",
    ):
        status, seen, _ = shared_edge.ask(path, headers={"x-raymaas-who": "root"})
        assert (status, seen["server"], seen["path"]) == (200, backends[2].server_address[1], path)
        assert not [name for name in seen["headers"] if name.startswith("x-raymaas")]


def test_who_asks_reaches_the_control_api_and_nothing_else(shared_edge: Edge) -> None:
    def users(path: str) -> list[str]:
        headers = shared_edge.ask(path, headers={"X-RayMaaS-User": "ana", "x-raymaas-edge": "mine"})[1][
            "headers"
        ]
        assert headers.get("x-raymaas-edge") in (None, SECRET)
        return [value for name, value in headers.items() if name.lower() == "x-raymaas-user"]

    assert users("/api/v1/models") == ["ana"]
    assert users("/v2/models/digits") == users("/v2/repository/index") == []
    headers = shared_edge.ask("/api/v1/models")[1]["headers"]
    assert "x-raymaas-user" not in headers


def test_liveness_is_the_edges_own_and_a_control_plane_that_is_down_is_a_503_in_json(
    make_edge: Callable[..., Edge],
) -> None:
    edge = make_edge(control=f"127.0.0.1:{free_ports(1)[0]}")
    assert edge.ask("/v2/health/live")[:2] == (200, {"live": True})
    status, body, _ = edge.ask("/v2/health/ready")
    assert (status, list(body)) == (503, ["error"])
    status, body, headers = edge.ask("/api/v1/models")
    assert (status, body["type"], headers["content-type"]) == (503, "unavailable", "application/problem+json")


@pytest.mark.parametrize(
    "path", ["/internal/edge-table", "//internal/x", "/%69nternal/edge-table", "/INTERNAL"]
)
def test_the_control_planes_inside_is_not_reachable(shared_edge: Edge, path: str) -> None:
    assert shared_edge.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "path", ["/api/../internal/edge-table", "/v2/models/digits/%2e%2e/x", "/%zz", "/./internal"]
)
def test_a_path_that_means_something_else_is_refused(shared_edge: Edge, path: str) -> None:
    assert shared_edge.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).startswith(b"HTTP/1.1 400")


def test_a_replica_sees_the_edges_secret_and_no_header_a_client_made_up(shared_edge: Edge) -> None:
    made_up = {
        "X-RayMaaS-Edge": "mine",
        "x-raymaas-who": "root",
        "x_raymaas_edge": "mine",
        "X-Forwarded-For": "9.9.9.9",
        "Upgrade": "h2c",
        "Connection": "upgrade",
        "Authorization": "Bearer key",
        "X-Api-Key": "key",
        "X-RayMaaS-Key": "0123abcd",
        "X-RayMaaS-Timeout-Ms": "250",
    }
    headers = {
        k.lower(): v for k, v in shared_edge.ask("/v2/models/digits", headers=made_up)[1]["headers"].items()
    }
    assert headers["x-raymaas-edge"] == SECRET
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-raymaas-timeout-ms"] == "250", "how long a caller waits is its own to say"
    hidden = {"x-raymaas-who", "x_raymaas_edge", "x-raymaas-key", "upgrade", "authorization", "x-api-key"}
    assert not hidden & headers.keys()


def test_a_request_id_is_kept_or_made_and_reaches_replica_client_and_log(shared_edge: Edge) -> None:
    _, seen, headers = shared_edge.ask("/v2/models/digits", headers={"x-request-id": "order-7.A_b"})
    assert seen["headers"]["x-request-id"] == headers["x-request-id"] == "order-7.A_b"
    made = []
    for given in ({}, {"x-request-id": "two words"}, {"x-request-id": "a" * 129}):
        _, seen, headers = shared_edge.ask("/v2/models/digits", headers=given)
        assert seen["headers"]["x-request-id"] == headers["x-request-id"] != given.get("x-request-id")
        made.append(headers["x-request-id"])
    assert len(set(made)) == 3
    told = [time_in(request_id) for request_id in made]
    assert all(at and abs(datetime.now(UTC) - at) < timedelta(minutes=1) for at in told), made
    _, _, headers = shared_edge.ask("/internal/x", headers={"x-request-id": "refused-1"})
    assert headers["x-request-id"] == "refused-1"

    def logged() -> dict[str, Any]:
        lines = (shared_edge.run_dir / "access.log").read_text().splitlines(keepends=True)
        return {line["id"]: line for line in map(json.loads, (t for t in lines if t.endswith("\n")))}

    eventually(lambda: {"order-7.A_b", "refused-1", *made} <= logged().keys(), "requests are logged by id")
    assert logged()["refused-1"]["status"] == 404
    assert logged()["order-7.A_b"]["route"].endswith(("/1", "/2"))


def test_a_body_up_to_the_limit_passes_and_beyond_it_is_413_before_it_is_sent(shared_edge: Edge) -> None:
    status, seen, _ = shared_edge.ask("/v2/models/digits/infer", b"x" * MAX_BODY)
    assert (status, seen["body_bytes"]) == (200, MAX_BODY)
    for path in ("/v2/models/digits/infer", "/api/v1/runs"):
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n"
        answer = shared_edge.raw(head.encode())
        assert answer.startswith(b"HTTP/1.1 413")
        assert f"larger than {MAX_BODY} bytes".encode() in answer


@pytest.mark.parametrize(
    "framing", ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked"]
)
def test_a_body_with_two_lengths_or_none_is_refused(shared_edge: Edge, framing: str) -> None:
    smuggled = "0\r\n\r\nGET /v2/models/digits HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = shared_edge.raw(
        f"POST /v2/models/digits/infer HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{smuggled}".encode()
    )
    assert answer.startswith(b"HTTP/1.1 411")
    assert b"send the body with Content-Length" in answer


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nHost: a\r\nx: " + "y" * 20_000 + "\r\n\r\n", 431),
    ],
)
def test_what_is_not_a_plain_request_is_refused_in_json(
    shared_edge: Edge, request_text: str, status: int
) -> None:
    head, _, body = shared_edge.raw(request_text.encode()).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert list(json.loads(body)) == ["error"]


@pytest.mark.parametrize(
    "request_text",
    [
        "POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "GET http://elsewhere/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_1_1_is_refused(shared_edge: Edge, request_text: str) -> None:
    assert shared_edge.raw(request_text.encode()).startswith(b"HTTP/1.1 400")


def test_headers_larger_than_any_buffer_are_not_taken(shared_edge: Edge) -> None:
    # The answer to a client that is still sending may be lost in the reset.
    answer = shared_edge.raw(b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 200_000 + b"\r\n\r\n")
    assert answer[:12] in (b"HTTP/1.1 400", b"")


def test_a_client_that_never_finishes_its_headers_is_dismissed(make_edge: Callable[..., Edge]) -> None:
    edge = make_edge(header_timeout_s=0.3)
    with socket.create_connection(("127.0.0.1", edge.settings.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
