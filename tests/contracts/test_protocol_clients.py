"""An independent client, Triton's own, against a real server: what it sends by default is understood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from protocol_server import protocol_server
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

X = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
WORDS = np.array(["a", "ü", "long"], dtype=object)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with protocol_server() as url:
        client = triton.InferenceServerClient(url.removeprefix("http://"))
        yield client
        client.close()


def given(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary)


def test_server_and_model_describe_themselves(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("m", "3")
    assert client.get_server_metadata()["name"] == "raymaas"
    assert [each["name"] for each in client.get_model_metadata("m")["outputs"]] == [
        "double",
        "next",
        "not",
        "loud",
    ]
    assert client.get_model_config("m", "3")["max_batch_size"] == 0


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_every_output_of_a_default_request_comes_back(client: Any, binary: bool, coding: str | None) -> None:
    answer = client.infer(
        "m",
        [
            given("x", X, "FP32", binary=binary),
            given("word", WORDS, "BYTES", binary=binary),
            given("count", np.arange(3, dtype=np.int32), "INT32", binary=binary),
            given("flag", np.array([True, False, True]), "BOOL", binary=binary),
        ],
        request_id="r7",
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert answer.get_response()["id"] == "r7"
    assert answer.get_response()["model_version"] == "3"
    np.testing.assert_array_equal(answer.as_numpy("double"), X * 2)
    assert answer.as_numpy("next").tolist() == [1, 2, 3]
    assert answer.as_numpy("not").tolist() == [False, True, False]
    assert [word.decode() for word in answer.as_numpy("loud")] == ["a!", "ü!", "long!"]


def test_outputs_are_chosen_one_by_one(client: Any) -> None:
    outputs = [triton.InferRequestedOutput("double"), triton.InferRequestedOutput("loud", binary_data=False)]
    answer = client.infer("m", [given("x", X, "FP32"), given("word", WORDS, "BYTES")], outputs=outputs)
    assert answer.as_numpy("loud").tolist() == ["a!", "ü!", "long!"]
    assert answer.as_numpy("next") is None


def test_what_is_wrong_reaches_the_caller(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="input 'x' must be FP32"):
        client.infer("m", [given("x", X[:, :1].copy(), "FP32"), given("word", WORDS, "BYTES")])
    with pytest.raises(InferenceServerException, match="this replica serves m@3"):
        client.infer("n", [given("x", X, "FP32")])


def test_statistics_count_what_was_asked(client: Any) -> None:
    before = client.get_inference_statistics("m")["model_stats"][0]["inference_count"]
    client.infer("m", [given("x", X, "FP32"), given("word", WORDS, "BYTES")])
    assert client.get_inference_statistics("m", "3")["model_stats"][0]["inference_count"] == before + 3
