"""A training whose workers, drivers and head are killed again and again, at random: it ends with the same weights."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from durable_training import Training, job, kill_head, started, training_workers
from journey_home import Home, wait_until

from raymaas.client import Client
from raymaas.errors import RaymaasError
from raymaas.registry.resumption import continuation_id

pytestmark = [pytest.mark.journey, pytest.mark.soak, pytest.mark.timeout(7200)]

INTERVAL = 5
LONGEST_QUIET = 2 * INTERVAL  # epochs measured between two kills
PATIENCE_S = 900

Told = set[tuple[str, int, int]]
"""Run, epoch and attempt of each epoch that was measured."""


@dataclass
class Lives:
    """A training and the runs that continue it; whatever is given up is resumed."""

    client: Client
    runs: list[Training]
    kills: list[str] = field(default_factory=list)

    @property
    def newest(self) -> Training:
        return self.runs[-1]

    def told(self) -> Told:
        return {(run.run_id, epoch, attempt) for run in self.runs for epoch, attempt in run.told()}

    def goes_on_until(self, holds: Callable[[], bool], *, what: str) -> None:
        def looked_after() -> bool:
            if self.newest.state() == "failed":
                self._resume()
            return holds()

        wait_until(looked_after, timeout_s=PATIENCE_S, what=f"{what} after the kills {self.kills}")

    def measures(self, more: int) -> None:
        """Wait until so many more epochs were measured, whether for the first time or again."""
        enough = len(self.told()) + more
        self.goes_on_until(lambda: len(self.told()) >= enough, what=f"{more} more epochs")

    def kill(self, victim: str, chance: random.Random) -> None:
        home = self.newest.home
        self.kills.append(victim)
        if victim == "head":
            return kill_head(home)
        alive = self.newest.drivers if victim == "driver" else lambda: training_workers(home)
        self.goes_on_until(lambda: bool(alive()), what=f"there is a {victim}")
        with suppress(ProcessLookupError):  # what a driver leaves behind ends by itself
            os.kill(chance.choice(alive()), signal.SIGKILL)
        return None

    def weights(self) -> str:
        self.goes_on_until(lambda: self.newest.state() == "succeeded", what="the end")
        return self.newest.weights(timeout_s=30)

    def _resume(self) -> None:
        """One that is not taken, because the head is only just coming back, is recorded as failed, and resumed next."""
        following = continuation_id(self.newest.run_id)
        with suppress(RaymaasError):
            self.newest.handle.resume()
        with suppress(RaymaasError):
            self.client.runs.get(following)
            self.runs.append(Training(self.newest.home, self.client.run(following)))


def test_random_kills_change_no_bit_and_cost_at_most_an_interval_each(
    home: Home, pytestconfig: pytest.Config
) -> None:
    kills: int = pytestconfig.getoption("soak_kills")
    seed: int = pytestconfig.getoption("soak_seed") or random.SystemRandom().randrange(10**6)
    say = pytestconfig.get_terminal_writer().line
    say(f"\n{kills} random kills, seed {seed}: repeat them with --soak-seed {seed}")
    chance = random.Random(seed)
    epochs = kills * LONGEST_QUIET + 2 * INTERVAL
    arguments = job(epochs=epochs, interval=INTERVAL)
    with home.client() as client:
        undisturbed = started(home, client, arguments).weights(timeout_s=900)
        lives = Lives(client, [started(home, client, arguments)])
        before: Told = set()
        for _ in range(kills):
            lives.measures(chance.randint(1, LONGEST_QUIET))
            told = lives.told()
            assert_little_repeated(before, told)
            before = told
            lives.kill(chance.choice(("worker", "driver", "head")), chance)
        assert lives.weights() == undisturbed
        told = lives.told()
        say(f"{lives.kills}: {len(lives.runs)} runs, {repeated(told)} epochs repeated")
        assert_little_repeated(before, told)
        assert repeated(told) <= kills * INTERVAL
        assert {epoch for _, epoch, _ in told} == set(range(1, epochs + 1))


def assert_little_repeated(before: Told, after: Told) -> None:
    """What was measured since `before`, when something was killed, begins at most an interval below its end."""
    reached = max((epoch for _, epoch, _ in before), default=0)
    assert min(epoch for _, epoch, _ in after - before) > reached - INTERVAL


def repeated(told: Told) -> int:
    """Epochs that were measured more than once, counted each time."""
    return len(told) - len({epoch for _, epoch, _ in told})
