"""`make bench`: every benchmark, or those named: `make bench ARGS="serving --rounds 3 --seconds 2"`."""

from __future__ import annotations

import argparse
import importlib
import inspect
import signal
import sys

BENCHMARKS = (
    *("compression", "registry", "edge", "fuzz", "idle", "kills", "moves", "rollouts", "rows", "serving"),
    *("sampling", "training", "workers"),
)
OPTIONS = {
    "rounds": "how often what is compared is measured in turn; of edge, rows, sampling, serving",
    "seconds": "how long each measurement takes; of edge, idle, moves, rows, serving",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; default all"
    )
    for option, meaning in OPTIONS.items():
        parser.add_argument(f"--{option}", type=int, help=meaning)
    asked = parser.parse_args()
    # A cluster that was left running would be in the next figures.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    chosen = {option: value for option in OPTIONS if (value := getattr(asked, option)) is not None}
    for name in asked.names or BENCHMARKS:
        # Here, so that a benchmark of processes does not have the libraries of all others in its own.
        run = importlib.import_module(f"tests.bench.{name}").main
        taken = inspect.signature(run).parameters
        run(**{option: value for option, value in chosen.items() if option in taken})


if __name__ == "__main__":
    main()
