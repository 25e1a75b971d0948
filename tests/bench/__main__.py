"""`make bench`: every benchmark, or those named: `make bench ARGS="registry"`."""

from __future__ import annotations

import sys

from tests.bench import compression, edge, fuzz, kills, registry, serving, training, workers

BENCHMARKS = {
    "compression": compression.main,
    "registry": registry.main,
    "edge": edge.main,
    "fuzz": fuzz.main,
    "kills": kills.main,
    "serving": serving.main,
    "training": training.main,
    "workers": workers.main,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        BENCHMARKS[name]()
