"""The catalogue of data: built-in sets are scikit-learn's own, and unknown names and settings are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pydoc_data.topics import topics

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine, make_classification
from sklearn.model_selection import train_test_split

from raymaas.data.catalogue import SOURCES, dataset_name, source_of, summary_of
from raymaas.data.dataset import prepare
from raymaas.data.sources.docstrings import CLASSES, sectioned
from raymaas.data.split import split
from raymaas.errors import InvalidInput
from raymaas.specs.jobs import Component, Split
from raymaas.store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "load"), [("breast_cancer", load_breast_cancer), ("iris", load_iris), ("wine", load_wine)]
)
def test_a_built_in_set_is_scikit_learns(store, name, load):
    dataset, bunch = prepare(store, Component(use=name)), load()
    np.testing.assert_array_equal(dataset.rows.x_ND, bunch.data.astype(np.float32))
    np.testing.assert_array_equal(dataset.rows.y_N, bunch.target)
    assert dataset.card.classes == tuple(bunch.target_names)


def test_synthetic_rows_and_their_test_part_are_scikit_learns(store):
    x_ND, y_N = make_classification(
        n_samples=1000, n_features=20, n_informative=2, n_redundant=10, random_state=42
    )
    dataset = prepare(store, Component(use="synthetic"))
    np.testing.assert_array_equal(dataset.rows.x_ND, x_ND.astype(np.float32))
    _, test_x_ND, _, test_y_N = train_test_split(x_ND, y_N, test_size=0.2, random_state=42)
    test = split(dataset, Split(test=0.2, stratify=False, seed=42)).test
    assert sorted(test.x_ND[:, 0]) == sorted(test_x_ND[:, 0].astype(np.float32))
    assert sorted(test.y_N) == sorted(test_y_N)


def test_diabetes_is_scikit_learns_and_has_a_number_to_learn(store):
    dataset, bunch = prepare(store, Component(use="diabetes")), load_diabetes()
    np.testing.assert_array_equal(dataset.rows.x_ND, bunch.data.astype(np.float32))
    np.testing.assert_array_equal(dataset.rows.y_N, bunch.target.astype(np.float32))
    assert (dataset.card.target, dataset.card.rows) == ("number", 442)


def test_python_help_is_the_bytes_of_every_topic_with_the_last_tenth_held_out(store):
    text = "".join(topics[name] for name in sorted(topics)).encode()
    dataset = prepare(store, Component(use="python_help", config={"window": 100}))
    assert (dataset.card.target, dataset.card.shape) == ("none", (100,))
    assert dataset.rows.x_ND.astype(np.uint8).tobytes() == text[: len(text) // 100 * 100]
    test = split(dataset, Split(test="given")).test
    assert len(test) == len(text) // 100 // 10
    assert test.id_N.tolist() == list(range(dataset.card.rows - len(test), dataset.card.rows))


def test_sentences_of_documentation_are_told_apart_by_their_section():
    docstring = """Return the sum of two numbers. It is not shown.

    Parameters
    ----------
    a, b : float
        The numbers that are to be added. Both must be finite.

        - Not the first sentence of it all.
    flag : bool
        Too short.

    Returns
    -------
    float
        The sum of both of the numbers.

    Notes
    -----
    The sum is exact up to rounding. A second note stands here too.

    >>> This is no prose at all.

    See Also
    --------
    other : Something else that is left out.
    """
    assert list(sectioned(docstring)) == [
        ("summary", "Return the sum of two numbers."),
        ("parameter", "The numbers that are to be added."),
        ("return", "The sum of both of the numbers."),
        ("note", "The sum is exact up to rounding."),
        ("note", "A second note stands here too."),
    ]


def test_docstrings_are_thousands_of_sentences_of_each_class(store):
    dataset = prepare(store, Component(use="docstrings"))
    assert dataset.card.classes == ("note", "parameter", "return", "summary")
    assert [column.name for column in dataset.card.columns] == ["text"]
    assert np.bincount(dataset.rows.y_N).min() > 2000
    texts = dataset.rows.columns["text"]
    assert len(set(texts)) == len(texts)
    assert all(text.isascii() and text.endswith(".") for text in texts)
    known = dict(zip(texts, dataset.rows.y_N, strict=True))
    assert known["Compute the arithmetic mean along the specified axis."] == CLASSES.index("summary")


def test_settings_of_the_synthetic_set_change_it(store):
    config = {"n_samples": 50, "n_features": 5, "n_informative": 3, "n_redundant": 0, "n_classes": 3}
    card = prepare(store, Component(use="synthetic", config=config)).card
    assert (card.rows, card.shape, card.classes) == (50, (5,), ("0", "1", "2"))
    other = prepare(store, Component(use="synthetic", config=config | {"random_state": 1})).card
    assert other.fingerprint != card.fingerprint


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_features": 5}, r"n_informative \+ n_redundant must be at most n_features"),
        ({"n_classes": 3}, r"2 \* n_classes must be at most 2 \*\* n_informative"),
        ({"samples": 5}, "data set 'synthetic': samples: unknown field; did you mean 'n_samples'"),
        ({"n_samples": "many"}, "data set 'synthetic': n_samples: input should be a valid integer"),
    ],
)
def test_settings_that_cannot_be_are_refused(config, message):
    with pytest.raises(InvalidInput, match=message):
        source_of(Component(use="synthetic", config=config))


def test_an_unknown_set_or_setting_is_refused_with_the_nearest_name():
    with pytest.raises(InvalidInput, match="'digit' is unknown; did you mean 'digits'"):
        source_of(Component(use="digit"))
    with pytest.raises(InvalidInput, match="takes no settings, got size"):
        source_of(Component(use="digits", config={"size": 3}))


def test_an_import_may_have_a_name_of_its_own():
    config = {"path": "people.csv", "label": "kind"}
    assert dataset_name(Component(use="digits")) == "digits"
    assert dataset_name(Component(use="csv", config=dict(config))) == "csv"
    assert dataset_name(Component(use="csv", config=config | {"name": "people"})) == "people"
    with pytest.raises(InvalidInput, match=r"data set 'csv': name: '\.\./up' is not a name"):
        dataset_name(Component(use="csv", config=config | {"name": "../up"}))


def test_every_source_says_what_it_is_in_one_line():
    for name, source in SOURCES.items():
        assert summary_of(source).endswith("."), name
