"""The flow that compares two versions: from what they were published with, else by a run that asks both again."""

from __future__ import annotations

from raymaas.client import calls
from raymaas.client.flow import Flow, exchange
from raymaas.client.waiting import LOG, Patience, outcome, pinned, watch
from raymaas.errors import RaymaasError
from raymaas.specs.evaluating import Against, EvaluateJob, Where
from raymaas.specs.names import Reference
from raymaas.specs.reports import Comparison


def compare(
    first: Reference, second: Reference, *, where: Where, patience: Patience, url: str
) -> Flow[Comparison]:
    """The second's figures minus the first's; log text of a run, if one is needed, is emitted.

    Raises InvalidInput when they cannot be compared on those rows, RunFailed with the reason when only the run finds
    that out, and OutcomeUnknown when patience ends.
    """
    slot, _ = pinned(first), pinned(second)
    if where.data is None and where.part != "all":
        recorded = yield from exchange(calls.comparison(first.model, slot, other=str(second)), url=url)
        if recorded.comparison is not None:
            return recorded.comparison
    how = Against(version=str(first), other=str(second), data=where.data, part=where.part)
    run = yield from exchange(calls.submit(EvaluateJob(model=first.model, how=how)), url=url)
    outcome(run.run_id, (yield from watch(run.run_id, patience=patience, url=url, shown=LOG)))
    found = (yield from exchange(calls.run_evaluation(run.run_id), url=url)).found
    if not isinstance(found, Comparison):
        raise RaymaasError(f"run {run.run_id} was to compare two versions, and reports {found.by!r}")
    return found
