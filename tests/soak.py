"""The long form of the registry's proofs: `make soak`, or `python tests/soak.py --seed N` to repeat one.

Publishers are killed on a folder, then on a real S3 server behind a proxy that loses replies, the server itself
being killed and started again on its data. Then the state machine plays new histories on every store; of one that
fails, it prints the shortest.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from crash_publishers import Load, run_publishers
from losing import Losing
from lossy_proxy import Fate, LossyProxy
from s3_server import S3Server

from raymaas.store import LocalStore, MemoryStore, Store, open_store

SERVER_KILLS = 2
LOST_SHARE = 0.05


@dataclass
class KillingTheServer:
    """Kills the server and starts it again, `SERVER_KILLS` times, evenly over `acknowledgements` to come."""

    server: S3Server
    acknowledgements: int
    killed: int = 0

    def __call__(self, acknowledged: int) -> None:
        due = acknowledged * (SERVER_KILLS + 1) // self.acknowledgements
        if self.killed < min(due, SERVER_KILLS):
            self.server.kill()
            time.sleep(1)  # Publishers meet a server that is gone.
            self.server.start()
            self.killed += 1


def crash_on_a_folder(folder: Path, load: Load) -> str:
    return str(run_publishers((folder / "store").as_uri(), folder, load))


def crash_on_s3(folder: Path, load: Load, server: S3Server) -> str:
    total = sum(len(load.runs_of(n)) for n in range(load.publishers))
    killing = KillingTheServer(server, total)
    with LossyProxy(server.endpoint, Losing(LOST_SHARE, seed=load.seed)) as proxy:
        url = server.url("crash", endpoint=proxy.endpoint)
        survived = run_publishers(url, folder, load, environment=server.environment, disturb=killing)
        dropped = sum(fate is Fate.DROP for _, fate in proxy.seen)
        cut = sum(fate is Fate.CUT for _, fate in proxy.seen)
    if killing.killed != SERVER_KILLS:
        raise AssertionError(f"the server was killed {killing.killed} times, not {SERVER_KILLS}")
    return (
        f"{survived}, {len(proxy.seen)} requests of which {dropped} lost their reply and {cut} never arrived,"
        f" server killed {killing.killed} times"
    )


def play(make: Callable[[], Store], *, examples: int, steps: int) -> str:
    from test_registry_machine import run_machine

    run_machine(make, examples=examples, steps=steps, random=True)
    return f"{examples} histories of up to {steps} steps"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--publishers", type=int, default=8)
    parser.add_argument("--versions", type=int, default=25, help="of each publisher (default: 25)")
    parser.add_argument("--kills", type=int, default=200, help="of publishers, at most (default: 200)")
    given = parser.parse_args()
    on_folder = Load(
        publishers=given.publishers,
        runs_each=given.versions,
        kills=given.kills,
        longest_life_s=1.0,
        seed=given.seed,
    )
    on_s3 = replace(on_folder, longest_life_s=6.0)
    print(f"seed {given.seed}: repeat the crashes with ARGS='--seed {given.seed}'", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, numbers = Path(name), count()
        server = S3Server(folder / "s3")
        os.environ.update(server.environment)
        makers: dict[str, Callable[[], Store]] = {
            "memory": lambda: MemoryStore(lambda: datetime.now(UTC)),
            "a folder": lambda: LocalStore(folder / f"machine-{next(numbers)}"),
            "S3": lambda: open_store(server.url(f"machine-{next(numbers)}")),
        }
        sizes = {"memory": (200, 50), "a folder": (40, 40), "S3": (15, 30)}
        for each in ("folder", "notes"):
            (folder / each).mkdir()
        server.start()
        try:
            tell("crashes on a folder", lambda: crash_on_a_folder(folder / "folder", on_folder))
            tell("crashes on S3", lambda: crash_on_s3(folder / "notes", on_s3, server))
            for store, (examples, steps) in sizes.items():
                tell(
                    f"machine on {store}",
                    lambda s=store, e=examples, n=steps: play(makers[s], examples=e, steps=n),
                )
        finally:
            server.kill()


def tell(what: str, act: Callable[[], str]) -> None:
    began = time.monotonic()
    said = act()
    print(f"{what}: {said} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).with_name("contracts")))
    main()
