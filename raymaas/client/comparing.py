"""The flow that compares runs: it asks for each run's job, epochs and version, and puts them beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from raymaas.client import calls
from raymaas.client.flow import Flow, exchange
from raymaas.errors import InvalidInput, NotFound
from raymaas.specs.comparison import ComparedRun, RunComparison, best_epoch, differences
from raymaas.specs.kinds import Job
from raymaas.specs.runs import Run, Succeeded


def compare(run_ids: Sequence[str], *, url: str) -> Flow[RunComparison]:
    """Raises InvalidInput for fewer than two runs, and NotFound for one that does not exist."""
    if len(run_ids) < 2:
        raise InvalidInput("comparing takes two runs at least; `raymaas runs list` shows those there are")
    jobs: list[Job] = []
    for run_id in run_ids:
        jobs.append((yield from exchange(calls.run_spec(run_id), url=url)).job)
    compared: list[ComparedRun] = []
    for run_id, settings in zip(run_ids, differences(jobs), strict=True):
        run = yield from exchange(calls.run(run_id), url=url)
        measured = yield from exchange(calls.run_measured(run_id), url=url)
        best = best_epoch(measured.epochs)
        version, test = yield from _version(run, url=url)
        compared.append(
            ComparedRun(
                run_id=run_id,
                state=run.status.state,
                version=version,
                settings=settings,
                epochs=len(measured.epochs),
                best_epoch=best.epoch if best else None,
                figures=best.metrics if best else {},
                test=test,
                spent=measured.progress.spent if measured.progress else None,
            )
        )
    return RunComparison(runs=tuple(compared))


def _version(run: Run, *, url: str) -> Flow[tuple[str | None, dict[str, float]]]:
    """What the run registered and that version's test figures; none of them when it was deleted since."""
    if not isinstance(run.status, Succeeded) or run.status.version is None:
        return None, {}
    name = f"{run.model}@{run.status.version}"
    try:
        manifest = yield from exchange(calls.version(run.model, run.status.version), url=url)
    except NotFound:
        return name, {}
    return name, {metric: found.value for metric, found in manifest.evaluation.metrics.items()}
