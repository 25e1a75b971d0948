"""Transforms: what scikit-learn's give, fitted on training rows only, the same for a client's rows, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from raymaas.data.rows import Rows
from raymaas.data.transforms.catalogue import TRANSFORMS
from raymaas.data.transforms.fitted import Fitted, fit_transforms
from raymaas.data.transforms.tokenize import words_of
from raymaas.errors import IntegrityError, InvalidInput
from raymaas.specs.datasets import Column, DatasetCard
from raymaas.specs.jobs import Component

AGE = np.float32([30, np.nan, 7, 30, 52])
CITY = np.array(["Rome", "Oslo", None, "Oslo", "Bern"], dtype=object)
NOTE = np.array(["To be, or not.", "", "be be", "Que será?", "not"], dtype=object)


def rows_of(**columns: np.ndarray) -> tuple[Rows, DatasetCard]:
    """A set of these columns, its rows numbered from 100."""
    count = len(next(iter(columns.values())))
    described = tuple(
        Column(name=name, type="text" if values.dtype == object else "number", shape=values.shape[1:])
        for name, values in columns.items()
    )
    card = DatasetCard(
        name="people",
        fingerprint="0" * 64,
        rows=count,
        features=0,
        shape=(),
        target="none",
        columns=described,
    )
    rows = Rows(
        x_ND=np.empty((count, 0), np.float32),
        y_N=np.zeros(count, np.int64),
        id_N=np.arange(100, 100 + count),
        columns=columns,
    )
    return rows, card


def fitted(*wanted: dict[str, Any], **columns: np.ndarray) -> Fitted:
    rows, card = rows_of(**columns)
    return fit_transforms([Component.model_validate(each) for each in wanted], rows, card)


def x_of(*wanted: dict[str, Any], **columns: np.ndarray) -> np.ndarray:
    """What the columns become that the transforms were fitted on."""
    x = fitted(*wanted, **columns).x_of(columns)
    assert x.dtype == np.float32
    return x


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent"])
def test_imputing_numbers_gives_what_scikit_learn_gives(strategy):
    expected = SimpleImputer(strategy=strategy).fit_transform(AGE[:, None].astype(np.float64))
    found = x_of({"use": "impute", "config": {"strategy": strategy}}, age=AGE)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_texts_are_imputed_by_the_most_frequent_or_a_constant():
    for config, filled in (
        ({"strategy": "most_frequent"}, "Oslo"),
        ({"strategy": "constant", "value": "?"}, "?"),
    ):
        made = fitted({"use": "impute", "config": config}, {"use": "one_hot"}, city=CITY)
        categories = sorted({"Rome", "Oslo", "Bern", filled})
        x = made.x_of({"city": np.array([None], dtype=object)})
        assert x.tolist() == [[float(each == filled) for each in categories]]


def test_a_constant_number_fills_columns_of_numbers_only():
    made = fitted({"use": "impute", "config": {"strategy": "constant", "value": -1}}, {"use": "one_hot"},
                  age=AGE, city=np.array(["a"] * 5, dtype=object))  # fmt: skip
    x = made.x_of({"age": np.float32([np.nan]), "city": np.array(["a"], dtype=object)})
    assert x.tolist() == [[-1, 1]]


def test_standardizing_gives_what_scikit_learn_gives():
    x_ND, _ = load_breast_cancer(return_X_y=True)
    x_ND = x_ND.astype(np.float32)
    found = x_of({"use": "standardize"}, measures=x_ND)
    expected = StandardScaler().fit_transform(x_ND.astype(np.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@given(arrays(np.float32, (7, 2), elements=st.floats(-1e6, 1e6, width=32)), st.floats(-1e6, 1e6, width=32))
def test_standardized_training_rows_have_mean_0_and_deviation_1_or_are_0(x_ND, constant):
    x_ND = np.column_stack([x_ND, np.full(7, constant, np.float32)])
    found = x_of({"use": "standardize"}, measures=x_ND).astype(np.float64)
    assert (np.abs(found[:, 2]) == 0).all()
    spread = x_ND.astype(np.float64).std(axis=0)
    wide = spread > 1e-3 * (1 + np.abs(x_ND).max(axis=0))
    np.testing.assert_allclose(found[:, wide].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found[:, wide].std(axis=0), 1, atol=1e-4)


def test_a_value_that_is_always_the_same_is_only_centred():
    constant = np.full(4097, 0.1, np.float32)
    assert np.abs(x_of({"use": "standardize"}, measure=constant)).max() < 1e-6
    made = fitted({"use": "standardize"}, measure=constant)
    assert made.x_of({"measure": np.float32([2.1])})[0, 0] == pytest.approx(2, rel=1e-6)


def test_what_is_missing_does_not_count_and_stays_missing_when_standardized():
    found = x_of(
        {"use": "standardize"}, {"use": "impute", "config": {"strategy": "constant", "value": 0}}, age=AGE
    )
    present = AGE[~np.isnan(AGE)].astype(np.float64)
    assert found[1, 0] == 0
    np.testing.assert_allclose(found[[0, 2, 3, 4], 0], (present - present.mean()) / present.std(), rtol=1e-6)


def test_one_hot_gives_what_scikit_learn_gives_and_zeros_for_the_unknown():
    city = np.array(["Rome", "Oslo", "Oslo", "Bern"], dtype=object)
    asked = np.array(["Oslo", "Paris", "Rome"], dtype=object)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(city[:, None])
    made = fitted({"use": "one_hot"}, city=city)
    assert made.x_of({"city": asked}).tolist() == encoder.transform(asked[:, None]).tolist()


def test_one_hot_keeps_the_most_frequent_categories():
    city = np.array(["b", "a", "c", "c", "b"], dtype=object)
    x = x_of({"use": "one_hot", "config": {"at_most": 2}}, city=city)
    assert x.tolist() == [[1, 0], [0, 0], [0, 1], [0, 1], [1, 0]]


def test_words_become_the_numbers_of_a_vocabulary():
    made = fitted({"use": "tokenize", "config": {"length": 4, "vocabulary": 3}}, note=NOTE)
    # be 3 times, not 2 times, then the first of , . ? que será to
    assert made.vocabulary == 5
    asked = np.array(["Be NOT be never, ever", "", ",,"], dtype=object)
    assert made.x_of({"note": asked}).tolist() == [[2, 3, 2, 1], [0, 0, 0, 0], [4, 4, 0, 0]]


def test_bytes_become_numbers_from_1_on_and_none_is_unknown():
    made = fitted({"use": "tokenize", "config": {"kind": "bytes", "length": 5}}, note=NOTE)
    assert made.vocabulary == 257
    found = made.x_of({"note": np.array(["aé", "\0", "123456"], dtype=object)})
    assert found.tolist() == [[98, 196, 170, 0, 0], [1, 0, 0, 0, 0], [50, 51, 52, 53, 54]]


def test_words_are_runs_of_letters_and_digits_and_each_other_sign():
    assert words_of("Don't stop: x_1 = 3.5!") == [
        "don",
        "'",
        "t",
        "stop",
        ":",
        "x_1",
        "=",
        "3",
        ".",
        "5",
        "!",
    ]


def test_columns_are_put_side_by_side_in_their_order():
    made = fitted(
        {"use": "impute", "config": {"columns": ["city"], "strategy": "most_frequent"}},
        {"use": "impute"},
        {"use": "one_hot"},
        city=CITY,
        age=AGE,
    )
    assert made.input.shape == (-1, 4)
    asked = {"city": np.array(["Rome"], dtype=object), "age": np.float32([5])}
    assert made.x_of(asked).tolist() == [[0, 0, 1, 5]]


def test_what_is_fitted_depends_on_the_training_rows_only():
    made = fitted({"use": "standardize"}, age=np.float32([0, 2]))
    other, _ = rows_of(age=np.float32([100, 200, 300]))
    assert made.apply(other).x_ND.tolist() == [[99], [199], [299]]


def test_a_sealed_document_makes_the_same_of_the_same_rows():
    wanted = (
        {"use": "impute"},
        {"use": "impute", "config": {"columns": ["city"], "strategy": "most_frequent"}},
        {"use": "standardize"},
        {"use": "one_hot"},
    )
    made = fitted(*wanted, age=AGE, city=CITY)
    sealed = made.document.seal()
    again = Fitted.unseal(sealed, source="transforms.json")
    np.testing.assert_array_equal(
        again.x_of({"age": AGE, "city": CITY}), made.x_of({"age": AGE, "city": CITY})
    )
    with pytest.raises(IntegrityError, match="does not match its own digest"):
        Fitted.unseal(sealed.replace(b"Oslo", b"Rome"), source="transforms.json")


def test_the_signature_says_what_a_client_sends():
    made = fitted({"use": "impute"}, {"use": "one_hot"}, age=AGE, city=np.array(["a"] * 5, dtype=object))
    assert [(each.name, each.dtype, each.shape, each.nullable) for each in made.inputs] == [
        ("age", "FP32", (-1,), True),
        ("city", "BYTES", (-1,), False),
    ]
    assert [each.name for each in fitted(age=AGE[:1]).inputs] == ["x"]


def test_rows_keep_their_columns_and_what_a_client_sends_beside_x():
    rows, card = rows_of(age=np.float32([0, 2]), x=np.float32([4, 8]))
    ready = fit_transforms([Component(use="standardize")], rows, card).apply(rows)
    assert ready.x_ND.tolist() == [[-1, -1], [1, 1]]
    assert ready.columns["x"].tolist() == [4, 8]
    plain = fit_transforms([], rows, card).apply(rows)
    assert (plain.columns, plain.kept["x"].tolist()) == ({}, [4, 8])
    assert plain.inputs(fit_transforms([], rows, card).inputs)["x"].tolist() == [[0, 4], [2, 8]]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "column 'age' has nothing in row 101; .* {use: impute}"),
        (
            [{"use": "impute"}],
            "column 'city' is text; add {use: one_hot} or {use: tokenize} to the job's transforms",
        ),
        ([{"use": "one_hot"}], r"transforms\[0\] one_hot: column 'city' has nothing in row 102"),
        ([{"use": "imput"}], r"transforms\[0\] imput: transform 'imput' is unknown; did you mean 'impute'"),
        (
            [{"use": "impute", "config": {"stratgy": "mean"}}],
            "stratgy: unknown field; did you mean 'strategy'",
        ),
        (
            [{"use": "impute", "config": {"columns": ["agee"]}}],
            "there is no column 'agee'; there are age, city",
        ),
        (
            [{"use": "standardize", "config": {"columns": ["city"]}}],
            "column 'city' is not numbers; leave it out",
        ),
        ([{"use": "one_hot", "config": {"columns": ["age"]}}], "column 'age' is not text; leave it out"),
        (
            [{"use": "impute", "config": {"strategy": "constant"}}],
            "value and {strategy: constant} go together",
        ),
        ([{"use": "tokenize", "config": {}}], "length: required field is missing"),
        (
            [{"use": "tokenize", "config": {"kind": "bytes", "length": 3, "vocabulary": 5}}],
            "vocabulary belongs to {kind: words}",
        ),
    ],
)
def test_transforms_that_do_not_fit_the_columns_are_refused(wanted, message):
    columns = {"age": AGE, "city": CITY} if wanted else {"age": AGE}
    with pytest.raises(InvalidInput, match=message):
        fitted(*wanted, **columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": AGE}, "the transforms take a column 'city', and the data set has age; give it one"),
        ({"age": AGE, "city": AGE}, r"column 'city' is number \[\], and the transforms take text \[\] there"),
        (
            {"age": np.ones((5, 2), np.float32), "city": CITY},
            r"column 'age' is number \[2\], and .* number \[\]",
        ),
    ],
)
def test_other_rows_without_the_same_columns_are_refused(columns, message):
    made = fitted(
        {"use": "impute"},
        {"use": "impute", "config": {"columns": ["city"], "strategy": "most_frequent"}},
        {"use": "one_hot"},
        age=AGE,
        city=CITY,
    )
    with pytest.raises(InvalidInput, match=message):
        made.apply(rows_of(**columns)[0])


def test_a_column_without_a_value_in_training_is_refused():
    for use in ("impute", "standardize"):
        with pytest.raises(InvalidInput, match="column 'age' has no value in any training row"):
            fitted({"use": use}, age=np.float32([np.nan, np.nan]))


def test_every_transform_says_what_it_does_and_explains_its_settings():
    for settings, step in TRANSFORMS.values():
        assert (settings.__doc__ or "").partition("\n")[0].endswith(".")
        assert all(field.description for field in settings.model_fields.values())
        assert step.__doc__
