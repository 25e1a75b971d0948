"""`raymaas runs`: executions of jobs, and what to do about each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from raymaas.cli.findings import print_found
from raymaas.cli.liveline import shown_on
from raymaas.cli.loglines import first_step_line, used_line
from raymaas.cli.show import (
    AsJson,
    client_of,
    moment,
    notes,
    output,
    print_json,
    print_table,
    state_detail,
)
from raymaas.cli.submitting import Wait, print_accepted
from raymaas.cli.train import followed, summary
from raymaas.cli.trials import table_of
from raymaas.specs.compression import CompressJob
from raymaas.specs.evaluating import EvaluateJob
from raymaas.specs.kinds import Job
from raymaas.specs.runs import Failed, Run, Stopped, Succeeded
from raymaas.specs.search import Objective
from raymaas.specs.sweeping import SweepJob

app = typer.Typer(no_args_is_help=True, help="Runs: list them, show one, read its log, stop it, resume it.")

_SEARCHES = (CompressJob.kind, SweepJob.kind)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="Run id, as `raymaas runs list` shows it.")]


@app.command("list")
def list_runs(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="Only runs of this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first.

    Example:

      raymaas runs list --model digits
    """
    with client_of(context) as client:
        found = client.runs.list(model=model, limit=limit)
    if as_json:
        return print_json(found)
    rows = [
        (r.run_id, r.model, r.status.state, state_detail(r.status), moment(r.created_at), r.who)
        for r in found
    ]
    print_table(
        ("run", "model", "state", "detail", "created", "who"),
        rows,
        empty="there are no runs yet; `raymaas init` writes a job file, `raymaas train JOB` starts one",
    )
    return None


@app.command()
def show(context: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Show how a run stands, what it used, what its epochs or trials measured, and what can be done next.

    Example:

      raymaas runs show train-digits-9f31c2d4e5
    """
    with client_of(context) as client:
        handle = client.run(run_id)
        run, epochs, progress, files = handle.status(), handle.metrics(), handle.progress(), handle.files()
        measured = run.kind == EvaluateJob.kind and run.status.state == "succeeded"
        found = handle.evaluation().found if measured else None
        searched = handle.trials() if run.kind in _SEARCHES else ()
        objectives = _objectives(handle.spec().job) if searched else ()
    if as_json:
        return print_json(
            run.model_dump(mode="json")
            | {
                "epochs": [{"epoch": epoch.epoch, **epoch.metrics} for epoch in epochs],
                "progress": progress.model_dump(mode="json") if progress else None,
                "files": [file.model_dump(mode="json") for file in files],
            }
            | ({"found": found.model_dump(mode="json")} if found else {})
            | ({"trials": [trial.model_dump(mode="json") for trial in searched]} if searched else {})
        )
    typer.echo(f"{run.run_id}: {run.kind} {run.model}, by {run.who}, {moment(run.created_at)}")
    typer.echo(f"{run.status.state} {state_detail(run.status)}".rstrip())
    if run.resumes:
        place = "its newest checkpoint" if run.resumes.epoch is None else f"epoch {run.resumes.epoch}"
        typer.echo(f"goes on from {run.resumes.run}, {place}")
    if progress:
        typer.echo(used_line(progress))
        if progress.first_step:
            typer.echo(first_step_line(progress.first_step))
    if found:
        return print_found(found)
    if searched:
        output().print(table_of(searched, objectives))
    elif run.kind in _SEARCHES:
        notes().print("no trial has ended yet")
    else:
        names = sorted({name for epoch in epochs for name in epoch.metrics})
        rows = [(e.epoch, *(f"{e.metrics[n]:.4g}" if n in e.metrics else "" for n in names)) for e in epochs]
        print_table(("epoch", *names), rows, empty="no epoch has been measured yet")
    typer.echo(f"next: {next_step(run, left=[file.name for file in files])}")
    return None


@app.command()
def logs(
    context: typer.Context,
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
) -> None:
    """Print a run's log. On a terminal, following it shows a line with progress, speed and the time left below.

    Example:

      raymaas runs logs train-digits-9f31c2d4e5 --follow
    """
    with client_of(context) as client:
        run = client.run(run_id)
        if follow and sys.stdout.isatty():
            with shown_on(output()) as show:
                for event in run.events():
                    show(event)
            return
        for text in run.logs(follow=follow):
            typer.echo(text, nl=False)


@app.command()
def stop(context: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Stop a run. What it has published stays, and so do a training's checkpoints.

    Example:

      raymaas runs stop train-digits-9f31c2d4e5
    """
    with client_of(context) as client:
        run = client.run(run_id).stop()
    if as_json:
        return print_json(run)
    typer.echo(f"{run.run_id}: {run.status.state} {state_detail(run.status)}".rstrip())
    notes().print(f"next: {next_step(run)}", soft_wrap=True)
    return None


@app.command()
def resume(
    context: typer.Context,
    run_id: RunId,
    from_epoch: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Branch off from the checkpoint after epoch N, optimizer included."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="With --from-epoch: train on otherwise. Without: only budget.*. May be repeated.",
        ),
    ] = None,
    wait: Wait = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the version, or the run, as JSON.")] = False,
) -> None:
    """Go on with a training run that failed or was stopped, from its newest checkpoint.

    That is a new run, RUN-r2. It ends with the same weights, to the bit, as RUN would have ended uninterrupted.
    After its driver died, a training is carried on once by itself; this is for after that. One that its budget stopped
    needs a larger one, which counts what was used before too: --set budget.hours=2.

    With --from-epoch it is another training that begins with a checkpoint of RUN, whatever became of RUN.

    Example:

      raymaas runs resume train-digits-9f31c2d4e5

      raymaas runs resume train-digits-9f31c2d4e5 --from-epoch 10 --set training.learning_rate=0.0005
    """
    with client_of(context) as client:
        run = client.run(run_id).resume(from_epoch=from_epoch, settings=settings or ())
        if not wait:
            print_accepted(run, as_json=as_json)
            return
        version = followed(client, run)
        print_json(version) if as_json else typer.echo(summary(version))


def _objectives(job: Job) -> Sequence[Objective]:
    """What the trials of a search are put in order by."""
    return job.objectives if isinstance(job, SweepJob) else (Objective(metric="bytes", mode="min"),)


def next_step(run: Run, *, left: Sequence[str] = ()) -> str:
    """What one may want to do about a run as it stands; `left` names the files that it left."""
    has_report = any(name.startswith("report/") for name in left)
    front = f"`raymaas runs front {run.run_id} --to FOLDER` draws what it found, "
    front = front if any(name.startswith("front.") for name in left) else ""
    resumed = f"`raymaas runs resume {run.run_id}` goes on" if run.kind == "train" else "submit its job again"
    match run.status:
        case Succeeded(versions=(version, *others)):
            report = f"`raymaas runs report {run.run_id}` shows how good it is, " if has_report else ""
            also = f", and {', '.join(f'{run.model}@{other}' for other in others)} likewise" if others else ""
            return f"{report}{front}`raymaas deploy {run.model}@{version}` serves it{also}"
        case Succeeded():
            return f"`raymaas runs logs {run.run_id}` says what was found"
        case Failed():
            report = f"`raymaas runs report {run.run_id}` how far it got, " if has_report else ""
            return f"`raymaas runs logs {run.run_id}` says why, {report}{front}{resumed}"
        case Stopped(why=why):
            report = f"`raymaas runs report {run.run_id}` shows how far it got, " if has_report else ""
            return f"{report}{front}{why.rpartition('; ')[2] or resumed}"
    return f"`raymaas runs logs {run.run_id} --follow` follows it, {front}`raymaas runs stop {run.run_id}` stops it"
