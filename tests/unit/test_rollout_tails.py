"""The p99 guard: no false alarm at its bound nor in bursts that slow both versions, and slower versions are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rollout_examples import seen
from rollout_simulations import NEVER, World, crossings_of_tails
from scipy.stats import hypergeom

from raymaas.rollout.evidence import bets, joined, mixed
from raymaas.rollout.tails import (
    Tail,
    dense,
    p99_above,
    p99_at_most,
    p99_bucket,
    p99_ratio,
    p99_ratio_interval,
)
from raymaas.specs.rollouts import LAST_BUCKET, bucket_of, upper_edge_us

EACH = 0.05 / 3


def rolled_back(slower: float, **changed: object) -> float:
    """How many of the versions that take `slower` times as long are rolled back, of those whose bound is 1.2."""
    given = {
        "new_per_interval": 100,
        "old_per_interval": 100,
        "intervals": 40,
        "repetitions": 100,
        "seed": 0,
        "alpha": EACH,
    }
    crossed = crossings_of_tails(slower, 1.2, **(given | changed))  # type: ignore[arg-type]
    return float((crossed != NEVER).mean())


@pytest.mark.parametrize(("new", "old", "beyond"), [(50, 50, 10), (10, 990, 30), (990, 10, 20), (3, 2, 5)])
def test_dividing_those_beyond_by_chance_gains_nothing_on_average(new: int, old: int, beyond: int) -> None:
    of_new = np.arange(beyond + 1)
    chance = hypergeom.pmf(of_new, new + old, beyond, new)
    assert chance @ np.exp(mixed(bets(of_new, beyond, new / (new + old)))) <= 1 + 1e-9


def test_a_version_at_the_bound_is_rarely_rolled_back() -> None:
    assert rolled_back(1.2) <= EACH
    assert rolled_back(1.2, old_per_interval=900) <= EACH


def test_a_slower_version_is_rolled_back_beside_the_old_one_and_alone() -> None:
    assert rolled_back(2) > 0.9
    assert rolled_back(2, old_per_interval=900) > 0.9
    assert rolled_back(2, beside=False, old_per_interval=500) > 0.9


def test_bursts_that_slow_both_versions_are_no_false_alarm_beside_the_old_one() -> None:
    common = World("common")
    assert rolled_back(1.2, world=common) <= EACH
    alone = rolled_back(1.2, world=common, mind_bursts=False, beside=False, old_per_interval=500)
    assert alone > 0.3, "a threshold from before the bursts would not have done"


def test_slow_intervals_of_one_version_now_and_then_are_no_false_alarm() -> None:
    own = World("own", begins=0.1, length=1)
    assert rolled_back(1.2, world=own, mind_bursts=False) > 0.2, "independence was assumed in vain"
    assert rolled_back(1.2, world=own) <= 0.05


def test_three_intervals_at_least_are_needed_however_slow_they_are() -> None:
    known, slow = dense(seen(10_000).latencies), dense(seen(5000, slower=20, seed=1).latencies)
    tail = Tail.begin()
    for number in range(5):
        enough = joined(mixed(tail.whole_J), mixed(tail.this_step_J), 4) >= math.log(1 / EACH)
        assert enough == (number >= 3)
        tail = tail.after(
            slow, dense(seen(5000, seed=number).latencies), old_before_B=known, ratio=1.2, alpha=0.003
        )


def test_what_an_interval_itself_says_of_the_old_version_does_not_move_the_threshold_it_is_judged_by() -> (
    None
):
    before, new = dense(seen(1000).latencies), dense(seen(100, slower=3, seed=1).latencies)
    asked = {"old_before_B": before, "ratio": 1.2, "alpha": 0.003}
    usual = Tail.begin().after(new, dense(seen(100, seed=2).latencies), **asked)
    slow = Tail.begin().after(new, dense(seen(100, slower=3, seed=2).latencies), **asked)
    assert usual.over_new == slow.over_new
    assert mixed(usual.whole_J) > mixed(slow.whole_J)


def test_before_enough_is_known_of_the_old_version_nothing_is_judged() -> None:
    both = dense(seen(99, slower=5).latencies), dense(seen(99).latencies)
    tail = Tail.begin().after(*both, old_before_B=both[1], ratio=1.2, alpha=0.003)
    assert (tail.tested, mixed(tail.whole_J)) == (0, 0)
    # 500 are enough beside the old version, but its p99 has no upper limit yet to compare with alone.
    alone = Tail.begin().after(
        both[0], dense({}), old_before_B=dense(seen(500).latencies), ratio=1.2, alpha=0.003
    )
    assert (alone.tested, mixed(alone.whole_J)) == (0, 0)


def test_a_record_is_the_whole_of_the_evidence() -> None:
    tail, known = Tail.begin(), dense(seen(1000).latencies)
    for seed in range(5):
        interval = dense(seen(80, slower=1.5, seed=seed).latencies), dense(seen(90, seed=seed + 50).latencies)
        once, again = (
            each.after(*interval, old_before_B=known, ratio=1.2, alpha=0.003)
            for each in (tail, Tail.of(tail.record()))
        )
        assert again.record() == once.record()
        tail = once
    assert tail.record().over_new > 0


@given(st.lists(st.floats(1, 1e7), min_size=1, max_size=400))
def test_the_p99_is_that_of_the_latencies_to_a_bucket(latencies_us: list[float]) -> None:
    counts_B = np.bincount([bucket_of(each) for each in latencies_us], minlength=LAST_BUCKET + 1)
    exact = sorted(latencies_us)[math.ceil(0.99 * len(latencies_us) - 1e-9) - 1]
    assert p99_bucket(counts_B) == bucket_of(exact)
    assert exact <= upper_edge_us(int(p99_bucket(counts_B))) * (1 + 1e-9)


def test_limits_of_the_p99_enclose_it_and_need_a_thousand_requests() -> None:
    few, many = dense(seen(300).latencies), dense(seen(20_000).latencies)
    assert p99_at_most(few, alpha=0.01) == LAST_BUCKET + 1
    low, high = (float(limit(many, alpha=0.01)) for limit in (p99_above, p99_at_most))
    assert low < p99_bucket(many) < high
    assert upper_edge_us(int(high)) / upper_edge_us(int(low)) < 1.3


def test_a_ratio_has_an_interval_around_it_and_is_not_told_of_too_few() -> None:
    new, old = seen(20_000, slower=1.5).latencies, seen(20_000, seed=1).latencies
    low, high = p99_ratio_interval(new, old, alpha=0.05)
    assert high is not None
    assert low < 1.4 < (p99_ratio(new, old) or 0) < 1.6 < high
    assert p99_ratio(seen(99).latencies, old) is None
    assert p99_ratio_interval({}, {}, alpha=0.05) == (0, None)
