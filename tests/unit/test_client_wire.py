"""The client without a network: which server, which headers, and what stays out of the core install."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raymaas.client import Client
from raymaas.client.wire import Answer, Request, error_of, header_text, server_url
from raymaas.errors import InvalidInput, QuotaExceeded, RaymaasError, RunFailed

WRITE = Request("PUT", "/api/v1/models/digits/traffic")


def test_the_server_is_the_argument_then_the_variable_then_this_machine() -> None:
    environment = {"RAYMAAS_URL": "http://head:9000/"}
    assert server_url("https://box/", environment) == "https://box"
    assert server_url(None, environment) == "http://head:9000"
    assert server_url(None, {}) == "http://127.0.0.1:8080"


def test_a_server_that_is_no_url_is_refused() -> None:
    with pytest.raises(InvalidInput, match="RAYMAAS_URL"):
        server_url("head:9000", {})


def test_a_timeout_must_be_positive() -> None:
    with pytest.raises(InvalidInput, match="timeout_s"):
        Client("http://head:9000", timeout_s=0)


def test_a_user_name_becomes_one_safe_header_value() -> None:
    assert header_text("jürgen\r\nx-admin: 1") == "j?rgen??x-admin: 1"
    assert header_text(" ") == "unknown"


def test_a_wait_is_read_from_the_header_when_the_body_has_none() -> None:
    answer = Answer(429, {"retry-after": "12"}, b'{"error": "slow down", "code": "quota-exceeded"}')
    error = error_of(answer, WRITE)
    assert isinstance(error, QuotaExceeded)
    assert error.retry_after_s == 12


def test_an_error_of_a_newer_server_is_still_an_error() -> None:
    problem = b'{"type": "brand-new", "title": "New", "status": 499, "detail": "a sentence", "more": 1}'
    error = error_of(Answer(499, {}, problem), WRITE)
    assert type(error) is RaymaasError
    assert str(error) == "a sentence"


def test_a_problem_carries_its_details() -> None:
    problem = (
        b'{"type":"run-failed","title":"RunFailed","status":500,"detail":"it failed","extra":{"run":"r-1"}}'
    )
    error = error_of(Answer(500, {}, problem), WRITE)
    assert isinstance(error, RunFailed)
    assert error.run == "r-1"


def test_client_and_command_line_load_no_server_library() -> None:
    code = (
        "import sys, raymaas, raymaas.cli.main\n"
        "heavy = {'torch', 'ray', 'pyarrow', 'fsspec', 'fastapi', 'uvicorn', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
