"""The Open Inference Protocol over a real server: binary tensors, encodings, tables, limits and refusals."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import malformed
import numpy as np
import orjson
import pyarrow as pa
import pytest
from protocol_server import INFER, MODEL, protocol_edge, protocol_server

from raymaas.serve.oip.limits import MAX_BODY_BYTES, MAX_VALUES
from raymaas.specs.tensors import from_bytes

X = np.array([[1, 2], [3, 4]], dtype=np.float32)
WORDS = b"\x01\0\0\0a\x02\0\0\0bc"
ARROW = {"content-type": malformed.ARROW}


@pytest.fixture(scope="module", params=["slow lane", "fast lane"])
def http(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """As Ray Serve asks the application, and through an edge and the replica's own server."""
    lane = protocol_server() if request.param == "slow lane" else protocol_edge(tmp_path_factory.mktemp("e"))
    with lane as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


def binary(*tensors: dict[str, Any], raw: bytes = b"", **rest: Any) -> tuple[bytes, dict[str, str]]:
    header = orjson.dumps({"inputs": tensors, **rest})
    return header + raw, {"inference-header-content-length": str(len(header))}


def x(datatype: str = "FP32", size: int = 16, **changes: Any) -> dict[str, Any]:
    return {
        "name": "x",
        "shape": [2, 2],
        "datatype": datatype,
        "parameters": {"binary_data_size": size},
    } | changes


WORD = {"name": "word", "shape": [2], "datatype": "BYTES", "data": ["a", "bc"]}


def post(http: httpx.Client, sent: tuple[bytes, dict[str, str]]) -> httpx.Response:
    return http.post(INFER, content=sent[0], headers=sent[1])


def outputs_of(answer: httpx.Response) -> dict[str, Any]:
    """The outputs of a binary answer, or of one in JSON tensors, as arrays or lists."""
    assert answer.status_code == 200, answer.text
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    found, at = {}, length
    for tensor in orjson.loads(answer.content[:length])["outputs"]:
        if "data" in tensor:
            found[tensor["name"]] = tensor["data"]
            continue
        size = tensor["parameters"]["binary_data_size"]
        raw = memoryview(answer.content)[at : at + size]
        found[tensor["name"]] = from_bytes(raw, tensor["datatype"], tensor["shape"])
        at += size
    assert at == len(answer.content)
    return found


def refused(answer: httpx.Response, sentence: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]


def test_binary_and_json_tensors_mix_in_both_directions(http: httpx.Client) -> None:
    wanted = [{"name": "loud", "parameters": {"binary_data": False}}, {"name": "double"}]
    sent = binary(
        x(), WORD, raw=X.tobytes(), outputs=wanted, parameters={"binary_data_output": True}, id="r7"
    )
    answer = post(http, sent)
    found = outputs_of(answer)
    assert answer.headers["content-type"] == "application/octet-stream"
    np.testing.assert_array_equal(found["double"], X * 2)
    assert found["loud"] == ["a!", "bc!"]
    assert b'"id":"r7"' in answer.content


def test_every_output_comes_back_in_binary_by_name(http: httpx.Client) -> None:
    count = {"name": "count", "shape": [2], "datatype": "INT32", "data": [5, -7]}
    flag = x(name="flag", shape=[2], datatype="BOOL", size=2)
    flag["parameters"] = {"binary_data_size": 2}
    word = {"name": "word", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(WORDS)}}
    sent = binary(
        x(), count, flag, word, raw=X.tobytes() + b"\x01\0" + WORDS, parameters={"binary_data_output": True}
    )
    found = outputs_of(post(http, sent))
    assert list(found) == ["double", "next", "not", "loud"]
    assert found["next"].tolist() == [6, -6]
    assert found["not"].tolist() == [False, True]
    assert found["loud"].tolist() == ["a!", "bc!"]


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [
        ("FP16", X.astype("<f2").tobytes()),
        ("BF16", (X.view("<u4") >> 16).astype("<u2").tobytes()),
        ("UINT8", X.astype("u1").tobytes()),
        ("INT16", X.astype("<i2").tobytes()),
    ],
)
def test_a_datatype_whose_every_value_the_input_holds_is_taken(
    http: httpx.Client, datatype: str, raw: bytes
) -> None:
    found = outputs_of(post(http, binary(x(datatype, len(raw)), WORD, raw=raw)))
    assert found["double"] == (X * 2).ravel().tolist()


@pytest.mark.parametrize("datatype", ["FP64", "INT32", "BOOL", "BYTES", "FP33", 7, None])
def test_another_datatype_is_refused_by_name(http: httpx.Client, datatype: Any) -> None:
    refused(post(http, binary(x(datatype), WORD, raw=X.tobytes())), "input 'x': expected datatype FP32")


def test_plain_values_in_binary_are_converted_and_named_for_the_client(http: httpx.Client) -> None:
    raw = X.astype("<f8").tobytes()
    sent = binary(
        x("FP64", 32), WORD, raw=raw, parameters={"raymaas_plain": True, "binary_data_output": True}
    )
    answer = post(http, sent)
    np.testing.assert_array_equal(outputs_of(answer)["double"], X * 2)
    assert b'"classes":["no","yes"]' in answer.content


@pytest.mark.parametrize(
    ("tensor", "raw", "sentence"),
    [
        (x(size=12), X.tobytes()[:12], "input 'x': FP32 [2, 2] takes 16 bytes, 12 came"),
        (x(), X.tobytes()[:12], "binary_data_size is 16, and 12 bytes are left"),
        (x(), X.tobytes() + b"more", "4 bytes follow the last tensor"),
        (x(size=-1), X.tobytes(), "binary_data_size is -1"),
        (x(data=[1, 2, 3, 4]), X.tobytes(), "both data and binary_data_size"),
        (
            x(shape=[2**33, 2**33]),
            X.tobytes(),
            "FP32 [8589934592, 8589934592] takes 295147905179352825856 bytes",
        ),
        (x(shape=[0, 2**62], size=0), b"", "expected shape [-1, 2], got [0, 4611686018427387904]"),
        (x(shape=[1] * 5000), X.tobytes(), "expected shape [-1, 2], got [1, 1,"),
        (x(), np.array([1, np.nan, 1, 1], "<f4").tobytes(), "input 'x': a number is NaN"),
        (x(), np.array([1, np.inf, 1, 1], "<f4").tobytes(), "input 'x': a number is infinite"),
        (x(name="z"), X.tobytes(), "input 'z' does not exist; this model takes x, count, flag, word"),
        (x(parameters=[]), X.tobytes(), "the parameters of input 'x' must be an object"),
        (x(parameters={"shared_memory_region": "r"}), b"", "extension this server does not have"),
    ],
)
def test_a_binary_tensor_that_lies_is_refused(
    http: httpx.Client, tensor: dict[str, Any], raw: bytes, sentence: str
) -> None:
    refused(post(http, binary(tensor, WORD, raw=raw)), sentence)


@pytest.mark.parametrize(
    "raw", [b"\x09\0\0\0a", b"\x01\0\0", b"\x01\0\0\0\xff\x01\0\0\0a", WORDS + WORDS, b"\xff\xff\xff\xffab"]
)
def test_texts_that_lie_about_their_length_are_refused(http: httpx.Client, raw: bytes) -> None:
    word = {"name": "word", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    refused(post(http, binary(x(data=X.ravel().tolist(), parameters={}), word, raw=raw)), "input 'word': ")


@pytest.mark.parametrize("length", ["-1", "1e9", "99999999999999999999", "x", "9" * 5000, "\u00b2"])
def test_a_header_length_that_cannot_be_is_refused(http: httpx.Client, length: str) -> None:
    sent = (b"{}", {"inference-header-content-length": length.encode("utf-8")})
    refused(http.post(INFER, content=sent[0], headers=sent[1]), "must be the length of the JSON header")


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_are_inflated_and_answers_deflated(http: httpx.Client, coding: str, pack: Any) -> None:
    body = pack(orjson.dumps({"inputs": {"x": [[1, 2]] * 500, "word": ["a"] * 500}}))
    headers = {"content-encoding": coding, "accept-encoding": f"br, {coding};q=0.5"}
    answer = http.post(INFER, content=body, headers=headers)
    assert answer.headers["content-encoding"] == coding
    assert len(answer.json()["outputs"]["double"]) == 500
    few = http.post(
        INFER, json={"inputs": {"x": [[1, 2]], "word": ["a"]}}, headers={"accept-encoding": coding}
    )
    assert "content-encoding" not in few.headers


def test_a_bomb_is_refused_once_it_is_too_large(http: httpx.Client) -> None:
    bomb = gzip.compress(b" " * (4 * MAX_BODY_BYTES))
    refused(post(http, (bomb, {"content-encoding": "gzip"})), "inflates to more than", status=413)
    for body, sentence in (
        (bomb[:500], "ends too early"),
        (b"xyz", "is not gzip"),
        (bomb[:0], "ends too early"),
    ):
        refused(post(http, (body, {"content-encoding": "gzip"})), sentence)
    refused(post(http, (b"x", {"content-encoding": "br"})), "must be gzip, deflate or identity, got 'br'")


def test_too_many_values_are_refused_before_they_are_read(http: httpx.Client) -> None:
    body = b'{"inputs": [' + b"{}," * MAX_VALUES + b"{}]}"
    answer = post(http, (body, {}))
    refused(answer, "more than 2097152 values", status=413)
    assert answer.json()["code"] == "too-large"


def arrow(table: pa.Table, compression: str | None = None) -> tuple[bytes, dict[str, str]]:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue(), dict(ARROW)


TABLE = pa.table(
    {
        "x": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float64())),
        "word": pa.array(["a", None, "a"]).dictionary_encode(),
        "count": pa.array([1, 2, 3]),
    }
)


def test_a_table_is_answered_with_a_table(http: httpx.Client) -> None:
    answer = post(http, arrow(TABLE))
    assert answer.headers["content-type"] == malformed.ARROW
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column("double").to_pylist() == [[2, 4], [6, 8], [10, 12]]
    assert table.column("loud").to_pylist() == ["a!", "None!", "a!"]
    assert table.column("next").to_pylist() == [2, 3, 4]
    assert table.schema.metadata[b"model_version"] == b"3"
    assert orjson.loads(table.schema.metadata[b"classes"]) == ["no", "yes"]


def test_tables_and_json_are_answered_with_what_accept_names(http: httpx.Client) -> None:
    body, headers = arrow(TABLE)
    as_json = http.post(INFER, content=body, headers=headers | {"accept": "application/json"})
    assert as_json.json()["outputs"]["double"] == [[2, 4], [6, 8], [10, 12]]
    rows = {"inputs": {"x": [[1, 2]], "word": ["a"]}}
    as_table = http.post(INFER, json=rows, headers={"accept": malformed.ARROW})
    assert pa.ipc.open_stream(as_table.content).read_all().num_rows == 1


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (TABLE.drop_columns("x"), "input 'x' is missing"),
        (TABLE.append_column("z", pa.array([1, 2, 3])), "column 'z' is no input; this model takes x"),
        (TABLE.set_column(0, "x", pa.array([[1], [1, 2], [3]])), "different lengths"),
        (TABLE.set_column(0, "x", pa.array([[1, 2], None, [3, 4]])), "column 'x' holds null"),
        (TABLE.set_column(0, "x", pa.array(["a", "b", "c"])), "column 'x': expected FP32, got string"),
        (TABLE.set_column(0, "x", pa.array([[], [], []], pa.list_(pa.float32()))), "empty lists"),
        (TABLE.set_column(0, "x", pa.array([[1, 2, 3]] * 3)), "must be FP32"),
        (TABLE.set_column(0, "x", pa.array([[1, np.nan]] * 3)), "a number is NaN"),
        (TABLE.set_column(0, "x", pa.nulls(3)), "column 'x': expected FP32, got null"),
        (TABLE.set_column(1, "word", pa.array([1, 2, 3])), "column 'word': expected strings, got int64"),
        (TABLE.set_column(2, "count", pa.array([1, 2, 2**40])), "outside INT32"),
        (TABLE.append_column("x", pa.array([1, 2, 3])), "two columns of one name"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_column(
    http: httpx.Client, table: pa.Table, sentence: str
) -> None:
    refused(post(http, arrow(table)), sentence)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_nothing_in_a_table_unfolds(http: httpx.Client, compression: str) -> None:
    refused(post(http, arrow(TABLE, compression)), "compressed")
    many = pa.table(
        {"x": pa.RunEndEncodedArray.from_arrays(pa.array([2**31 - 1], pa.int32()), pa.array([1.0]))}
    )
    refused(post(http, arrow(many)), "column 'x': expected FP32, got run_end_encoded")


def test_what_a_model_is_and_has_answered(http: httpx.Client) -> None:
    assert http.get(f"{MODEL}/ready?x=1").json() == {"name": "m", "ready": True}
    config = http.get(f"{MODEL}/versions/3/config").json()
    assert config["input"][0] == {"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 2]}
    assert config["input"][3]["data_type"] == "TYPE_STRING"
    (before,) = http.get(f"{MODEL}/stats").json()["model_stats"]
    post(http, (b'{"inputs": {"x": [[1, 2], [3, 4]], "word": ["a", "b"]}}', {}))
    post(http, (b"{", {}))
    (after,) = http.get(f"{MODEL}/versions/3/stats").json()["model_stats"]
    assert after["inference_count"] == before["inference_count"] + 2
    for which in ("success", "fail"):
        assert after["inference_stats"][which]["count"] == before["inference_stats"][which]["count"] + 1


def test_what_is_not_here_is_a_404_that_says_what_is(http: httpx.Client) -> None:
    refused(http.post(f"{MODEL}/infr", json={"inputs": [[1, 2]]}), "POST to one of infer", status=404)


def test_a_replica_says_what_it_speaks_and_refuses_other_models() -> None:
    with protocol_server() as url, httpx.Client(base_url=url, trust_env=False, timeout=30) as replica:
        assert "binary_tensor_data" in replica.get("/v2").json()["extensions"]
        answer = replica.post("/v2/models/n/infer", json={"inputs": [[1, 2]]})
        refused(answer, "this replica serves m@3", status=404)
