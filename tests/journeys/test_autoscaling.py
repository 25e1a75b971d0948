"""A version scaled to nothing answers its next request, and one that is asked much gets another replica."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from journey_home import Home, commands, everything_of, wait_until

from raymaas.specs.serving import Scaling

pytestmark = [pytest.mark.journey]


def replicas(home: Home) -> int:
    found = commands(everything_of(home.plan(), home.table())).values()
    return sum(title.startswith("ray::ServeReplica:digits@1") for title in found)


@pytest.fixture
def scaled(home: Home, digits: str) -> Iterator[None]:
    """digits@1 with none to two replicas, quick to change, and soon too busy: the caller here has no CPU to spare."""
    with home.client() as client:
        scaling = Scaling(
            min_replicas=0, max_replicas=2, target_busy=0.05, upscale_delay_s=0, downscale_delay_s=3
        )
        client.deploy("digits@1", scaling=scaling, timeout_s=120)
        yield
        client.deploy("digits@1", scaling=Scaling(), timeout_s=120)


def test_replicas_come_and_go_with_what_is_asked(home: Home, scaled: None, rows: np.ndarray) -> None:
    many = np.repeat(rows[:50], 40, axis=0)
    with home.client() as client:
        wait_until(lambda: replicas(home) == 0, timeout_s=120, what="nobody asks, and no replica is left")
        prediction = client.model("digits").predict(rows[:2])
        assert prediction.outputs["probabilities"].shape == (2, 10)

        until = time.monotonic() + 90

        def keep_asking() -> None:
            while time.monotonic() < until and replicas(home) < 2:
                client.model("digits").predict(many)

        with ThreadPoolExecutor(3) as pool:
            for asking in [pool.submit(keep_asking) for _ in range(3)]:
                asking.result()
        assert replicas(home) == 2
