"""Buckets: the 100 parts of a model's unpinned requests, and which version answers which. Pure, no I/O.

A layout is 100 versions, one for each bucket. Callers known by a header always fall in the same bucket, so the versions
they see change only where a bucket's version does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

BUCKETS = 100

Layout = tuple[int, ...]
"""The version of each bucket; empty where no version has any traffic."""


def share_out(weights: Mapping[int, int]) -> dict[int, int]:
    """Positive weights as whole buckets: unchanged if they sum to 100, else by largest remainder."""
    return _shares(weights, of=BUCKETS)


def in_order(weights: Mapping[int, int]) -> Layout:
    """The layout of a split that nothing was moved to: versions ascending, each with one stretch of buckets."""
    return moved(share_out(weights), ()) if any(weights.values()) else ()


def moved(counts: Mapping[int, int], before: Layout) -> Layout:
    """Each version as often as `counts` says, of 100 in all; a bucket keeps its version while that has any left.

    So as few buckets change version as can: the sum of what the versions that get more get more.
    """
    left = Counter(counts)
    kept: list[int | None] = [None] * BUCKETS
    for bucket, version in enumerate(before):
        if left[version] > 0:
            kept[bucket] = version
            left[version] -= 1
    spare = (version for version in sorted(left) for _ in range(left[version]))
    return tuple(next(spare) if version is None else version for version in kept)


def among(layout: Layout, live: Collection[int]) -> Layout:
    """`layout` while only the versions in `live` can answer; empty when none of it can.

    A bucket of a live version stays where it is. The others go to the live versions, in proportion to what they have.
    """
    counts = Counter(version for version in layout if version in live)
    if not counts:
        return ()
    lost = [bucket for bucket, version in enumerate(layout) if version not in live]
    takers = (version for version, more in sorted(_shares(counts, of=len(lost)).items()) for _ in range(more))
    return tuple(next(takers) if version not in live else version for version in layout)


def _shares(weights: Mapping[int, int], *, of: int) -> dict[int, int]:
    total = sum(weights.values())
    shares = {version: weight * of // total for version, weight in weights.items()}
    left = of - sum(shares.values())
    by_remainder = sorted(weights, key=lambda version: (-(weights[version] * of % total), version))
    return {version: shares[version] + (version in by_remainder[:left]) for version in weights}
