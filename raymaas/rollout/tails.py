"""Evidence that the slowest requests of a new version take longer than the bound allows, from histograms of
intervals.

Null hypothesis: beyond `ratio` times a latency c there are no more of the new version's requests than of the old
one's beyond c. With c the old version's 99th percentile that says q99(new) <= ratio * q99(old).

Old and new requests of an interval arrive together. Predictable is what the intervals *before* it say, and how many
requests each version had in it, but not how long those took. c is the old version's 99th percentile before the
interval.

Beside the old version. Of the requests beyond, how many are the new version's? If it keeps the bound, and requests
are divided between the versions without regard to how long they will take, then given how many are beyond, the new
version's are hypergeometric at most, and the bet of `evidence` that each of them is the new one's with a chance of
its share of the requests gains nothing on average: its payout is convex, so it is worth no more without replacement
than with (Hoeffding, Probability inequalities for sums of bounded random variables, 1963). What slows both versions
at once, for however long, is slow in both, and changes nothing. That is why this test and not the next is used
wherever it can be.

Alone. In an interval with (almost) no requests of the old version, those of the new one that took longer than `ratio`
times the *upper confidence limit* of the old one's 99th percentile are held against 1 %. A fifth of the guard's alpha
is spent on that limit; its own supermartingale makes it hold at all moments. Here all depends on today being like
when the old version was measured. The remedy is to go on asking the old version beside, for instance those requests
whose answers are compared.

Bursts of one version's own (its queue, its garbage collector) break independence in both tests, since a hundred slow
requests may be one event. So each interval's log wealth is divided by how many times more the counts of the intervals
before it varied than independent ones would, if that is more than 1; of independent requests it stays an e-value, by
Jensen's inequality. And no interval multiplies a bet by more than 5, which can only make it less: three slow intervals
are the least that suffices. Bursts of its own that last several intervals still count against a version, and so do
common ones when it is alone; `tests/bench/rollouts.py` says how often.

Legend: B latency buckets, J odds, other axes are for simulations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from raymaas.rollout.evidence import LOG_ODDS_J, bets, log_evidence
from raymaas.specs.rollouts import BUCKETS_PER_DOUBLING, LAST_BUCKET, Spread, TailRecord

BEYOND = 0.01
LEAST_OLD = 100
"""Latencies of the old version that must be known before an interval is judged."""
LIMIT_SHARE = 0.2
_OLD_TO_NEW = 0.05  # With fewer requests of the old version than this, nothing is learnt beside it.
_LOG_MOST = math.log(5)  # Three intervals at least, at the alpha of a rollout.
_PRIOR = 5.0  # Spread is taken as independent until about so many requests beyond say otherwise.


def dense(latencies: Mapping[int, int]) -> np.ndarray:
    """All buckets of a histogram."""
    counts_B = np.zeros(LAST_BUCKET + 1)
    counts_B[list(latencies.keys())] = list(latencies.values())
    return counts_B


def p99_bucket(counts_B: np.ndarray) -> np.ndarray:
    """The bucket that holds the 99th percentile; 0 of nothing."""
    within_B = np.cumsum(counts_B, axis=-1)
    # 0.99 n in floating point may lie above the integer that it is.
    return np.asarray(np.argmax(within_B >= (1 - BEYOND) * within_B[..., -1:] - 1e-6, axis=-1))


def p99_at_most(counts_B: np.ndarray, *, alpha: float) -> np.ndarray:
    """The lowest bucket whose upper edge the 99th percentile does not exceed; LAST_BUCKET + 1 when not known.

    True at all moments at once with a chance of 1 - alpha, of independent latencies: beyond the last edge below the
    true percentile lie more than 1 %, and to be wrong the test would have to reject that.
    """
    total = counts_B.sum(axis=-1, keepdims=True)
    within_B = np.cumsum(counts_B, axis=-1)
    known_B = log_evidence(within_B, total, 1 - BEYOND) >= math.log(1 / alpha)
    # The last bucket has no upper edge.
    known_B[..., -1] = False
    return np.where(known_B.any(axis=-1), np.argmax(known_B, axis=-1), LAST_BUCKET + 1)


def p99_above(counts_B: np.ndarray, *, alpha: float) -> np.ndarray:
    """The highest bucket whose upper edge the 99th percentile exceeds, in the same sense; -1 when not known."""
    total = counts_B.sum(axis=-1, keepdims=True)
    within_B = np.cumsum(counts_B, axis=-1)
    known_B = log_evidence(total - within_B, total, BEYOND) >= math.log(1 / alpha)
    return np.where(known_B.any(axis=-1), LAST_BUCKET - np.argmax(known_B[..., ::-1], axis=-1), -1)


def p99_ratio(new: Mapping[int, int], old: Mapping[int, int]) -> float | None:
    """How many times the old version's 99th percentile the new one's is, to a bucket; null before LEAST_OLD of each."""
    if min(sum(new.values()), sum(old.values())) < LEAST_OLD:
        return None
    return _ratio(int(p99_bucket(dense(new)) - p99_bucket(dense(old))))


def p99_ratio_interval(
    new: Mapping[int, int], old: Mapping[int, int], *, alpha: float
) -> tuple[float, float | None]:
    """Where that ratio lies at all moments at once, of independent latencies; null: nothing bounds it from above."""
    new_B, old_B = dense(new), dense(old)
    new_low, new_high = (int(limit(new_B, alpha=alpha / 4)) for limit in (p99_above, p99_at_most))
    old_low, old_high = (int(limit(old_B, alpha=alpha / 4)) for limit in (p99_above, p99_at_most))
    return (
        _ratio(new_low - old_high) if new_low >= 0 and old_high <= LAST_BUCKET else 0.0,
        _ratio(new_high - old_low) if old_low >= 0 and new_high <= LAST_BUCKET else None,
    )


def _ratio(buckets: int) -> float:
    return float(2 ** (buckets / BUCKETS_PER_DOUBLING))


@dataclass(frozen=True, eq=False)
class Tail:
    """The evidence up to now. Depends on the intervals and their order, not on their sums alone."""

    whole_J: np.ndarray
    this_step_J: np.ndarray
    tested: np.ndarray
    over_new: np.ndarray
    beside_new: np.ndarray
    beside_old: np.ndarray
    due_new: np.ndarray
    divided_squares: np.ndarray
    divided_expected: np.ndarray
    alone_squares: np.ndarray
    alone_expected: np.ndarray

    @classmethod
    def begin(cls, *shape: int) -> Self:
        """Without evidence; `shape` is that of the axes of a simulation."""
        wealth, zero = np.zeros((*shape, len(LOG_ODDS_J))), np.zeros(shape)
        return cls(wealth, wealth, *([zero] * 9))

    @classmethod
    def of(cls, record: TailRecord) -> Self:
        none = (0.0,) * len(LOG_ODDS_J)
        return cls(
            np.array(record.whole or none),
            np.array(record.this_step or none),
            *(np.asarray(each, np.float64) for each in (record.tested, record.over_new)),
            *(
                np.asarray(each, np.float64)
                for each in (record.beside_new, record.beside_old, record.due_new)
            ),
            *(np.asarray(each, np.float64) for each in (record.divided.squares, record.divided.expected)),
            *(np.asarray(each, np.float64) for each in (record.alone.squares, record.alone.expected)),
        )

    def record(self) -> TailRecord:
        return TailRecord(
            whole=tuple(self.whole_J.tolist()),
            this_step=tuple(self.this_step_J.tolist()),
            tested=int(self.tested),
            over_new=int(self.over_new),
            beside_new=int(self.beside_new),
            beside_old=int(self.beside_old),
            due_new=float(self.due_new),
            divided=Spread(squares=float(self.divided_squares), expected=float(self.divided_expected)),
            alone=Spread(squares=float(self.alone_squares), expected=float(self.alone_expected)),
        )

    def next_step(self) -> Self:
        """The same at the beginning of another step."""
        return replace(self, this_step_J=np.zeros_like(self.this_step_J))

    def after(
        self,
        new_B: np.ndarray,
        old_B: np.ndarray,
        *,
        old_before_B: np.ndarray,
        ratio: float,
        alpha: float,
        mind_bursts: bool = True,
    ) -> Self:
        """The evidence after an interval with these latencies.

        `old_before_B` is the old version's histogram of all intervals before; `alpha` may be spent on its limit.
        """
        new, old, before = new_B.sum(axis=-1), old_B.sum(axis=-1), old_before_B.sum(axis=-1)
        # Up to the next edge: never more than the null hypothesis has beyond.
        further = math.ceil(BUCKETS_PER_DOUBLING * math.log2(ratio) - 1e-9)
        ready = before >= LEAST_OLD
        beside = ready & (old > 0) & (old >= _OLD_TO_NEW * new)
        limit = np.full(before.shape, LAST_BUCKET + 1)
        if (ready & ~beside & (new > 0)).any():
            limit = p99_at_most(old_before_B, alpha=alpha)
        alone = ready & ~beside & (limit <= LAST_BUCKET)

        p99 = p99_bucket(old_before_B)
        old_over = np.where(ready, _beyond(old_B, p99), 0)
        new_over = np.where(
            beside, _beyond(new_B, p99 + further), np.where(alone, _beyond(new_B, limit + further), 0)
        )
        trials = np.where(beside, new_over + old_over, np.where(alone, new, 0))
        share = np.where(beside, new / np.maximum(new + old, 1), BEYOND)
        grown_J = bets(new_over, trials, share)
        if mind_bursts:
            burst = np.where(
                beside,
                _burst(self.divided_squares, self.divided_expected),
                _burst(self.alone_squares, self.alone_expected),
            )
            grown_J = np.minimum(grown_J / burst[..., None], _LOG_MOST)
        counted = replace(
            self,
            whole_J=self.whole_J + grown_J,
            this_step_J=self.this_step_J + grown_J,
            tested=self.tested + np.where(beside | alone, new, 0),
            over_new=self.over_new + new_over,
            beside_new=self.beside_new + np.where(beside, new_over, 0),
            beside_old=self.beside_old + np.where(beside, old_over, 0),
            due_new=self.due_new + np.where(beside, trials * share, 0),
        )
        return counted._spread(
            np.where(beside, new_over, 0),
            np.where(beside, trials, 0),
            share,
            old=np.where(ready, old, 0),
            old_over=old_over,
            usual=_beyond(old_before_B, p99) / np.maximum(before, 1),
        )

    def _spread(
        self,
        hits: np.ndarray,
        trials: np.ndarray,
        share: np.ndarray,
        *,
        old: np.ndarray,
        old_over: np.ndarray,
        usual: np.ndarray,
    ) -> Self:
        """How far this interval lay from what all of them say: else a slower version would look like bursts."""
        due_old = self.beside_new + self.beside_old - self.due_new
        odds = (self.beside_new + 0.5) / (self.due_new + 0.5) * (due_old + 0.5) / (self.beside_old + 0.5)
        fitted = share * odds / (1 + share * (odds - 1))
        return replace(
            self,
            divided_squares=self.divided_squares + (hits - trials * fitted) ** 2,
            divided_expected=self.divided_expected + trials * fitted * (1 - fitted),
            alone_squares=self.alone_squares + (old_over - old * usual) ** 2,
            alone_expected=self.alone_expected + old * usual * (1 - usual),
        )


def _beyond(counts_B: np.ndarray, bucket: np.ndarray) -> np.ndarray:
    """How many lie above `bucket`'s upper edge."""
    buckets = np.arange(counts_B.shape[-1])
    return np.asarray((counts_B * (buckets > np.asarray(bucket)[..., None])).sum(axis=-1))


def _burst(squares: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum((_PRIOR + squares) / (_PRIOR + expected), 1))
