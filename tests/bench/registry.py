"""What the registry asks of the store, and how long that takes, against the number of versions.

A folder on this machine's disk and a bucket on a real S3 server on loopback. The time of each operation is the median
of the rounds; its ratio is to the same operation at ten versions in the same run.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

from long_history import age, costs
from s3_server import S3Server

from raymaas.store import LocalStore, Store, open_store

ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report("a folder", [(count, LocalStore(Path(folder) / str(count))) for count in (10, 1_000, 100_000)])
        server = S3Server(Path(folder) / "s3")
        os.environ.update(server.environment)
        try:
            server.start()
            report("a bucket", [(count, open_store(server.url(f"bench/{count}"))) for count in (10, 1_000)])
        finally:
            server.kill()


def report(place: str, stores: list[tuple[int, Store]]) -> None:
    requests: dict[str, list[int]] = {}
    took: dict[str, list[float]] = {}
    for count, store in stores:
        age(store, count)
        rounds = [costs(store, count + number) for number in range(ROUNDS)]
        for what, cost in rounds[0].items():
            requests.setdefault(what, []).append(len(cost.calls))
            took.setdefault(what, []).append(statistics.median(each[what].milliseconds for each in rounds))
    print(f"{place:<14}" + "".join(f"{f'{count:,} versions':>28}" for count, _ in stores))
    for what, times in took.items():
        cells = [
            f"{n} requests {ms:6.1f} ms x{ms / times[0]:5.2f}"
            for n, ms in zip(requests[what], times, strict=True)
        ]
        print(f"{what:<14}" + "".join(f"{cell:>28}" for cell in cells), flush=True)
