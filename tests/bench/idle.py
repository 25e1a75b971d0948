"""What a laptop pays for a cluster that does nothing: `make bench ARGS=idle`.

First with nothing deployed, then with one small version. Of each process are printed its resident memory, its share of
that, in which a page that n processes have counts 1/n for each (PSS: sums are true), and the CPU time it takes.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.own_cluster import own_cluster, trained
from tests.journeys.journey_home import Home, commands, everything_of

_QUIET_WINDOW_S, _QUIET_WINDOWS = 5, 24
_SMALL_MB = 1.0


@dataclass(frozen=True)
class Held:
    """One process: its memory in bytes, and the CPU seconds it has taken since it started."""

    name: str
    ours: bool
    rss: int
    pss: int
    cpu_s: float


def main(seconds: int = 60) -> None:
    with own_cluster() as home:
        report(home, "nothing deployed", seconds=seconds)
        trained(home, "digits")
        home.cli("deploy", "digits@1")
        report(home, "digits@1 deployed", seconds=seconds)


def report(home: Home, when: str, *, seconds: int) -> None:
    wait_until_quiet(home)
    before = look(home)
    time.sleep(seconds)
    after = look(home)
    print(f"\n{when}{'':<24}{'RSS MB':>8}{'PSS MB':>8}{'CPU s a minute':>16}")

    def line(name: str, held: list[tuple[int, Held]]) -> None:
        spent = sum(one.cpu_s - before[pid].cpu_s for pid, one in held if pid in before)
        rss, pss = (sum(getattr(one, of) for _, one in held) / 1e6 for of in ("rss", "pss"))
        print(f"  {name:<{len(when) + 22}}{rss:>8.0f}{pss:>8.0f}{spent * 60 / seconds:>16.2f}")

    for pid, one in sorted(after.items(), key=lambda item: -item[1].pss):
        if one.pss > _SMALL_MB * 1e6:
            line(f"{'ours ' if one.ours else 'Ray  '} {one.name}", [(pid, one)])
    for whose, ours in (("ours", True), ("Ray's", False)):
        line(f"all of {whose}", [item for item in after.items() if item[1].ours is ours])


def wait_until_quiet(home: Home) -> None:
    """Until a window takes no less CPU time than the one before it."""
    last, now = float("inf"), cpu_s(home)
    for _ in range(_QUIET_WINDOWS):
        time.sleep(_QUIET_WINDOW_S)
        before, now = now, cpu_s(home)
        if now - before >= 0.9 * last:
            return
        last = now - before


def cpu_s(home: Home) -> float:
    return sum(one.cpu_s for one in look(home).values())


def look(home: Home) -> dict[int, Held]:
    """By pid: every process of the cluster that lives now."""
    found = {}
    for pid, command in commands(everything_of(home.plan(), home.table())).items():
        try:
            process = psutil.Process(pid)
            times = process.cpu_times()
            pss = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            held = Held(
                name=name_of(command),
                ours=is_ours(command),
                rss=process.memory_info().rss,
                pss=int(pss[1]) * 1024 if pss else 0,
                cpu_s=times.user + times.system,
            )
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            continue
        found[pid] = held
    return found


def is_ours(command: str) -> bool:
    """A replica is titled by Ray, but what it holds is a version of ours."""
    return bool(re.search(r"raymaas\.|haproxy|^ray::ServeReplica", command.split(" --")[0]))


def name_of(command: str) -> str:
    """The actor, module, script or program that `command` runs."""
    if command.startswith("ray::"):
        return re.split(r"[. (]", command.removeprefix("ray::"))[0]
    if service := re.search(r"raymaas\.services (\S+)", command):
        return service[1]
    words = command.split() or ["?"]
    if "-m" in words:
        return words[words.index("-m") + 1]
    if "-c" in words:
        return " ".join(["python -c", *words[words.index("-c") + 1 :][:3]])
    scripts = [word for word in words if word.endswith(".py")]
    return Path(scripts[0] if scripts else words[0]).name
