"""Losing: a rule for the proxy by which some requests never arrive, and of some the reply is lost."""

from __future__ import annotations

import random

from lossy_proxy import Fate, Request


class Losing:
    """Of `share` of the requests the reply is lost; half as many more never arrive."""

    def __init__(self, share: float, *, seed: int) -> None:
        self._share = share
        self._random = random.Random(seed)

    def __call__(self, request: Request) -> Fate:
        drawn = self._random.random()
        if drawn < self._share:
            return Fate.DROP
        return Fate.CUT if drawn < 1.5 * self._share else Fate.PASS
