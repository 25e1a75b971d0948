"""Rollouts that never were: versions with known rates and latencies, many at once, judged by the guards' own code.

Legend: R repetitions, H hits, B latency buckets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from raymaas.rollout.evidence import joined, log_evidence, mixed
from raymaas.rollout.tails import LIMIT_SHARE, Tail
from raymaas.specs.rollouts import BUCKETS_PER_DOUBLING, LAST_BUCKET

NEVER = np.iinfo(np.int64).max
STEPS, GUARDS, ALPHA = 4, 3, 0.05
MEDIAN_US, SIGMA = 2000.0, 0.5


def crossings_of_shares(
    rate: float, bound: float, *, requests: int, repetitions: int, seed: int, alpha: float, steps: int = STEPS
) -> np.ndarray:
    """After which request evidence sufficed, looked at after every one; NEVER if not within `requests`.

    Evidence grows at hits only, so only there it has to be looked at. All requests are of the first step.
    """
    trials_RH, hits_H = _hit_times(rate, requests, repetitions, seed)
    evidence_RH = log_evidence(hits_H, trials_RH, bound)
    return _first(joined(evidence_RH, evidence_RH, steps) >= math.log(1 / alpha), trials_RH, requests)


def crossings_of_naive_test(
    rate: float, bound: float, *, requests: int, repetitions: int, seed: int, alpha: float, least: int = 100
) -> np.ndarray:
    """The same of the z test for one look, looked at after every request from the hundredth."""
    trials_RH, hits_H = _hit_times(rate, requests, repetitions, seed)
    z_RH = (hits_H - trials_RH * bound) / np.sqrt(trials_RH * bound * (1 - bound))
    return _first((z_RH > NormalDist().inv_cdf(1 - alpha)) & (trials_RH >= least), trials_RH, requests)


def _hit_times(rate: float, requests: int, repetitions: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    expected = requests * rate
    count = int(expected + 8 * math.sqrt(expected) + 10)
    trials_RH = np.random.default_rng(seed).geometric(rate, (repetitions, count)).cumsum(axis=1)
    return trials_RH, np.arange(1, count + 1)


def _first(crossed_RH: np.ndarray, trials_RH: np.ndarray, requests: int) -> np.ndarray:
    crossed_RH = crossed_RH & (trials_RH <= requests)
    first_R = trials_RH[np.arange(len(trials_RH)), crossed_RH.argmax(axis=1)]
    return np.where(crossed_RH.any(axis=1), first_R, NEVER)


Bursts = Literal["none", "common", "own"]


@dataclass(frozen=True)
class World:
    """Latencies are lognormal. In a burst, of `length` intervals on average, all take `slowdown` times as long."""

    bursts: Bursts = "none"
    begins: float = 0.02
    length: float = 5
    slowdown: float = 3.0


STEADY = World()


def chances(scale: float) -> np.ndarray:
    """How likely each bucket is when latencies are `scale` times the usual."""
    edges = np.exp2(np.arange(LAST_BUCKET) / BUCKETS_PER_DOUBLING)
    z = (np.log(edges) - math.log(MEDIAN_US * scale)) / SIGMA
    below = np.array([0.5 * math.erfc(-each / math.sqrt(2)) for each in z])
    return np.diff(below, prepend=0, append=1)


def crossings_of_tails(
    slower: float,
    ratio: float,
    *,
    new_per_interval: int,
    old_per_interval: int,
    intervals: int,
    repetitions: int,
    seed: int,
    alpha: float,
    world: World = STEADY,
    mind_bursts: bool = True,
    beside: bool = True,
    warm: int = 10,
    steps: int = STEPS,
) -> np.ndarray:
    """After how many requests of a version `slower` times the old one the p99 guard's evidence sufficed.

    `beside`: the old version goes on answering. Else it answers only in the `warm` intervals before, in which also the
    new one does but is not counted. One fifth of `alpha` goes to the limit of the old one's percentile.
    """
    rng = np.random.default_rng(seed)
    usual, burst = chances(1), chances(world.slowdown)
    slow, slow_burst = chances(slower), chances(slower * world.slowdown)
    tail = Tail.begin(repetitions)
    old_before_RB = np.zeros((repetitions, LAST_BUCKET + 1))
    crossed_R = np.full(repetitions, NEVER)
    bursting = np.zeros((2, repetitions), dtype=bool)
    needed = math.log(1 / ((1 - LIMIT_SHARE) * alpha))
    for interval in range(1 - warm, intervals + 1):
        if world.bursts != "none":
            chance = rng.random((2, repetitions))
            bursting = np.where(bursting, chance > 1 / world.length, chance < world.begins)
            if world.bursts == "common":
                bursting[1] = bursting[0]
        old = old_per_interval if beside or interval <= 0 else 0
        old_RB = _drawn(rng, old, usual, burst, bursting[0])
        new_RB = _drawn(rng, new_per_interval if interval > 0 else 0, slow, slow_burst, bursting[1])
        tail = tail.after(
            new_RB,
            old_RB,
            old_before_B=old_before_RB,
            ratio=ratio,
            alpha=LIMIT_SHARE * alpha,
            mind_bursts=mind_bursts,
        )
        old_before_RB = old_before_RB + old_RB
        evidence_R = joined(mixed(tail.whole_J), mixed(tail.this_step_J), steps)
        now = (evidence_R >= needed) & (crossed_R == NEVER)
        crossed_R[now] = interval * new_per_interval
    return crossed_R


def _drawn(
    rng: np.random.Generator, count: int, usual: np.ndarray, burst: np.ndarray, bursting_R: np.ndarray
) -> np.ndarray:
    drawn_RB = np.zeros((len(bursting_R), len(usual)))
    for chance, there_R in ((usual, ~bursting_R), (burst, bursting_R)):
        drawn_RB[there_R] = rng.multinomial(count, chance, size=int(there_R.sum()))
    return drawn_RB
