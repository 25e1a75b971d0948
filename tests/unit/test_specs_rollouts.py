"""Rollout documents: plans that make no sense are refused by name, and counts add up in any grouping."""

from __future__ import annotations

import math
from functools import reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rollout_examples import seens

from raymaas.errors import InvalidInput
from raymaas.specs.rollouts import LAST_BUCKET, RolloutPlan, Seen, bucket_of, upper_edge_us

PLAN = {"steps": [1, 10, 50, 100], "every_s": 60, "guards": {"max_error_rate": 0.005}}


def test_a_plan_has_defaults_for_all_but_its_steps_their_time_and_its_guards() -> None:
    plan = RolloutPlan.parse(PLAN, source="asked")
    assert (plan.min_requests, plan.min_pairs, plan.alpha) == (500, 100, 0.05)
    assert plan.guards.bounds == {"errors": 0.005}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"steps": [10, 1, 100]}, "steps must rise, got 10, 1, 100"),
        ({"steps": [10, 10, 100]}, "steps must rise, got 10, 10, 100"),
        ({"steps": [0, 100]}, "steps are percents from 1 to 100, got 0, 100"),
        ({"steps": [1, 50]}, "the last step must be 100, got 1, 50"),
        ({"steps": []}, "steps: tuple should have at least 1 item"),
        ({"every_s": 0}, "every_s: input should be greater than 0"),
        (
            {"guards": {}},
            "a rollout needs something to judge by: give max_error_rate, max_p99_ratio or max_disagreement",
        ),
        ({"guards": {"max_error_rate": 0}}, "guards.max_error_rate: input should be greater than 0"),
        ({"guards": {"max_disagreement": 1}}, "guards.max_disagreement: input should be less than 1"),
        ({"steps": [100], "guards": {"max_p99_ratio": 1.2}}, "max_p99_ratio needs a step below 100"),
        ({"alpha": 0.9}, "alpha: input should be less than or equal to 0.5"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_by_name(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        RolloutPlan.parse(PLAN | changed, source="asked")
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    "counts",
    [
        {"requests": 1, "errors": 2},
        {"pairs": 1, "disagreed": 2},
        {"requests": 2, "latencies": {3: 0}},
        {"requests": 2, "latencies": {LAST_BUCKET + 1: 1}},
        {"requests": -1},
    ],
)
def test_counts_that_cannot_be_are_refused(counts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Seen(**counts)


@given(st.lists(seens(), min_size=1, max_size=6), st.randoms())
def test_counts_add_up_in_any_order_and_grouping(parts: list[Seen], random: Any) -> None:
    whole = reduce(add, parts)
    shuffled = list(parts)
    random.shuffle(shuffled)
    cut = random.randint(0, len(parts))
    regrouped = reduce(add, shuffled[:cut], Seen()) + reduce(add, shuffled[cut:], Seen())
    assert regrouped == whole
    assert whole.requests == sum(part.requests for part in parts)
    assert whole.timed == sum(part.timed for part in parts)


@given(st.floats(0, 1e12))
def test_a_latency_lies_in_its_bucket_whose_edge_is_at_most_4_4_percent_more(latency_us: float) -> None:
    bucket = bucket_of(latency_us)
    edge = upper_edge_us(bucket)
    if 1 < latency_us <= upper_edge_us(LAST_BUCKET):
        assert latency_us <= edge * (1 + 1e-9)
        assert edge <= latency_us * 1.0443
    assert bucket_of(edge) == bucket
    assert 0 <= bucket <= LAST_BUCKET
    assert math.isfinite(edge)
