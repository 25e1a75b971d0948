"""`raymaas runs`: executions of jobs."""

from __future__ import annotations

from typing import Annotated

import typer

from raymaas.cli.show import AsJson, client_of, moment, print_json, print_table, state_detail
from raymaas.cli.train import followed, summary

app = typer.Typer(no_args_is_help=True, help="Runs: list them, show one, read its log, stop it, resume it.")

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
    print_table(("run", "model", "state", "detail", "created", "who"), rows, empty="there are no runs yet")
    return None


@app.command()
def show(context: typer.Context, run_id: RunId, as_json: AsJson = False) -> None:
    """Show how a run stands, and what its epochs measured.

    Example:

      raymaas runs show train-digits-9f31c2d4e5
    """
    with client_of(context) as client:
        handle = client.run(run_id)
        run, epochs = handle.status(), handle.metrics()
    if as_json:
        metrics = [{"epoch": epoch.epoch, **epoch.metrics} for epoch in epochs]
        return print_json(run.model_dump(mode="json") | {"epochs": metrics})
    typer.echo(f"{run.run_id}: {run.kind} {run.model}, by {run.who}, {moment(run.created_at)}")
    typer.echo(f"{run.status.state} {state_detail(run.status)}".rstrip())
    if run.resumes:
        place = "its newest checkpoint" if run.resumes.epoch is None else f"epoch {run.resumes.epoch}"
        typer.echo(f"goes on from {run.resumes.run}, {place}")
    names = sorted({name for epoch in epochs for name in epoch.metrics})
    rows = [(e.epoch, *(f"{e.metrics[n]:.4g}" if n in e.metrics else "" for n in names)) for e in epochs]
    print_table(("epoch", *names), rows, empty="no epoch has been measured yet")
    return None


@app.command()
def logs(
    context: typer.Context,
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
) -> None:
    """Print a run's log.

    Example:

      raymaas runs logs train-digits-9f31c2d4e5 --follow
    """
    with client_of(context) as client:
        for text in client.run(run_id).logs(follow=follow):
            typer.echo(text, nl=False)


@app.command()
def stop(context: typer.Context, run_id: RunId) -> None:
    """Stop a run. What it has published stays.

    Example:

      raymaas runs stop train-digits-9f31c2d4e5
    """
    with client_of(context) as client:
        run = client.run(run_id).stop()
    typer.echo(f"{run.run_id}: {run.status.state} {state_detail(run.status)}".rstrip())


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
            "--set", metavar="FIELD=VALUE", help="With --from-epoch: train on otherwise; may be repeated."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run until it has ended.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the version, or the run, as JSON.")] = False,
) -> None:
    """Go on with a training run that failed or was stopped, from its newest checkpoint.

    That is a new run, RUN-r2. It ends with the same weights, to the bit, as RUN would have ended uninterrupted.
    After its driver died, a training is carried on once by itself; this is for after that.

    With --from-epoch it is another training that begins with a checkpoint of RUN, whatever became of RUN.

    Example:

      raymaas runs resume train-digits-9f31c2d4e5

      raymaas runs resume train-digits-9f31c2d4e5 --from-epoch 10 --set training.learning_rate=0.0005
    """
    with client_of(context) as client:
        run = client.run(run_id).resume(from_epoch=from_epoch, settings=settings or ())
        if not wait:
            print_json(run.status()) if as_json else typer.echo(run.run_id)
            return
        version = followed(client, run, epochs=None)
        print_json(version) if as_json else typer.echo(summary(version))
