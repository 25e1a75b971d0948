"""Speed: how fast networks answer in their runtimes, beside each other, and how much memory that takes."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np

from raymaas.bundle.files import files_of_runtime
from raymaas.bundle.resident import Resident, resident_of
from raymaas.bundle.runtimes.base import Runtime
from raymaas.bundle.runtimes.opening import load_runtime
from raymaas.bundle.runtimes.timing import Key, asking, repeated, seconds_of
from raymaas.errors import RunFailed
from raymaas.specs.accounting import BATCH, Latency, RuntimeFinding
from raymaas.specs.runtimes import RUNTIMES, RuntimeName
from raymaas.specs.versions import Signature

_BATCHES = (1, BATCH)
_TIMED_S = 0.25  # of calls for each runtime and size of batch
_AT_ONCE = 2  # processes whose memory is measured


def as_fast(rate: float, fastest: float) -> bool:
    """Whether it is taken for as fast: two measurements of one runtime lie as much as 5 % apart."""
    return rate * 1.05 >= fastest


@dataclass(frozen=True, eq=False)
class Ready:
    """A network loaded into a runtime, without the transforms of its version."""

    name: RuntimeName
    runtime: Runtime
    signature: Signature
    files: Mapping[str, bytes]
    """Those that the runtime reads."""

    @classmethod
    def of(
        cls, name: RuntimeName, files: Mapping[str, bytes], *, signature: Signature, weights_file: str
    ) -> Self:
        """From verified `files` of a version; `signature` is its network's. Raises as `load_runtime`."""
        own = {file: files[file] for file in files_of_runtime(name, weights_file=weights_file)}
        return cls(name, load_runtime(name, own, signature=signature), signature, own)

    def asked(self, x_ND: np.ndarray, rows: int) -> dict[str, np.ndarray]:
        """A batch of so many of the rows."""
        return repeated({self.signature.inputs[0].name: x_ND}, rows)


def latencies(networks: Mapping[Key, Ready], x_ND: np.ndarray) -> dict[Key, tuple[Latency, ...]]:
    """Of each, in batches of 1 and of `BATCH` of the rows `x_ND`, timed in turns with one thread.

    With few calls in the time there is, the 99th percentile is near the slowest of them.
    """
    calls = {
        (key, rows): asking(ready.runtime, ready.asked(x_ND, rows))
        for key, ready in networks.items()
        for rows in _BATCHES
    }
    found = seconds_of(calls, budget_s=_TIMED_S)
    return {key: tuple(_latency(rows, found[key, rows]) for rows in _BATCHES) for key in networks}


def resident(networks: Mapping[Key, Ready], x_ND: np.ndarray) -> dict[Key, Resident]:
    """Memory of a fresh process for each, where it came to an answer."""

    def measured(ready: Ready) -> Resident | None:
        try:
            return resident_of(
                ready.name, ready.files, signature=ready.signature, inputs=ready.asked(x_ND, BATCH)
            )
        except RunFailed:
            return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip(networks, pool.map(measured, networks.values()), strict=True))
    return {key: memory for key, memory in found.items() if memory is not None}


def measured(
    findings: Mapping[Key, RuntimeFinding],
    networks: Mapping[Key, Ready],
    x_ND: np.ndarray,
    *,
    weighed: Container[Key],
) -> dict[Key, RuntimeFinding]:
    """The findings with what was measured of those that could be loaded; memory of those that are `weighed`."""
    times = latencies(networks, x_ND)
    memory = resident({key: ready for key, ready in networks.items() if key in weighed}, x_ND)
    found = {}
    for key, finding in findings.items():
        update: dict[str, object] = {}
        if key in times:
            update |= {
                "latencies": times[key],
                "file_bytes": sum(map(len, networks[key].files.values())),
            }
        if key in memory:
            update |= {
                "resident_before_bytes": memory[key].before,
                "resident_bytes": memory[key].after,
            }
        found[key] = finding.model_copy(update=update)
    return found


def fastest_first(findings: Sequence[RuntimeFinding]) -> list[RuntimeFinding]:
    """By rows in a second; of those that are as fast within 5 %, the more exact runtime comes first."""
    left, order = list(findings), list[RuntimeFinding]()
    exactness = list(RUNTIMES)
    while left:
        fastest = max(finding.rows_per_s for finding in left)
        fast = [finding for finding in left if as_fast(finding.rows_per_s, fastest)]
        order.append(min(fast, key=lambda finding: exactness.index(finding.runtime)))
        left.remove(order[-1])
    return order


def _latency(rows: int, seconds: np.ndarray) -> Latency:
    p50_s, p99_s = np.percentile(seconds, (50, 99))
    return Latency(
        rows=rows, p50_ms=1e3 * float(p50_s), p99_ms=1e3 * float(p99_s), rows_per_s=rows / float(p50_s)
    )
