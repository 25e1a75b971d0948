"""ClientContract: errors and broken connections, as Client and AsyncClient tell them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import pytest
from both_clients import Connect
from control_server import JOB, World, http_answer, scripted, serving

from raymaas.client import AsyncClient, Client, flow
from raymaas.errors import (
    AlreadyExists,
    Denied,
    IntegrityError,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    QuotaExceeded,
    RaymaasError,
    Refused,
    RunFailed,
    Unavailable,
)

ROWS = [[1.0, 2.0], [-3.0, 0.5]]


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("change it"),
        NotFound("not there"),
        AlreadyExists("another was first"),
        Denied("another key"),
        QuotaExceeded("too fast", retry_after_s=7.5),
        Unavailable("not now"),
        Unavailable("in an hour", retry_after_s=3600.0),
        OutcomeUnknown("who knows"),
        IntegrityError("bad bytes"),
        Refused("a policy"),
        RunFailed("it failed", run="train-digits-1"),
    ],
    ids=lambda error: "-".join([error.code, *map(str, error.details().values())]),
)
def test_each_error_arrives_as_the_class_the_server_raised(
    error: RaymaasError, world: World, client: Any
) -> None:
    world.refusal = error
    with pytest.raises(type(error)) as raised:
        client.train(JOB)
    assert type(raised.value) is type(error)
    assert (str(raised.value), raised.value.details()) == (str(error), error.details())


def test_an_unforeseen_error_arrives_without_its_insides(world: World, client: Any) -> None:
    world.describe = lambda: 1 / 0  # type: ignore[method-assign,return-value]
    with pytest.raises(RaymaasError, match="failed on this request") as raised:
        client.status()
    assert type(raised.value) is RaymaasError
    assert "division" not in str(raised.value)


def test_nothing_listening_is_unavailable_and_says_how_to_start(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unavailable, match="raymaas up"):
        connect(f"http://127.0.0.1:{port}").models.list()


def test_reads_and_predictions_are_sent_again_when_the_connection_breaks(connect: Connect) -> None:
    models = http_answer("200 OK", b'{"models": []}', "application/json")
    with scripted(b"", b"", models) as (url, count):
        assert connect(url).models.list() == ()
        assert count() == 3
    answer = http_answer(
        "200 OK", b'{"model_name": "m", "model_version": "4", "outputs": {"y": [1]}}', "application/json"
    )
    with scripted(b"", answer) as (url, _):
        assert connect(url).model("m").predict([[1]]).model_version == 4


def test_retrying_is_bounded(connect: Connect) -> None:
    with scripted(*[b""] * 9) as (url, count):
        with pytest.raises(Unavailable, match="broke off"):
            connect(url).models.list()
        assert count() == 4


def _away(retry_after: str) -> bytes:
    body = b'{"error": "in a moment", "code": "unavailable", "retry_after_s": %s}' % retry_after.encode()
    return http_answer("503 Service Unavailable", body, "application/json")


def test_a_server_that_asks_for_a_moment_is_given_it(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = http_answer(
        "200 OK", b'{"model_name": "m", "model_version": "4", "outputs": {"y": [1]}}', "application/json"
    )
    with scripted(_away("0.01"), _away("0.01"), answer) as (url, count):
        assert connect(url).model("m").predict(ROWS).model_version == 4
        assert count() == 3
    monkeypatch.setattr(flow, "ASKED_WAITS_S", 0.5)
    with scripted(*[_away("0.24")] * 4) as (url, count):
        with pytest.raises(Unavailable, match="in a moment"):
            connect(url).model("m").predict(ROWS)
        assert count() == 3


@pytest.mark.parametrize("asked", ["5.5", "null", "NaN", '"nan"', '"soon"'])
def test_a_longer_wait_is_the_callers(asked: str, connect: Connect) -> None:
    with scripted(_away(asked), _away(asked)) as (url, count):
        with pytest.raises(Unavailable, match=r"503|in a moment"):
            connect(url).model("m").predict(ROWS)
        assert count() == 1


def test_a_write_that_is_asked_to_wait_is_the_callers_too(connect: Connect) -> None:
    with scripted(_away("0.01"), _away("0.01")) as (url, count):
        with pytest.raises(Unavailable):
            connect(url).traffic("digits", {1: 100})
        assert count() == 1


def test_a_write_is_sent_once_and_its_loss_is_outcome_unknown(connect: Connect) -> None:
    with scripted(b"", b"") as (url, count):
        with pytest.raises(OutcomeUnknown, match="look before you repeat"):
            connect(url).traffic("digits", {1: 100})
        assert count() == 1


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
def test_a_gateways_own_page_is_unavailable_for_a_read(status: str, connect: Connect) -> None:
    with (
        scripted(http_answer(status, b"<html><body>sorry</body></html>")) as (url, _),
        pytest.raises(Unavailable, match=status[:3]),
    ):
        connect(url).models.list()


def test_a_gateways_json_is_read_by_its_sentence_and_status(connect: Connect) -> None:
    page = http_answer(
        "503 Service Unavailable", b'{"error": "no replica can be reached"}', "application/json"
    )
    with scripted(page) as (url, _), pytest.raises(Unavailable, match=r"^no replica can be reached$"):
        connect(url).model("digits").predict(ROWS)


def test_a_write_behind_a_gateway_that_gave_up_is_outcome_unknown(connect: Connect) -> None:
    with scripted(http_answer("504 Gateway Timeout", b"late")) as (url, _), pytest.raises(OutcomeUnknown):
        connect(url).traffic("digits", {1: 100})
    with scripted(http_answer("503 Service Unavailable", b"away")) as (url, _), pytest.raises(Unavailable):
        connect(url).traffic("digits", {1: 100})


def test_something_that_is_not_raymaas_is_named_as_such(connect: Connect) -> None:
    with (
        scripted(http_answer("200 OK", b"<html>a router's login</html>")) as (url, _),
        pytest.raises(RaymaasError, match="URL"),
    ):
        connect(url).models.list()
    other = http_answer("200 OK", b'{"models": [{"id": 1}]}', "application/json")
    with scripted(other) as (url, _), pytest.raises(RaymaasError, match="same version"):
        connect(url).models.list()


def test_a_server_that_does_not_answer_in_time_is_given_up(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = connect(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(OutcomeUnknown):
            client.traffic("digits", {1: 100})


def test_a_closed_client_frees_its_connections(world: World) -> None:
    with serving(world.app()) as url:
        with Client(url) as client:
            client.models.list()
        with pytest.raises(RuntimeError, match="closed"):
            client.models.list()

        async def once() -> None:
            async with AsyncClient(url) as client:
                assert await client.models.list() == ()
                assert isinstance(await client.status(), object)

        asyncio.run(once())
        assert httpx.get(f"{url}/v2/health/live", trust_env=False).json() == {"live": True}
