"""What a version answers besides `infer`: through its application, from real networks, with defaults filled in."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from raymaas.bundle.format import build
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.models import catalogue
from raymaas.models.base import signature_of
from raymaas.serve.app import InferenceApp, Served
from raymaas.serve.asgi import AsgiApp
from raymaas.serve.compute_queue import ComputeQueue, QueueLimits
from raymaas.serve.oip.limits import MAX_BODY_BYTES
from raymaas.specs.facts import Facts
from raymaas.specs.jobs import Component
from raymaas.specs.versions import TensorSpec

SECRET = "edge"
Ask = Callable[..., tuple[int, dict[str, Any]]]


def served(use: str, row: tuple[int, ...], config: dict[str, Any], probes: np.ndarray) -> Ask:
    """Asks a replica's application of a fresh network of that family, `m@1`."""
    facts = Facts(input=TensorSpec(name="x", dtype="FP32", shape=(-1, *row)), target="none")
    component = catalogue.resolve(Component(use=use, config=config), facts)
    signature = signature_of(catalogue.task_of(component), facts)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = catalogue.build(component)
    bundle = build(network, architecture=component, signature=signature, probes=probes)
    runtime = load_runtime("torch", bundle.files, signature=signature)

    app = InferenceApp(
        Served(model="m", version="1", signature=signature, runtime="torch", methods=bundle.methods),
        compute=ComputeQueue(runtime, joins=True, limits=QueueLimits()),
        secret_sha256=hashlib.sha256(SECRET.encode()).hexdigest(),
        record=lambda **_: None,
    )

    def ask(path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": orjson.dumps(body), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET" if body is None else "POST",
            "path": f"/v2/models/m{path}",
            "headers": [(b"x-raymaas-edge", SECRET.encode())],
        }
        asyncio.run(AsgiApp(app.answer, max_body_bytes=MAX_BODY_BYTES)(scope, receive, send))
        return sent[0]["status"], orjson.loads(sent[1]["body"])

    return ask


@pytest.fixture(scope="module")
def vae() -> Ask:
    probes = np.random.default_rng(0).random((3, 2, 3), dtype=np.float32)
    return served("vae", (2, 3), {"latent": 2, "hidden": [4]}, probes)


@pytest.fixture(scope="module")
def gpt() -> Ask:
    sizes = {"width": 8, "heads": 2, "depth": 1, "feed_forward": 8}
    return served("gpt", (6,), sizes, np.full((2, 6), 65, np.float32))


def test_a_sample_is_a_function_of_its_seed_alone(vae: Ask) -> None:
    status, together = vae("/sample", {"inputs": {"seed": [1, 2, 1]}})
    assert status == 200
    first, second, third = together["outputs"]["x"]
    assert np.shape(first) == (2, 3)
    assert first == third != second
    np.testing.assert_allclose(
        vae("/sample", {"inputs": {"seed": [2]}})[1]["outputs"]["x"], [second], rtol=1e-5
    )


def test_what_is_encoded_can_be_decoded(vae: Ask) -> None:
    x = np.random.default_rng(1).random((2, 2, 3)).tolist()
    encoded = vae("/encode", {"inputs": {"x": x}})[1]["outputs"]
    assert np.shape(encoded["mean"]) == np.shape(encoded["log_variance"]) == (2, 2)
    decoded = vae("/versions/1/decode", {"inputs": {"z": encoded["mean"]}})[1]["outputs"]["x"]
    answered = vae("/infer", {"inputs": {"x": x}})[1]["outputs"]["reconstruction"]
    np.testing.assert_allclose(decoded, answered, rtol=1e-5)


def test_text_goes_in_and_comes_out(gpt: Ask) -> None:
    asked = {"prompt": ["AAAA", ""], "max_bytes": [5, 5], "temperature": [0, 0]}
    status, body = gpt("/generate", {"inputs": asked})
    assert status == 200
    assert all(isinstance(text, str) and text for text in body["outputs"]["text"])
    assert gpt("/generate", {"inputs": asked})[1]["outputs"] == body["outputs"]


def test_tensors_of_text_have_the_protocols_form(gpt: Ask) -> None:
    prompt = {"name": "prompt", "shape": [1], "datatype": "BYTES", "data": ["AB"]}
    length = {"name": "max_bytes", "shape": [1], "datatype": "INT32", "data": [3]}
    status, body = gpt("/generate", {"inputs": [prompt, length]})
    assert status == 200
    (output,) = body["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("text", "BYTES", [1])
    assert isinstance(output["data"][0], str)


def test_the_metadata_names_the_methods_and_their_tensors(vae: Ask) -> None:
    _, metadata = vae("")
    assert sorted(metadata["methods"]) == ["decode", "encode", "sample"]
    assert metadata["methods"]["sample"]["inputs"] == [{"name": "seed", "datatype": "INT64", "shape": [-1]}]


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/smple", {"inputs": {"seed": [1]}}, 404, "one of infer, encode, decode, sample"),
        ("/sample", {"inputs": {"x": [1]}}, 400, "input 'x'"),
        ("/sample", {"inputs": {"seed": ["one"]}}, 400, "input 'seed'"),
        ("/decode", {"inputs": {"z": [[1.0]]}}, 400, "input 'z' must be FP32"),
    ],
)
def test_a_wrong_request_says_what_is_right(
    vae: Ask, path: str, body: Any, status: int, sentence: str
) -> None:
    answered, told = vae(path, body)
    assert answered == status
    assert sentence in told["error"]


@pytest.mark.parametrize(
    ("path", "inputs", "sentence"),
    [
        ("/infer", {"x": [[256] * 6]}, "input 'x': a number is out of range; it may be 0 to 255"),
        ("/infer", {"x": [[-1] * 6]}, "input 'x': a number is out of range"),
        (
            "/generate",
            {"prompt": ["A"], "max_bytes": [2**31 - 1]},
            "input 'max_bytes': a number is out of range",
        ),
        (
            "/generate",
            {"prompt": ["A"], "temperature": [-1]},
            "input 'temperature': a number is out of range",
        ),
    ],
)
def test_a_number_the_network_has_no_place_for_is_the_callers_fault(
    gpt: Ask, path: str, inputs: Any, sentence: str
) -> None:
    status, told = gpt(path, {"inputs": inputs})
    assert status == 400
    assert sentence in told["error"]


def test_next_to_no_temperature_is_none(gpt: Ask) -> None:
    asked = {"prompt": ["AA", "AA"], "max_bytes": [4, 4], "temperature": [1e-38, 0], "seed": [1, 2]}
    status, body = gpt("/generate", {"inputs": asked})
    assert status == 200
    assert body["outputs"]["text"][0] == body["outputs"]["text"][1]
