"""Agreement of two versions' answers: by class where both classify, else within a hundredth."""

from __future__ import annotations

import numpy as np
import pytest

from raymaas.errors import InvalidInput
from raymaas.evaluate.agreement import Said, differing


def said(*rows: list[float], classes: tuple[str, ...] = (), name: str = "probabilities") -> Said:
    return Said({name: np.array(rows, np.float32)}, classes)


def test_classifiers_agree_where_they_name_the_same_class() -> None:
    first = said([0.9, 0.1], [0.51, 0.49], [0.2, 0.8], classes=("a", "b"))
    second = said([0.6, 0.4], [0.49, 0.51], [0.0, 1.0], classes=("a", "b"))
    assert differing(first, second).tolist() == [False, True, False]


def test_classes_are_compared_by_label_and_not_by_place() -> None:
    turned = said([0.1, 0.9], classes=("b", "a"), name="logits")
    assert differing(said([0.9, 0.1], classes=("a", "b")), turned).tolist() == [False]
    assert differing(said([0.9, 0.1], classes=("a", "b")), said([1, 0], classes=("x", "y"))).tolist() == [
        True
    ]


def test_numbers_agree_within_a_hundredth_of_the_greatest() -> None:
    first = said([100.0, 0.0], [100.0, 0.0], [np.nan, 1.0], name="y")
    second = said([100.9, 0.5], [103.0, 0.0], [np.nan, 1.0], name="y")
    assert differing(first, second).tolist() == [False, True, False]
    assert differing(said([0.0], name="y"), said([0.0], name="y")).tolist() == [False]


def test_any_shared_output_may_differ_and_the_others_are_left_out() -> None:
    first = Said({"y": np.ones((2, 1)), "text": np.array(["a", "b"], object), "mine": np.ones(2)})
    second = Said({"y": np.ones((2, 1)), "text": np.array(["a", "c"], object)})
    assert differing(first, second).tolist() == [False, True]
    assert differing(first, Said({"y": np.ones((2, 3))})).tolist() == [True, True]


def test_answers_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no output in common: y; z"):
        differing(said([1.0], name="y"), said([1.0], name="z"))
    with pytest.raises(InvalidInput, match="1 and 2 rows"):
        differing(said([1.0], name="y"), said([1.0], [1.0], name="y"))
