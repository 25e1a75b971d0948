"""What the tests of rollouts share: plans, stamps, and what was seen of a version."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st
from registry_examples import START

from raymaas.registry.moves import Stamp
from raymaas.specs.rollouts import Guards, RolloutPlan, Seen, bucket_of

GUARDS = Guards(max_error_rate=0.005, max_p99_ratio=1.2, max_disagreement=0.05)


def plan(**changed: Any) -> RolloutPlan:
    given: dict[str, Any] = {"steps": (1, 10, 50, 100), "every_s": 60, "guards": GUARDS}
    return RolloutPlan(**(given | changed))


def stamp(seconds: float = 0, *, who: str = "raymaas", why: str = "") -> Stamp:
    """At so many seconds after the rollouts of the tests begin."""
    return Stamp(
        model="digits", who=who, why=why, at=START + timedelta(seconds=seconds), write_id=f"w{seconds}"
    )


def seen(
    requests: int, *, errors: int = 0, slower: float = 1, pairs: int = 0, disagreed: int = 0, seed: int = 0
) -> Seen:
    """Latencies are lognormal with a median of 2 ms times `slower`."""
    latencies: dict[int, int] = {}
    for each_us in 2000 * slower * np.random.default_rng(seed).lognormal(0, 0.5, requests - errors):
        latencies[bucket_of(each_us)] = latencies.get(bucket_of(each_us), 0) + 1
    return Seen(requests=requests, errors=errors, latencies=latencies, pairs=pairs, disagreed=disagreed)


@st.composite
def seens(draw: st.DrawFn) -> Seen:
    latencies = draw(st.dictionaries(st.integers(170, 190), st.integers(1, 50), max_size=6))
    errors, pairs = draw(st.integers(0, 5)), draw(st.integers(0, 30))
    return Seen(
        requests=sum(latencies.values()) + errors + draw(st.integers(0, 5)),
        errors=errors,
        latencies=latencies,
        pairs=pairs,
        disagreed=draw(st.integers(0, pairs)),
    )
