"""Comparing: McNemar's printed p-values, paired intervals that beat unpaired ones, and the sentence that says it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from raymaas.errors import InvalidInput
from raymaas.evaluate.comparing import Contender, compare, verdict
from raymaas.evaluate.mcnemar import mcnemar
from raymaas.evaluate.regression import score
from raymaas.specs.evaluation import Metric


def test_p_values_are_the_printed_ones() -> None:
    # Airway hyper-responsiveness before and after transplantation, 1 row against 7: Fagerland, Lydersen, Laake, BMC
    # Medical Research Methodology 13 (2013), the exact conditional and the mid-p test.
    assert mcnemar(1, 7).exact_p == pytest.approx(0.0703, abs=5e-5)
    assert mcnemar(1, 7).mid_p == pytest.approx(0.0391, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=60)
def test_the_exact_p_is_scipys_binomial_and_the_mid_p_is_below_it(first: int, second: int) -> None:
    found, mirrored = mcnemar(first, second), mcnemar(second, first)
    assert (found.exact_p, found.mid_p) == (mirrored.exact_p, mirrored.mid_p)
    if first + second:
        assert found.exact_p == pytest.approx(binomtest(first, first + second).pvalue)
        assert 0 < found.mid_p < found.exact_p
    else:
        assert (found.exact_p, found.mid_p) == (1, 1)


def test_many_rows_are_no_trouble() -> None:
    assert 0 < mcnemar(4000, 4400).mid_p < 1e-4


def contender(name: str, correct: list[int], rows: list[int] | None = None) -> Contender:
    return Contender.of_record(
        name, np.array(rows or range(len(correct))), {"correct": np.array(correct, np.uint8)}
    )


def test_classifiers_are_compared_row_by_row_whatever_the_order_of_rows() -> None:
    first = contender("m@1", [1] * 60 + [0] * 20 + [1] * 5)
    second = contender("m@2", [1] * 5 + [0] * 5 + [1] * 75, rows=[*range(5), *range(80, 85), *range(5, 80)])
    found = compare(first, second, dataset="d", part="test", source="recorded")
    assert found.mcnemar is not None
    assert (found.mcnemar.first_only, found.mcnemar.second_only) == (5, 20)
    assert found.differences["accuracy"].value == pytest.approx(15 / 85)
    assert found.differences["accuracy"].method == "tango"
    assert found.verdict.startswith("m@2 is better than m@1: +17.6 points [")
    assert found.verdict.endswith("20 rows only m@2 gets right, 5 only m@1")
    back = compare(second, first, dataset="d", part="test", source="recorded")
    assert back.differences["accuracy"].value == -found.differences["accuracy"].value
    assert back.verdict.startswith("m@2 is better than m@1: +17.6 points [+"), (
        "the better one minus the other"
    )


def test_a_difference_that_may_be_luck_is_called_that() -> None:
    found = compare(
        contender("m@1", [1, 0, 1, 1] * 10),
        contender("m@2", [1, 0, 1, 1] * 9 + [1, 1, 1, 1]),
        dataset="d",
        part="test",
        source="recorded",
    )
    assert found.verdict.startswith("m@1 and m@2 cannot be told apart on these rows: +2.5 points")


def test_less_is_better_where_it_is() -> None:
    less = {"rmse": Metric(value=-3, low=-5, high=-1, method="bca")}
    assert verdict("m@1", "m@2", less, None) == "m@2 is better than m@1: rmse -3 [-5, -1]"
    more = {"elbo": Metric(value=-3, low=-5, high=-1, method="bca")}
    assert verdict("m@1", "m@2", more, None) == "m@1 is better than m@2: elbo +3 [+1, +5]"


def test_paired_figures_tell_apart_what_two_intervals_do_not() -> None:
    draw = np.random.default_rng(0)
    y_N = draw.normal(0, 10, 200)
    shared_N = draw.normal(0, 3, 200)
    worse, better = (score(y_N + factor * shared_N, y_N, constant=0.0) for factor in (1.1, 1.0))
    assert worse.metrics["rmse"].low < better.metrics["rmse"].high, "their intervals overlap"
    row_N = np.arange(200)
    found = compare(
        Contender.of_scored("m@1", row_N, worse),
        Contender.of_scored("m@2", row_N, better),
        dataset="d",
        part="test",
        source="evaluated",
    )
    for name in ("rmse", "mae", "r2"):
        assert found.differences[name].low * found.differences[name].high > 0, (
            f"{name}: both ends on one side of 0"
        )
    assert found.differences["rmse"].value == pytest.approx(
        better.metrics["rmse"].value - worse.metrics["rmse"].value
    )
    assert found.verdict.startswith("m@2 is better than m@1: rmse -")
    assert found.mcnemar is None


def test_what_a_regression_kept_row_by_row_gives_its_rmse_too() -> None:
    squared = {"mse": np.array([1.0, 4.0, 9.0, 16.0])}
    half = {"mse": np.array([0.25, 1.0, 2.25, 4.0])}
    first, second = (
        Contender.of_record(name, np.arange(4), v) for name, v in (("m@1", squared), ("m@2", half))
    )
    found = compare(first, second, dataset="d", part="test", source="recorded")
    assert found.differences["rmse"].value == pytest.approx(-np.sqrt(7.5) / 2)


def test_other_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="not of the same rows: 3 and 3, with 2 in common"):
        compare(
            contender("m@1", [1, 1, 0]),
            contender("m@2", [1, 1, 0], rows=[1, 2, 3]),
            dataset="d",
            part="test",
            source="recorded",
        )
