"""Drift agrees with scipy's figures, is silent about the reference itself, and tells what moved and how far."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, entropy, false_discovery_control, ks_2samp

from raymaas.monitor.chance import adjusted, chi_square, kolmogorov_smirnov
from raymaas.monitor.counts import Counting, added
from raymaas.monitor.drift import judged, stability_index
from raymaas.monitor.looking import Tensors
from raymaas.monitor.reference import reference_of
from raymaas.specs.drift import DriftReport, Reference
from raymaas.specs.versions import Signature, TensorSpec

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
some_counts = st.lists(st.integers(0, 400), min_size=6, max_size=6)
TABLE = Signature(
    inputs=(
        TensorSpec(name="age", dtype="FP32", shape=(-1,), nullable=True),
        TensorSpec(name="town", dtype="BYTES", shape=(-1,), nullable=True),
        TensorSpec(name="member", dtype="BOOL", shape=(-1,)),
    ),
    outputs=(TensorSpec(name="probabilities", dtype="FP32", shape=(-1, 3)),),
    classes=("no", "maybe", "yes"),
)


def table_rows(count: int, *, seed: int, older: float = 0.0, town: str = "Bern") -> Tensors:
    draw = np.random.default_rng(seed)
    towns = np.array(["Basel", town, None], dtype=object)[draw.choice(3, count, p=[0.55, 0.4, 0.05])]
    return {
        "input": {
            "age": draw.normal(40 + older, 10, count).astype(np.float32),
            "town": towns,
            "member": draw.random(count) < 0.3,
        },
        "prediction": {"probabilities": draw.dirichlet([4, 2, 1], count).astype(np.float32)},
    }


def image_rows(count: int, *, seed: int) -> tuple[Tensors, Signature]:
    draw = np.random.default_rng(seed)
    x_ND = draw.random((count, 20, 20)).astype(np.float32) * (draw.random((count, 20, 20)) < 0.4)
    x_ND[:, 0] = 0
    signature = Signature(
        inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1, 20, 20)),),
        outputs=(TensorSpec(name="prediction", dtype="FP32", shape=(-1,)),),
    )
    return {"input": {"x": x_ND}, "prediction": {"prediction": x_ND.mean(axis=(1, 2))}}, signature


def report_on(reference: Reference, live: Tensors) -> DriftReport:
    rows = len(next(iter(live["prediction"].values())))
    counts = Counting(reference.features).of(live)
    return judged(reference, rows, counts, model="m", version=1, since=WHEN, until=WHEN)


def in_bins(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(edges, values, "left"), minlength=len(edges) + 1)


@pytest.mark.parametrize("moved", [0.0, 0.1, 0.3])
@pytest.mark.parametrize(("n", "m"), [(60, 90), (400, 3000)])
def test_kolmogorov_smirnov_is_scipys(n: int, m: int, moved: float) -> None:
    draw = np.random.default_rng(n)
    before, now = draw.normal(0, 1, n), draw.normal(moved, 1, m)
    edges = np.quantile(before, np.linspace(0.05, 0.95, 19))
    statistic, p = kolmogorov_smirnov(in_bins(before, edges), in_bins(now, edges))
    binned = ks_2samp(np.searchsorted(edges, before), np.searchsorted(edges, now), method="asymp")
    assert statistic == pytest.approx(binned.statistic)
    assert p == pytest.approx(binned.pvalue, abs=0.02)
    exact = ks_2samp(before, now).statistic
    assert exact - 0.06 <= statistic <= exact + 1e-12


def test_a_bin_for_each_number_gives_the_statistic_of_the_numbers() -> None:
    draw = np.random.default_rng(1)
    before, now = draw.integers(0, 40, 300), draw.integers(3, 40, 200)
    statistic, _ = kolmogorov_smirnov(np.bincount(before, minlength=40), np.bincount(now, minlength=40))
    assert statistic == pytest.approx(ks_2samp(before, now).statistic)


@given(some_counts, some_counts)
@settings(max_examples=100)
def test_chi_square_is_scipys_where_no_bin_is_rare(first: list[int], second: list[int]) -> None:
    table = np.array([first, second]) + 30
    known = chi2_contingency(table, correction=False)
    if known.expected_freq.min() < 5:
        return
    statistic, p = chi_square(*table.tolist())
    assert statistic == pytest.approx(known.statistic, abs=1e-9)
    assert p == pytest.approx(known.pvalue, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("bins", [2, 3, 10, 41])
def test_chi_square_is_scipys_of_any_number_of_bins(bins: int) -> None:
    table = np.random.default_rng(bins).integers(50, 90, (2, bins))
    known = chi2_contingency(table, correction=False)
    assert chi_square(*table.tolist()) == pytest.approx((known.statistic, known.pvalue), rel=1e-6)


def test_rare_bins_are_joined_before_they_are_tested() -> None:
    first, second = [500, 480, 1, 0, 2, 3], [50, 48, 1, 1, 0, 0]
    joined = np.array([[500, 480 + 6], [50, 48 + 2]])
    known = chi2_contingency(joined, correction=False)
    assert chi_square(first, second) == pytest.approx((known.statistic, known.pvalue))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_the_correction_for_many_features_is_scipys(p_values: list[float]) -> None:
    assert adjusted(p_values) == pytest.approx(false_discovery_control(p_values, method="bh").tolist())


@given(some_counts, some_counts)
@settings(max_examples=100)
def test_the_stability_index_is_scipys_divergence_both_ways(first: list[int], second: list[int]) -> None:
    index = stability_index(first, second)
    assert index == pytest.approx(stability_index(second, first))
    assert index >= 0
    there = np.array([first, second])[:, np.any([first, second], axis=0)] + 0.5
    if sum(first) and sum(second):
        known = entropy(there[0], there[1]) + entropy(there[1], there[0])
        assert index == pytest.approx(known, abs=1e-9)


@given(some_counts, st.integers(1, 5))
def test_equal_shares_are_no_difference(counts: list[int], times: int) -> None:
    more = [times * count for count in counts]
    assert kolmogorov_smirnov(counts, more) == pytest.approx((0, 1), abs=1e-9)
    assert chi_square(counts, more) == pytest.approx((0, 1), abs=1e-9)
    assert stability_index(counts, counts) == 0


@pytest.mark.parametrize(("moved", "index"), [(1 / 3, 0.1), (0.5, 0.25)])
def test_the_bounds_are_a_third_and_a_half_of_a_deviation(moved: float, index: float) -> None:
    draw = np.random.default_rng(0)
    before, now = draw.normal(0, 1, 200_000), draw.normal(moved, 1, 200_000)
    edges = np.quantile(before, np.linspace(0, 1, 17)[1:-1])
    assert stability_index(in_bins(before, edges), in_bins(now, edges)) == pytest.approx(index, rel=0.15)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_counts_add_up_to_those_of_all_rows_in_any_grouping(sizes: list[int]) -> None:
    counting = Counting(reference_of(table_rows(300, seed=1), TABLE, output="probabilities").features)
    live = table_rows(sum(sizes), seed=2, older=5)
    ends = np.cumsum(sizes)
    pieces: list[Tensors] = [
        {kind: {name: array[start:end] for name, array in arrays.items()} for kind, arrays in live.items()}
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    assert added(counting.of(piece) for piece in pieces) == counting.of(live)


def test_each_number_is_in_the_bin_it_is_said_to_be_in() -> None:
    rows = table_rows(1000, seed=3)
    age_N = rows["input"]["age"]
    age_N[:7] = np.nan
    age_N[7:9] = np.inf
    reference = reference_of(rows, TABLE, output="probabilities")
    age = next(feature for feature in reference.features if feature.name == "age")
    finite = age_N[np.isfinite(age_N)].astype(np.float64)
    assert age.counts[-1] == 9
    assert list(age.counts[:-1]) == in_bins(finite, np.array(age.edges)).tolist()
    assert min(age.counts[:-1]) > 0.8 * 991 / 16


def test_nothing_drifts_from_itself_nor_from_more_of_the_same() -> None:
    rows = table_rows(3000, seed=4)
    reference = reference_of(rows, TABLE, output="probabilities")
    assert report_on(reference, rows).verdict == "steady"
    assert report_on(reference, rows).psi == 0
    false = [
        report_on(reference, table_rows(1000, seed=seed)).verdict != "steady" for seed in range(100, 150)
    ]
    assert sum(false) <= 1


def test_what_drifted_is_named_and_what_did_not_is_steady() -> None:
    reference = reference_of(table_rows(3000, seed=4), TABLE, output="probabilities")
    report = report_on(reference, table_rows(800, seed=5, older=8, town="Genf"))
    verdicts = {feature.name: feature.verdict for feature in report.features}
    assert verdicts == {
        "town": "drifted",
        "age": "drifted",
        "member": "steady",
        "predicted class": "steady",
        "confidence": "steady",
    }
    assert report.verdict == "drifted"
    assert report.features[0].psi == report.psi == max(feature.psi for feature in report.features)


def test_a_difference_beyond_chance_that_is_small_is_no_drift() -> None:
    reference = reference_of(table_rows(20_000, seed=4), TABLE, output="probabilities")
    report = report_on(reference, table_rows(40_000, seed=5, older=1))
    age = next(feature for feature in report.features if feature.name == "age")
    assert age.p_adjusted < 1e-6
    assert age.verdict == "steady"


def test_few_rows_say_nothing() -> None:
    reference = reference_of(table_rows(3000, seed=4), TABLE, output="probabilities")
    assert report_on(reference, table_rows(49, seed=5, older=80)).verdict == "unknown"


def test_missing_values_alone_are_drift() -> None:
    reference = reference_of(table_rows(3000, seed=4), TABLE, output="probabilities")
    live = table_rows(1000, seed=5)
    live["input"]["age"][::4] = np.nan
    age = next(feature for feature in report_on(reference, live).features if feature.name == "age")
    assert age.verdict == "drifted"
    assert age.missing == 0.25
    assert age.missing_before == 0


@pytest.mark.parametrize("live", [-1.0, 8.0])
def test_a_constant_that_changes_either_way_is_drift(live: float) -> None:
    signature = Signature(
        inputs=(TensorSpec(name="x", dtype="FP32", shape=(-1,)),),
        outputs=(TensorSpec(name="prediction", dtype="FP32", shape=(-1,)),),
    )

    def constant(value: float) -> Tensors:
        return {
            "input": {"x": np.full(400, value, np.float32)},
            "prediction": {"prediction": np.arange(400, dtype=np.float32)},
        }

    reference = reference_of(constant(3), signature, output="prediction")
    found = {feature.name: feature for feature in report_on(reference, constant(live)).features}
    assert found["x"].verdict == "drifted"
    assert found["prediction"].verdict == "steady"


def test_images_are_looked_at_by_sums_and_by_some_numbers_that_vary() -> None:
    rows, signature = image_rows(2000, seed=6)
    reference = reference_of(rows, signature, output="prediction")
    names = [feature.name for feature in reference.features]
    assert names[:4] == ["prediction", "mean of x", "deviation of x", "zeros of x"]
    assert len(names) == 4 + 64
    assert not any(name.startswith("x[0,") for name in names)
    assert reference.left_out == 400 - 64
    assert len(reference.seal()) < 50_000
    darker, _ = image_rows(500, seed=7)
    darker["input"]["x"][:] = darker["input"]["x"] / 2
    drifted = {
        feature.name for feature in report_on(reference, darker).features if feature.verdict == "drifted"
    }
    assert {"mean of x", "deviation of x"} <= drifted
    assert "zeros of x" not in drifted


def test_texts_that_few_rows_share_are_not_kept() -> None:
    rows = table_rows(400, seed=8)
    rows["input"]["town"][:] = [f"secret {number}" for number in range(400)]
    reference = reference_of(rows, TABLE, output="probabilities")
    assert "length of town" in {feature.name for feature in reference.features}
    assert b"secret" not in reference.seal()
