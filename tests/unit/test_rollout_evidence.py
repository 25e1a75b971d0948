"""Evidence against a share's bound: on average never more than it should be, rarely wrong, and often right in time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_simulations import NEVER, crossings_of_naive_test, crossings_of_shares
from scipy.stats import binom

from raymaas.rollout.evidence import joined, log_evidence, share_interval

EACH = 0.05 / 3


@pytest.mark.parametrize("bound", [0.005, 0.05, 0.5])
@pytest.mark.parametrize("kept", [1.0, 0.9, 0.3])
def test_the_evidence_is_1_on_average_at_the_bound_and_less_below(bound: float, kept: float) -> None:
    trials = 300
    hits = np.arange(trials + 1)
    mean = np.exp(binom.logpmf(hits, trials, bound * kept) + log_evidence(hits, trials, bound)).sum()
    assert mean == pytest.approx(1, rel=1e-9) if kept == 1 else mean < 1


@given(st.integers(0, 500), st.integers(1, 500), st.floats(0.001, 0.9))
def test_more_hits_are_more_evidence_and_more_misses_less(hits: int, misses: int, bound: float) -> None:
    now = log_evidence(hits, hits + misses, bound)
    assert log_evidence(hits + 1, hits + misses + 1, bound) > now
    assert log_evidence(hits, hits + misses + 1, bound) < now
    assert log_evidence(hits, hits + misses, bound * 1.1) < now


def test_millions_of_requests_do_not_overflow() -> None:
    assert math.isfinite(log_evidence(10**9, 10**9, 0.005))
    assert -10 < log_evidence(0, 10**4, 0.005) < 0
    assert math.isfinite(log_evidence(0, 10**12, 0.005))


def test_nothing_seen_is_no_evidence_and_no_knowledge() -> None:
    assert log_evidence(0, 0, 0.005) == pytest.approx(0)
    assert share_interval(0, 0, alpha=0.05) == (0, 1)


@pytest.mark.parametrize(("bound", "requests"), [(0.005, 20_000), (0.05, 20_000)])
def test_a_version_at_its_bound_is_rarely_rolled_back_however_often_it_is_looked_at(
    bound: float, requests: int
) -> None:
    at_bound = crossings_of_shares(bound, bound, requests=requests, repetitions=800, seed=0, alpha=EACH)
    assert (at_bound != NEVER).mean() <= EACH
    naive = crossings_of_naive_test(bound, bound, requests=requests, repetitions=800, seed=0, alpha=0.05)
    assert (naive != NEVER).mean() > 0.25, "the test for one look would not have done"


@pytest.mark.parametrize(
    ("rate", "bound", "within"),
    [(0.01, 0.005, 4000), (0.02, 0.005, 800), (0.05, 0.005, 200), (0.1, 0.05, 600), (0.2, 0.05, 100)],
)
def test_a_version_beyond_its_bound_is_found_in_time(rate: float, bound: float, within: int) -> None:
    crossed = crossings_of_shares(rate, bound, requests=10_000, repetitions=200, seed=1, alpha=EACH)
    assert np.quantile(crossed, 0.5, method="lower") <= within


def test_a_version_that_fails_only_in_a_later_step_is_found_though_it_had_long_kept_its_bound() -> None:
    whole = log_evidence(40, 51_000, 0.005)
    this_step = log_evidence(40, 1000, 0.005)
    assert whole < 0
    assert joined(whole, this_step, 4) > math.log(1 / EACH)


def test_the_average_over_the_beginning_and_the_steps_is_no_more_than_one_bet_may_be() -> None:
    trials, bound = 120, 0.1
    first, second = np.meshgrid(np.arange(trials + 1), np.arange(trials + 1), indexing="ij")
    log_chance = binom.logpmf(first, trials, bound) + binom.logpmf(second, trials, bound)
    at_the_end = joined(
        log_evidence(first + second, 2 * trials, bound), log_evidence(second, trials, bound), 2
    )
    assert np.exp(log_chance + at_the_end).sum() <= 1


@given(st.integers(0, 300), st.integers(0, 300))
def test_an_interval_holds_the_share_and_lies_beyond_a_bound_just_when_that_is_rejected(
    hits: int, misses: int
) -> None:
    low, high = share_interval(hits, hits + misses, alpha=0.05)
    share = hits / (hits + misses) if hits + misses else 0.5
    assert 0 <= low <= share <= high <= 1
    for bound in (0.05, 0.4):
        rejected = log_evidence(hits, hits + misses, bound) >= math.log(2 / 0.05)
        assert rejected == (low > bound) or low == pytest.approx(bound)


def test_intervals_hold_at_all_moments_at_once() -> None:
    rng, share, missed = np.random.default_rng(3), 0.03, 0
    for _ in range(40):
        hits = rng.binomial(100, share, 15).cumsum()
        looks = [share_interval(int(h), 100 * n, alpha=0.2) for n, h in enumerate(hits, 1)]
        missed += any(not low <= share <= high for low, high in looks)
    assert missed / 40 <= 0.2
