"""Adoption: a run that resumes another begins with a copy of that one's checkpoint, as if it had written it itself.

From then on it needs nothing of the other run: replaced workers and a second driver find the run's own checkpoints.
"""

from __future__ import annotations

from raymaas.jobs.parts import JobParts
from raymaas.registry.checkpoints import CheckpointId, Checkpoints
from raymaas.specs.runs import Resumes
from raymaas.train.saving import load, newest_intact


def adopt(resumes: Resumes, parts: JobParts) -> None:
    """Afterwards the run has a checkpoint of its own to begin with, unless there is none to go on from.

    Without an epoch that is the newest one that can be read, of the run named or of the one that it resumed; with
    one, exactly that: raises NotFound or IntegrityError when it is gone or damaged. Repeated, it changes nothing.
    """
    own = Checkpoints(parts.store, parts.run_id)
    if own.list():
        return
    found = _source(resumes, parts)
    if found is None:
        parts.say(f"{resumes.run} left no checkpoint to go on from; training begins anew")
        return
    source, which = found
    own.add(which.epoch, load(source, which).to_files())
    parts.say(f"going on after epoch {which.epoch} of {source.run_id}")


def _source(resumes: Resumes, parts: JobParts) -> tuple[Checkpoints, CheckpointId] | None:
    source = Checkpoints(parts.store, resumes.run)
    if resumes.epoch is not None:
        return source, source.of_epoch(resumes.epoch)
    newest = newest_intact(source, warn=parts.say)
    if newest is not None:
        return source, newest
    before = parts.runs.spec(resumes.run).resumes  # it died before it had adopted anything
    return _source(before, parts) if before else None
