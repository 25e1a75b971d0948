"""Evidence that a share is above its bound, and intervals for it, valid however often they are looked at.

The test is a bet (Shafer 2021; Ramdas, Gruenwald, Vovk, Shafer, Game-theoretic statistics and safe anytime-valid
inference, 2023). Who holds that the odds are `odds` times those of the bound multiplies its wealth at each hit by
odds / d and at each miss by 1 / d, where d = 1 + bound * (odds - 1). If the chance of a hit is at most the bound,
whatever went before, the wealth does not grow on average: it is a nonnegative supermartingale that begins at 1, and
by Ville's inequality (1939) the chance that it *ever* reaches 1 / alpha is at most alpha. So it may be looked at
after every request, and acted on at the first moment it suffices. The wealth of several bets, averaged, is one as
well: this is the method of mixtures (Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon, Time-uniform, nonparametric,
nonasymptotic confidence sequences, 2021), here over a fixed row of odds instead of a truncated beta distribution. It
needs no incomplete beta function, costs the same for a batch of any size, and depends on the sums alone: log wealth =
hits * log(odds) - trials * log(d). The bounds that the test does not reject are a confidence sequence (Waudby-Smith,
Ramdas, Estimating means of bounded random variables by betting, 2024).

What is assumed: given all before it, a request of a version that keeps its bound fails with a chance of at most the
bound. Independent requests of one constant chance do; the chance may also vary below the bound. Failures that come in
bursts do not: a version that fails all requests for a minute a day is judged by that minute.

Too small a sample: no bet can have gained enough. Against a bound of 0.5 % at 1/60, two failures suffice if they
are the first two requests, four within the first twenty. `tests/bench/rollouts.py` says how many it takes.

Legend: J odds, other axes broadcast.
"""

from __future__ import annotations

import math

import numpy as np

_FIRST, _FACTOR, _COUNT = 0.05, 1.5, 14
LOG_ODDS_J = _FIRST * _FACTOR ** np.arange(_COUNT)
"""From 1.05 to 17,000 times the odds of the bound. What is within 2.5 % of its bound is not told from it.

A rollout's document holds the wealth of each; other odds need another format of it.
"""
_HALVINGS = 60


def bets(hits: np.ndarray | float, trials: np.ndarray | float, bound: np.ndarray | float) -> np.ndarray:
    """The log wealth of each bet, in a last axis J, after `hits` in `trials` of a chance of at most `bound`."""
    hits_1, trials_1, bound_1 = (
        np.asarray(each, dtype=np.float64)[..., None] for each in (hits, trials, bound)
    )
    return np.asarray(hits_1 * LOG_ODDS_J - trials_1 * np.log1p(bound_1 * np.expm1(LOG_ODDS_J)))


def mixed(log_wealth_J: np.ndarray) -> np.ndarray:
    """The log of the mean over the last axis."""
    return np.asarray(np.logaddexp.reduce(log_wealth_J, axis=-1) - math.log(log_wealth_J.shape[-1]))


def log_evidence(
    hits: np.ndarray | float, trials: np.ndarray | float, bound: np.ndarray | float
) -> np.ndarray:
    """The log of the e-value against a chance of at most `bound`; at log(1 / alpha) that is rejected at level alpha.

    The same for any grouping of what was counted.
    """
    return mixed(bets(hits, trials, bound))


def joined(whole: np.ndarray | float, this_step: np.ndarray | float, steps: int) -> np.ndarray:
    """The log e-value of a rollout in `steps` steps, from those since it began and since its present step began.

    Half of the wealth is bet from the beginning on; the other half is set aside in equal parts, one for each step, and
    bet from that step's beginning on. Otherwise, of a version that fails only under more traffic, the bad minutes would
    first have to outweigh its good hours. What past steps' parts ended with is left out, which can only make it less.
    """
    return np.asarray(np.logaddexp(np.asarray(whole), np.asarray(this_step) - math.log(steps)) - math.log(2))


def share_interval(hits: int, trials: int, *, alpha: float) -> tuple[float, float]:
    """Where the share lies, with a chance of at least 1 - alpha at all moments at once. Of no trials: 0 to 1."""
    return _least(hits, trials, alpha / 2), 1 - _least(trials - hits, trials, alpha / 2)


def _least(hits: int, trials: int, alpha: float) -> float:
    """The least bound that is not rejected: evidence falls as the bound rises."""
    low, high, needed = 0.0, 1.0, math.log(1 / alpha)
    if not hits:
        return 0.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if log_evidence(hits, trials, middle) >= needed else (low, middle)
    return low
