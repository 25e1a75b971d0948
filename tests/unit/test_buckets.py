"""Buckets: exact weights, the least movement, and only the buckets of who is away go to others."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from raymaas.specs.buckets import among, in_order, moved, share_out

weights = st.dictionaries(st.integers(1, 12), st.integers(1, 60), min_size=1, max_size=6)
percents = weights.map(share_out)
splits = st.dictionaries(st.integers(1, 6), st.integers(0, 60), min_size=1).filter(lambda w: any(w.values()))


@given(weights)
def test_shares_sum_to_100_and_are_within_one_bucket_of_the_exact_share(
    given_weights: dict[int, int],
) -> None:
    shares = share_out(given_weights)
    total = sum(given_weights.values())
    assert sum(shares.values()) == 100
    assert all(abs(shares[v] - weight * 100 / total) < 1 for v, weight in given_weights.items())


@given(percents)
def test_percents_are_taken_as_they_are(percent: dict[int, int]) -> None:
    assert share_out({v: p for v, p in percent.items() if p}) == {v: p for v, p in percent.items() if p}


@given(st.lists(percents, min_size=2, max_size=5))
def test_each_change_of_weights_moves_just_what_the_gaining_versions_gain(
    history: list[dict[int, int]],
) -> None:
    layout = in_order(history[0])
    for before, after in pairwise(history):
        new = moved(after, layout)
        assert Counter(new) == +Counter(after)
        gains = sum(max(0, after[v] - before.get(v, 0)) for v in after)
        assert sum(a != b for a, b in zip(layout, new, strict=True)) == gains
        layout = new


def test_what_nobody_moved_lies_in_order() -> None:
    assert in_order({2: 10, 1: 90}) == (1,) * 90 + (2,) * 10
    assert in_order({1: 0}) == in_order({}) == ()


@given(splits.map(share_out), st.lists(splits.map(share_out), max_size=2), st.sets(st.integers(1, 6)))
def test_only_the_buckets_of_a_version_that_is_away_go_to_others(
    first: dict[int, int], later: list[dict[int, int]], live: set[int]
) -> None:
    layout = in_order(first)
    for each in later:
        layout = moved(each, layout)
    seen = among(layout, live)
    had = {version: count for version, count in Counter(layout).items() if version in live}
    if not had:
        assert seen == ()
        return
    assert len(seen) == 100
    assert all(now == wanted for now, wanted in zip(seen, layout, strict=True) if wanted in live)
    assert all(abs(Counter(seen)[v] - n * 100 / sum(had.values())) < 1 for v, n in had.items())
    assert among(seen, live) == seen
    assert among(layout, set(layout)) == layout
