"""`raymaas gc`: delete what nothing needs any more from a store, or show what that would be."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from raymaas.cli.local import StorageInUse, settings_from_environment, storage_in_use
from raymaas.cli.show import AsJson, notes, print_json, print_table

if TYPE_CHECKING:
    from raymaas.registry.collection import Part

app = typer.Typer()

_SAYS = {
    "files": "files",
    "checkpoints": "checkpoints, by run",
    "logs": "logs, by run",
    "requests": "request log, by part",
    "drift": "counts for drift, by part",
    "samples": "samples and feedback, by part",
}


@app.command()
def gc(
    storage: StorageInUse = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing; show what would go, and what is kept and why.")
    ] = False,
    grace: Annotated[
        float, typer.Option(metavar="HOURS", help="Keep files that nothing names this long; 24 at least.")
    ] = 24,
    as_json: AsJson = False,
) -> None:
    """Delete what nothing needs any more: unnamed files, and what old runs left.

    Deleted: files of deleted versions, and of publications that never finished,
    once older than the grace period. And of runs that ended some days ago: Ray's
    checkpoints, a sweep's trial files, the log (settings keep_checkpoints_days,
    keep_trial_files_days, keep_logs_days). And which requests were answered longer
    ago than keep_requests_days, and the counts for drift made of them. And samples
    and feedback, after the days that `raymaas sampling` gave them.

    Never deleted: versions and their files, data sets, and all history: manifests,
    states, policies, run specs, statuses, metrics, trials.

    It may run while others publish, train and serve, and be stopped at any time.
    One collector works at a time. A cluster that is up collects by itself (setting
    gc_every_hours).

    Example:

      raymaas gc --dry-run

      raymaas gc --storage s3://bucket/models
    """
    from raymaas import wiring
    from raymaas.store import open_store

    settings = settings_from_environment(storage=storage)
    store = open_store(storage_in_use(settings, storage))
    collector = wiring.open_collector(store, settings, grace=timedelta(hours=grace))
    if store.first("") is None:
        notes().print(f"the store {store.url} is empty", soft_wrap=True)
        return None
    with notes().status("looking for what nothing needs") as spinner:
        if dry_run:
            plan = collector.survey()
        else:
            plan = collector.collect(
                on_deleted=lambda what, gone, of: spinner.update(f"deleting {what}: {gone} of {of}")
            )
    parts = {
        "files": plan.files,
        "checkpoints": plan.checkpoints,
        "logs": plan.logs,
        "requests": plan.requests,
        "drift": plan.drift,
        "samples": plan.samples,
    }
    if as_json:
        counts = {what: {"delete": len(part.delete), "keep": dict(part.kept)} for what, part in parts.items()}
        return print_json(counts | {"files_bytes": plan.files_bytes, "dry_run": dry_run})
    rows = [(_SAYS[what], len(part.delete), _reasons(part)) for what, part in parts.items()]
    print_table(("what", "would go" if dry_run else "gone", "kept"), rows, empty="")
    typer.echo(f"{'would delete' if dry_run else 'deleted'} {plan}")
    return None


def _reasons(part: Part) -> str:
    return ", ".join(f"{number} {why}" for why, number in sorted(part.kept.items()))
