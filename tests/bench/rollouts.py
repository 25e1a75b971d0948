"""What a rollout's guards do with versions whose rates are known: false alarms, and how soon a worse one is found.

Simulated, with the guards' own code; a version exactly at its bounds, looked at after every request (latencies: after
every interval). No cluster, and no clock: the figures are the same on any machine.
"""

from __future__ import annotations

import numpy as np
from rollout_simulations import (
    ALPHA,
    GUARDS,
    NEVER,
    STEADY,
    STEPS,
    World,
    crossings_of_naive_test,
    crossings_of_shares,
    crossings_of_tails,
)

from raymaas.evaluate.intervals import wilson_interval

EACH = ALPHA / GUARDS
REQUESTS, REPETITIONS = 20_000, 5_000


def main() -> None:
    print(
        f"alpha {ALPHA:g} over {GUARDS} guards, {STEPS} steps; {REPETITIONS:,} repetitions of {REQUESTS:,} requests\n"
    )
    false_alarms()
    print()
    bursts()
    print()
    power()


def false_alarms() -> None:
    print("version exactly at the bound                      rolled back")
    for what, bound in (("error rate 0.5 %", 0.005), ("disagreement 5 %", 0.05)):
        crossed = crossings_of_shares(
            bound, bound, requests=REQUESTS, repetitions=REPETITIONS, seed=1, alpha=EACH
        )
        _say(what, crossed, EACH)
        naive = crossings_of_naive_test(
            bound, bound, requests=REQUESTS, repetitions=REPETITIONS, seed=1, alpha=ALPHA
        )
        _say(f"  {what}, z test at every look", naive, ALPHA)
    for share in (50, 10):
        crossed = _tails(1.2, share=share, repetitions=1_000, intervals=200)
        _say(f"p99 ratio 1.2, beside, {share} % of the traffic", crossed, EACH)
    crossed = _tails(1.2, share=50, repetitions=500, intervals=200, beside=False, warm=100)
    _say("p99 ratio 1.2, alone after 10,000 of the old", crossed, EACH)


def bursts() -> None:
    columns = ("beside", "beside, not minded", "alone", "alone, not minded")
    print(f"{'at 1.2, bursts of 3x':<24}" + "".join(f"{column:>26}" for column in columns))
    worlds = {
        "none": STEADY,
        "common, 5 intervals": World("common"),
        "common, 1 interval": World("common", begins=0.1, length=1),
        "own, 5 intervals": World("own"),
        "own, 2 intervals": World("own", begins=0.05, length=2),
        "own, 1 interval": World("own", begins=0.1, length=1),
    }
    for what, world in worlds.items():
        cells = []
        for beside in (True, False):
            for minded in (True, False):
                crossed = _tails(
                    1.2,
                    share=50,
                    repetitions=300,
                    intervals=150,
                    world=world,
                    mind_bursts=minded,
                    beside=beside,
                    warm=10 if beside else 200,
                )
                cells.append(_rate(crossed))
        print(f"{what:<24}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


def power() -> None:
    print(
        "worse than the bound                         requests until rolled back: median (10 to 90 %)   within 500"
    )
    for rate in (0.01, 0.02, 0.05):
        crossed = crossings_of_shares(rate, 0.005, requests=REQUESTS, repetitions=2_000, seed=2, alpha=EACH)
        _say_when(f"error rate {rate:.0%} against 0.5 %", crossed)
    for rate in (0.08, 0.1, 0.2):
        crossed = crossings_of_shares(rate, 0.05, requests=REQUESTS, repetitions=2_000, seed=3, alpha=EACH)
        _say_when(f"disagreement {rate:.0%} against 5 %", crossed)
    for share in (10, 50):
        for slower in (1.5, 2, 3):
            crossed = _tails(slower, share=share, repetitions=300, intervals=240, new=25)
            _say_when(f"p99 ratio {slower:g} against 1.2, at {share} %", crossed)


def _tails(
    slower: float,
    *,
    share: int,
    repetitions: int,
    intervals: int,
    new: int = 100,
    world: World = STEADY,
    mind_bursts: bool = True,
    beside: bool = True,
    warm: int = 10,
) -> np.ndarray:
    return crossings_of_tails(
        slower,
        1.2,
        new_per_interval=new,
        old_per_interval=new * (100 - share) // share,
        intervals=intervals,
        repetitions=repetitions,
        seed=4,
        alpha=EACH,
        world=world,
        mind_bursts=mind_bursts,
        beside=beside,
        warm=warm,
    )


def _rate(crossed: np.ndarray) -> str:
    alarms = int((crossed != NEVER).sum())
    low, high = wilson_interval(alarms, len(crossed), confidence=0.95)
    return f"{100 * alarms / len(crossed):.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def _say(what: str, crossed: np.ndarray, allowed: float) -> None:
    print(f"{what:<48} {_rate(crossed):>26}, allowed {100 * allowed:.2f} %", flush=True)


def _say_when(what: str, crossed: np.ndarray) -> None:
    low, middle, high = (
        f"{int(q):,}" if q != NEVER else "never"
        for q in np.quantile(crossed, [0.1, 0.5, 0.9], method="lower")
    )
    within = f"{100 * (crossed <= 500).mean():.0f} %"
    print(f"{what:<44} {middle:>8} ({low} to {high})".ljust(82) + f"{within:>8}", flush=True)


if __name__ == "__main__":
    main()
