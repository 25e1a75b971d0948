"""How soon the edge is back after kill -9 of HAProxy, of its agent, and of both at once.

Back is: the agent reports the new process, and a request that was sent after the kill has been answered 200.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable

from raymaas.cluster.plan import ClusterPlan
from raymaas.serve.edge.status import EdgeStatus, read_status

KILLS = (("haproxy",), ("agent",), ("agent", "haproxy"))
# A supervisor starts at once again what has run for half a minute, and later what dies more often.
STABLE_S = 31.0


def report_returns(plan: ClusterPlan, ask: Callable[[], bool], *, rounds: int) -> None:
    """`ask` says whether a request, on a connection of its own, was answered."""
    for killed in KILLS:
        found = []
        for _ in range(rounds):
            time.sleep(STABLE_S)
            found.append(back_after_ms(plan, killed, ask))
        print(
            f"back after kill -9 of {' and '.join(killed)}: {statistics.median(found):.0f} ms"
            f" ({min(found):.0f} to {max(found):.0f})"
        )


def back_after_ms(plan: ClusterPlan, killed: tuple[str, ...], ask: Callable[[], bool]) -> float:
    before = _pids(read_status(plan.path("edge")))
    begun = time.perf_counter()
    for name in killed:
        os.kill(before[name] or 0, signal.SIGKILL)
    while True:
        now = _pids(read_status(plan.path("edge")))
        if all(now[name] not in (None, before[name]) for name in killed) and ask():
            return (time.perf_counter() - begun) * 1e3
        time.sleep(0.005)


def _pids(status: EdgeStatus | None) -> dict[str, int | None]:
    assert status is not None
    return {"haproxy": status.haproxy_pid, "agent": status.agent_pid}
