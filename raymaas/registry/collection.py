"""Collection: which file copies may be deleted, and what runs left that is no longer kept. Pure, no I/O.

A copy may go when no document names it and none ever will. Whoever publishes promises (`registry.blobs`) to
name only copies that are younger than the grace period when it last looks at the clock. So:

1. At moment T by the store's clock, those copies become candidates whose keys say that they are older than the
   grace period and `IN_FLIGHT`. Everyone who may still name one looked at the clock for the last time before
   T - IN_FLIGHT, so the request that names it is over by T: the document is there, or never will be.
2. After T, all documents that name copies are read. What a candidate is named by is therefore seen.
3. Candidates that nothing names are deleted. Keys are never written twice, so a delete that arrives late, or
   comes from a second collector, hits nothing that a publisher put there since.

The other order, documents first, would lose a version: one published after its model was read, from a copy that
grew old enough before the copies were listed. No step needs the collector to be alone; its lease saves work only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from raymaas.registry.layout import BLOBS, time_of
from raymaas.specs.runs import FINAL_STATES, Run

IN_FLIGHT = timedelta(hours=1)
"""How long a request may be on its way, with all its repetitions, after its sender looked at the clock."""

_COPY = re.compile(rf"{BLOBS}[0-9a-f]{{64}}/[0-9]{{17}}-[0-9a-f]{{16}}")


@dataclass(frozen=True)
class Part:
    """What one rule takes away, and of what it keeps the number for each reason."""

    delete: tuple[str, ...]
    kept: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """What goes: of `checkpoints` and `logs` the ids of runs, else keys. `files_bytes` are those of the files."""

    files: Part
    files_bytes: int
    checkpoints: Part
    logs: Part
    requests: Part
    drift: Part
    samples: Part

    def __str__(self) -> str:
        return (
            f"files: {len(self.files.delete)} ({self.files_bytes} bytes); checkpoints of runs:"
            f" {len(self.checkpoints.delete)}; logs of runs: {len(self.logs.delete)};"
            f" parts of the request log: {len(self.requests.delete)}; counts for drift: {len(self.drift.delete)};"
            f" samples and feedback: {len(self.samples.delete)}"
        )


def candidates(keys: Iterable[str], *, now: datetime, grace: timedelta) -> Part:
    """Step 1: the keys of copies that are old enough. What is not named as a copy is never one."""
    found: list[str] = []
    kept: Counter[str] = Counter()
    age = grace + IN_FLIGHT
    for key in keys:
        if not _COPY.fullmatch(key):
            kept["not written by raymaas"] += 1
        elif now - time_of(key) > age:
            found.append(key)
        else:
            kept[f"younger than {age / timedelta(hours=1):g} h"] += 1
    return Part(tuple(found), kept)


def unnamed(found: Part, marks: Mapping[str, str]) -> Part:
    """Step 3: the candidates without a mark. A mark says why its copy is kept."""
    kept = Counter(found.kept)
    kept.update(marks[key] for key in found.delete if key in marks)
    return Part(tuple(key for key in found.delete if key not in marks), kept)


def expired_runs(runs: Iterable[Run], *, days: int, now: datetime) -> Part:
    """The runs that ended at least `days` days ago. A run that has not ended may be carried on, so it keeps all."""
    over: list[str] = []
    kept: Counter[str] = Counter()
    for run in runs:
        if not isinstance(run.status, FINAL_STATES):
            kept["runs that have not ended"] += 1
        elif now - run.status.at < timedelta(days=days):
            kept[f"runs that ended less than {days} days ago"] += 1
        else:
            over.append(run.run_id)
    return Part(tuple(over), kept)
