"""Reading requests and writing answers: both forms, and a sentence for everything that is wrong."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymaas.errors import InvalidInput
from raymaas.serve.oip.answer import encode
from raymaas.serve.oip.request import Head, Heads, InferRequest, decode
from raymaas.specs.versions import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 2)),),
    outputs=(
        TensorSpec(name="logits", dtype="FP32", shape=(-1, 2)),
        TensorSpec(name="probabilities", dtype="FP32", shape=(-1, 2)),
    ),
    classes=("no", "yes"),
)
TWO = Signature(
    inputs=(
        TensorSpec(name="a", dtype="INT32", shape=(-1,)),
        TensorSpec(name="b", dtype="BOOL", shape=(-1,)),
    ),
    outputs=(TensorSpec(name="y", dtype="FP32", shape=(-1,)),),
)
OUTPUTS = {
    "logits": np.array([[1, 2]], dtype=np.float32),
    "probabilities": np.array([[0.25, 0.75]], dtype=np.float32),
}


def tensor(**changes: object) -> bytes:
    fields: dict[str, object] = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    fields |= changes
    return orjson.dumps({"id": "r1", "inputs": [{k: v for k, v in fields.items() if v is not ...}]})


def answered(body: bytes, signature: Signature = SIGNATURE) -> dict[str, object]:
    request = decode(body, signature)
    answer = orjson.loads(encode(request, OUTPUTS, model="m", version="3", signature=signature).body)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize(
    "body", [b'{"inputs": [[1, 2], [3, 4]]}', b'{"inputs": {"x": [[1, 2], [3, 4]]}}', tensor(),
             tensor(data=[[1, 2], [3, 4]])]
)  # fmt: skip
def test_each_form_reads_as_the_same_array(body: bytes) -> None:
    array = decode(body, SIGNATURE).inputs["x"]

    np.testing.assert_array_equal(array, np.array([[1, 2], [3, 4]], dtype=np.float32))
    assert array.dtype == np.float32


def test_an_answer_has_the_form_of_its_request_and_names_the_version() -> None:
    plain, formal = answered(b'{"inputs": [[1, 2]]}'), answered(tensor())

    assert plain == {
        "model_name": "m",
        "model_version": "3",
        "outputs": {"logits": [[1.0, 2.0]], "probabilities": [[0.25, 0.75]]},
        "classes": ["no", "yes"],
    }
    assert formal["id"] == "r1"
    assert formal["model_version"] == "3"
    assert formal["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]},
        {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
    ]


def test_only_the_outputs_asked_for_are_answered() -> None:
    answer = answered(b'{"inputs": [[1, 2]], "outputs": [{"name": "probabilities"}]}')

    assert answer["outputs"] == {"probabilities": [[0.25, 0.75]]}


def test_a_model_of_several_inputs_takes_them_by_name() -> None:
    request = decode(b'{"inputs": {"a": [1, 2], "b": [true, false]}}', TWO)

    assert request.inputs["a"].dtype == np.int32
    assert request.inputs["b"].dtype == np.bool_
    with pytest.raises(InvalidInput, match=r"several inputs.*a, b"):
        decode(b'{"inputs": [1, 2]}', TWO)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b'{"inputs": [[1e999]]}', "not JSON"),
        (b"[1]", 'with "inputs"'),
        (b'{"inputs": null}', "expected nested lists of FP32, got null"),
        (b'{"inputs": 3}', "got the number 3"),
        (b'{"inputs": [["1"]]}', "got a string"),
        (b'{"inputs": [[true]]}', "got a boolean"),
        (b'{"inputs": [[{}]]}', "got an object"),
        (b'{"inputs": [[1], [1, 2]]}', "different lengths"),
        (b'{"inputs": [[1e300]]}', "too large for FP32"),
        (
            b'{"inputs": [[1]], "outputs": [{"name": "z"}]}',
            "output 'z' does not exist; this model has logits",
        ),
        (b'{"inputs": [[1]], "outputs": 3}', '"outputs" must be a list'),
        (b'{"inputs": [[1]], "id": 3}', '"id" must be a string'),
        (tensor(datatype="FP64"), "expected datatype FP32, got 'FP64'"),
        (tensor(shape=...), "lacks 'shape'"),
        (tensor(shape=[2, -2]), "shape must be a list of sizes"),
        (tensor(shape=[2**40, 2**40]), "holds 1208925819614629174706176 elements, the data has 4"),
        (tensor(shape=[1] * 65, data=[1]), "expected shape [-1, 2], got [1, 1"),
        (tensor(shape=[0, 2**62, 2**62], data=[]), "expected shape [-1, 2], got [0, 4611"),
        (tensor(name="z"), "input 'z' does not exist; this model takes x"),
        (tensor(data="1234"), "got a string"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode(body, SIGNATURE)

    assert sentence in str(caught.value)


def test_integers_outside_the_type_are_refused_not_wrapped() -> None:
    with pytest.raises(InvalidInput, match="outside INT32"):
        decode(b'{"inputs": {"a": [3000000000], "b": [true]}}', TWO)
    with pytest.raises(InvalidInput, match=r"outside INT32|expected numbers of INT32"):
        decode(b'{"inputs": {"a": [99999999999999999999], "b": [true]}}', TWO)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
fields = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("name", "shape", "datatype", "data", "parameters"), json_values)
)


@settings(max_examples=400)
@given(
    inputs=json_values | st.lists(fields, max_size=3), rest=st.dictionaries(st.text(max_size=8), json_values)
)
def test_no_json_makes_decoding_fail_in_another_way(inputs: object, rest: dict[str, object]) -> None:
    body = json.dumps(rest | {"inputs": inputs}).encode()
    for signature in (SIGNATURE, TWO):
        try:
            request = decode(body, signature)
        except InvalidInput:
            continue
        assert all(isinstance(array, np.ndarray) for array in request.inputs.values())


RAW = Signature(
    inputs=(
        TensorSpec(name="age", dtype="FP32", shape=(-1,), nullable=True),
        TensorSpec(name="city", dtype="BYTES", shape=(-1,), nullable=True),
        TensorSpec(name="note", dtype="BYTES", shape=(-1,)),
    ),
    outputs=(TensorSpec(name="y", dtype="FP32", shape=(-1,)),),
)


def raw_tensors(**data: list[object]) -> bytes:
    datatypes = {spec.name: spec.dtype for spec in RAW.inputs}
    return orjson.dumps(
        {
            "inputs": [
                {"name": name, "shape": [len(values)], "datatype": datatypes[name], "data": values}
                for name, values in data.items()
            ]
        }
    )


@pytest.mark.parametrize("in_tensors", [False, True])
def test_texts_and_what_is_missing_are_read_in_both_forms(in_tensors: bool) -> None:
    columns: dict[str, list[object]] = {"age": [40, None], "city": [None, "Ålesund"], "note": ["", "b"]}
    body = raw_tensors(**columns) if in_tensors else orjson.dumps({"inputs": columns})

    inputs = decode(body, RAW).inputs

    np.testing.assert_array_equal(inputs["age"], np.float32([40, np.nan]))
    assert inputs["age"].dtype == np.float32
    assert inputs["city"].tolist() == [None, "Ålesund"]
    assert inputs["note"].tolist() == ["", "b"]
    assert decode(b'{"inputs": {"city": []}}', RAW).inputs["city"].dtype == object


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"note": ["a", None]}, "input 'note': expected strings, got null"),
        ({"note": [["a"]]}, "input 'note': expected strings, got a list"),
        ({"age": [40, "x"]}, "input 'age': expected numbers of FP32, got a string"),
        ({"age": [1e39, None]}, "input 'age': a number is too large for FP32"),
        ({"age": None}, "input 'age': expected nested lists of FP32, got null"),
    ],
)
def test_texts_and_numbers_that_are_none_are_refused(columns: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode(orjson.dumps({"inputs": columns}), RAW)


def test_null_is_refused_where_nothing_may_be_missing() -> None:
    with pytest.raises(InvalidInput, match="expected numbers of FP32, got null"):
        decode(b'{"inputs": [[1, null]]}', SIGNATURE)


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [[1, true]]}',
        b'{"inputs": [[1.5, false]]}',
        b'{"inputs": {"x": [[1, true]]}}',
        b'{"inputs": [[1, true]], "id": "r"}',
        tensor(data=[1, 2, 3, True]),
        orjson.dumps({"inputs": [{"data": [1, True], "name": "x", "shape": [1, 2], "datatype": "FP32"}]}),
    ],
)
def test_a_boolean_among_numbers_is_no_number_wherever_it_stands(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected numbers of FP32, got a boolean"):
        decode(body, SIGNATURE)


@pytest.mark.parametrize("value", ['"1"', "null", "{}"])
@pytest.mark.parametrize("form", ['{"inputs": [[1, %s]]}', '{"id": "s", "inputs": {"x": [[%s, 1]]}}'])
def test_nothing_but_numbers_is_read_as_numbers(form: str, value: str) -> None:
    with pytest.raises(InvalidInput, match="expected numbers of FP32, got "):
        decode((form % value).encode(), SIGNATURE)


def test_deep_lists_are_refused_as_such() -> None:
    with pytest.raises(InvalidInput, match="nested deeper than 64"):
        decode(b'{"inputs": ' + b"[" * 100 + b"1" + b"]" * 100 + b"}", SIGNATURE)


def test_what_a_caller_made_up_is_not_repeated_at_length() -> None:
    name = "z" * 100_000
    bodies = [
        orjson.dumps({"inputs": {name: [[1, 2]]}}),
        orjson.dumps({"inputs": [[1, 2]], "outputs": [name]}),
        tensor(name=name),
        tensor(datatype=name),
        tensor(shape=[name]),
    ]
    for body in bodies:
        with pytest.raises(InvalidInput) as caught:
            decode(body, SIGNATURE)
        assert len(str(caught.value)) < 300


def test_a_raw_body_is_as_many_rows_as_it_holds() -> None:
    raw = np.array([[1, 2], [3, 4], [5, 6]], dtype="<f4").tobytes()
    request = decode(raw, SIGNATURE, Head(header_length="0"))
    assert request.inputs["x"].shape == (3, 2)
    assert request.outputs == {"logits": True, "probabilities": True}
    with pytest.raises(InvalidInput, match=r"a row of FP32 \[2\] takes 8 bytes, 23 came"):
        decode(raw[:-1], SIGNATURE, Head(header_length="0"))
    with pytest.raises(InvalidInput, match="several inputs"):
        decode(raw, TWO, Head(header_length="0"))


def test_an_aligned_tensor_is_not_copied_and_another_is_made_so() -> None:
    raw = np.array([[1, 2]], dtype="<f4").tobytes()
    described = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}
    header = orjson.dumps({"inputs": [described]})
    for padding, copied in ((-len(header) % 8, False), (-len(header) % 8 + 1, True)):
        padded = header + b" " * padding
        array = decode(padded + raw, SIGNATURE, Head(header_length=str(len(padded)))).inputs["x"]
        assert array.flags.aligned
        assert array.flags.owndata == copied
        np.testing.assert_array_equal(array, [[1, 2]])


def binary(values: list[float], heads: Heads, **more: object) -> InferRequest:
    described = {
        "name": "x",
        "shape": [1, 2],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 8},
        **more,
    }
    head = orjson.dumps({"inputs": [described], "parameters": {"binary_data_output": True}})
    body = head + np.array(values, np.float32).tobytes()
    return decode(body, SIGNATURE, Head(header_length=str(len(head))), heads)


def test_a_head_that_comes_again_is_not_read_again_and_its_tensors_are() -> None:
    heads = Heads()
    first, second = binary([1, 2], heads), binary([3, 4], heads)
    assert first.outputs is second.outputs, "understood once"
    assert first.inputs["x"].tolist() == [[1, 2]]
    assert second.inputs["x"].tolist() == [[3, 4]]
    for values, sentence in (
        ([1], "binary_data_size is 8, and 4 bytes are left"),
        ([1, 2, 3], "4 bytes follow"),
        ([1, np.nan], "a number is NaN"),
    ):
        with pytest.raises(InvalidInput, match=sentence):
            binary(values, heads)


def test_of_heads_no_data_and_no_more_than_some_are_kept() -> None:
    heads = Heads()
    for number in range(1000):
        binary([1, 2], heads, note=str(number))
    assert binary([1, 2], heads, note="999").outputs is binary([1, 2], heads, note="999").outputs
    assert len(heads) == 128
    with_data = orjson.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]})
    few = Heads()
    decode(with_data, SIGNATURE, Head(header_length=str(len(with_data))), few)
    binary([1, 2], few, note="n" * 5000)
    assert len(few) == 0


@given(st.lists(st.floats(width=32, allow_nan=False) | st.integers(-(2**24), 2**24), min_size=1, max_size=20))
def test_numbers_read_fast_are_those_read_slowly(values: list[float]) -> None:
    signature = Signature(
        inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1,)),), outputs=SIGNATURE.outputs
    )
    flat = orjson.dumps(
        {"inputs": [{"name": "x", "shape": [len(values)], "datatype": "FP32", "data": values}]}
    )
    expected = np.array(values, np.float32)
    if not np.isfinite(expected).all():
        with pytest.raises(InvalidInput):
            decode(flat, signature)
        return
    read = decode(flat, signature).inputs["x"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, expected)
